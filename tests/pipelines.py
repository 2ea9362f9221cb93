"""An experiment on a tiny random Qwen3 and a folder of five passages, and what its runs leave."""

from pathlib import Path

import headrank.alignment.training as fit_module
import headrank.stages.rerank as rerank_module
import headrank.stages.select as select_module
from headrank.alignment import GradedKL, OptimizerSettings, Preference, TrainedSettings, WeightedLosses
from headrank.alignment.settings import AlignmentSettings, TrainerSettings
from headrank.experiment import (
    MAIN_SYSTEM,
    DataSettings,
    Experiment,
    ReadingSettings,
    SystemSettings,
)
from headrank.heads import AllHeads, EntropyRegularized, RandomHeads
from headrank.model import BackboneSettings, ScorerSettings

ALIGNMENT = AlignmentSettings(
    WeightedLosses({"preference": (1.0, Preference()), "graded_kl": (0.5, GradedKL())}),
    trained=TrainedSettings(rank=2),
    optimizer=OptimizerSettings(lr=0.05),
    epochs=2,
    lists_per_step=1,
    validation_queries=1,
    trainer=TrainerSettings(accelerator="cpu", progress_bar=False),
)


def tiny_experiment(folder: Path, model_folder: Path, place: Path) -> Experiment:
    data = {"collection": str(folder), "first_stage": "run", "depth": 3}
    return Experiment(
        name="test",
        folder=place / "run",
        cache=place / "cache",
        model=BackboneSettings(model=str(model_folder)),
        train=(DataSettings(name="train", **data),),
        benchmarks=(DataSettings(name="one", **data), DataSettings(name="two", **data, max_queries=2)),
        systems={
            MAIN_SYSTEM: SystemSettings(EntropyRegularized(), heads=3),
            "random": SystemSettings(RandomHeads(), heads=2, scorer=ScorerSettings(order="shuffled")),
            "icr": SystemSettings(
                AllHeads(), scorer=ScorerSettings(query_rows="suffix", power=0.0, token_filter=True, order="reversed")
            ),
        },
        reading=ReadingSettings(seeds=(0, 1)),
        metrics=("ndcg@10", "judged@10"),
        config={"name": "test"},
        config_yaml="name: test\n",
    )


def files(folder: Path) -> dict[str, int]:
    """Every artifact with its time of change; `status.json`, the report and facts are written by every run."""
    kinds = ("runs/", "metrics/", "examples/", "heads")
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.stat().st_mtime_ns for name, path in found.items() if name.startswith(kinds)}


def no_model(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(fit_module, "load_backbone", refuse)
    monkeypatch.setattr(rerank_module, "load_backbone", refuse)
    monkeypatch.setattr(select_module, "load_backbone", refuse)
