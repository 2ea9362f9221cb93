"""The stage that explains examples: its key, half precision, memory."""

from dataclasses import replace

import pytest
import torch

import headrank.stages.examples as examples_module
from headrank.evaluation import BenchmarkResult, SystemResult
from headrank.evaluation.examples import read_examples
from headrank.experiment import FIRST_STAGE_SYSTEM, MAIN_SYSTEM
from headrank.heads import HeadsFile
from headrank.io.artifacts import RunFolder
from headrank.model import Head, PromptSettings, ScorerSettings
from headrank.stages.examples import ExampleStage, ExplainedSystem
from headrank.stages.lists import DataLoader
from headrank.stages.rerank import RerankStage


def result_of(values: dict[str, tuple[float, ...]], query_ids) -> BenchmarkResult:
    systems = {
        name: SystemResult({"mrr@10": sum(of) / len(of)}, {"mrr@10": of}, None, None, {}) for name, of in values.items()
    }
    return BenchmarkResult("one", tuple(query_ids), ("mrr@10",), 1, FIRST_STAGE_SYSTEM, systems)


@pytest.fixture
def run(experiment):
    """Explains the examples of results of three queries."""
    folder = RunFolder(experiment.folder)
    benchmark = DataLoader(experiment.cache).load(experiment.benchmarks[0])
    heads = HeadsFile(
        {"layers": 3, "heads_per_layer": 4},
        (Head(1, 2), Head(2, 0)),
        (1.0, 1.0),
        {},
        PromptSettings(),
        ScorerSettings(),
    )

    def call(values, dtype="float32"):
        stage = ExampleStage(folder, RerankStage(folder, experiment.cache), metric="mrr@10", count=2)
        system = ExplainedSystem(replace(experiment.model, dtype=dtype), heads, f"key of {dtype}")
        stage.run({MAIN_SYSTEM: system}, benchmark, result_of(values, benchmark.query_ids))
        return read_examples(folder.path / "examples/one.json")

    return call


def test_other_values_of_the_same_run_are_written_anew(run):
    first = run({FIRST_STAGE_SYSTEM: (0.5, 0.5, 0.5), MAIN_SYSTEM: (1.0, 0.9, 0.1)})
    assert [(one.query_id, one.before, one.after) for one in first] == [
        ("q1", 0.5, 1.0), ("q2", 0.5, 0.9), ("q3", 0.5, 0.1),
    ]  # fmt: skip
    again = run({FIRST_STAGE_SYSTEM: (0.5, 0.5, 0.5), MAIN_SYSTEM: (0.6, 0.8, 0.1)})
    assert [(one.query_id, one.after) for one in again] == [("q2", 0.8), ("q1", 0.6), ("q3", 0.1)]


def test_contributions_add_up_in_half_precision(run):
    for one in run({FIRST_STAGE_SYSTEM: (0.5, 0.5, 0.5), MAIN_SYSTEM: (1.0, 0.9, 0.1)}, dtype="bfloat16"):
        for passage in one.rankings[0].explanation.passages:
            assert passage.contribution + passage.rest == pytest.approx(passage.score, rel=1e-4, abs=1e-6)


def test_without_memory_the_run_goes_on_without_examples(run, monkeypatch, caplog):
    values = {FIRST_STAGE_SYSTEM: (0.5, 0.5, 0.5), MAIN_SYSTEM: (1.0, 0.9, 0.1)}
    assert run(values)

    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(examples_module, "explain_list", fail)
    assert run({**values, MAIN_SYSTEM: (0.7, 0.9, 0.1)}) == ()
    assert "no examples of one" in caplog.text
