"""A toy collection for alignment: relevant passages repeat the query's word, and a trainer without output."""

import json
import random
import warnings
from pathlib import Path

from lightning.pytorch import Trainer

from headrank.alignment import GradedKL, Preference, WeightedLosses
from headrank.alignment.adapters import READ_LAST, TrainedSettings
from headrank.alignment.module import AlignmentModule
from headrank.alignment.optimizer import OptimizerSettings
from headrank.data import DataSettings
from headrank.data.datamodule import ListwiseDataModule
from headrank.data.labelled import LabelledList
from headrank.model import Backbone, Head, PromptSettings, ScorerSettings
from headrank.ranking import CandidateList, Passage, Query

WORDS = ("tide", "ship", "bread", "moon", "rock", "yeast", "star", "salt", "wind", "rain", "leaf", "fire")
HEADS = (Head(1, 2), Head(0, 3), Head(1, 0))
PROMPT = PromptSettings(instruction="Find:", opening="", chat_template="plain")  # short: a token is a byte
LOSSES = WeightedLosses({"preference": (1.0, Preference()), "graded_kl": (0.5, GradedKL())})
KEPT_CLOSE = WeightedLosses({"preference": (1.0, Preference(kappa=1.0))})


def toy_texts(number: int, docs: int) -> tuple[str, list[tuple[str, int]]]:
    """A query and its passages with their grades, 2 of the passages being relevant."""
    chance = random.Random(number)
    word = WORDS[number % len(WORDS)]
    others = [w for w in WORDS if w != word]
    passages = [(f"{word} {word}", 2), (f"{word} {chance.choice(others)}", 1)]
    passages += [(f"{chance.choice(others)} {chance.choice(others)}", 0) for _ in range(docs - 2)]
    chance.shuffle(passages)
    return word, passages


def toy_list(number: int, docs: int = 6, *, shuffled: bool = True) -> LabelledList:
    word, passages = toy_texts(number, docs)
    item = CandidateList(
        Query(f"q{number}", word), tuple(Passage(f"q{number}-d{i}", text) for i, (text, _) in enumerate(passages))
    )
    order = list(range(docs))
    if shuffled:
        random.Random(100 + number).shuffle(order)
    return LabelledList(item, tuple(grade for _, grade in passages), tuple(order))


def toy_data(folder: Path, *, queries: int = 6, docs: int = 6, **settings) -> ListwiseDataModule:
    """The same lists as a collection's folder, read by the real data module."""
    folder.mkdir(exist_ok=True)
    lists = {f"q{n}": toy_texts(n, docs) for n in range(queries)}
    rows = [(q, f"{q}-d{i}", *passage) for q, (_, passages) in lists.items() for i, passage in enumerate(passages)]
    docs_text = "".join(json.dumps({"doc_id": d, "text": text}) + "\n" for _, d, text, _ in rows)
    (folder / "docs.jsonl").write_text(docs_text)
    (folder / "queries.tsv").write_text("".join(f"{q}\t{word}\n" for q, (word, _) in lists.items()))
    (folder / "qrels.txt").write_text("".join(f"{q} 0 {d} {grade}\n" for q, d, _, grade in rows))
    run = folder / "run.trec"
    run.write_text("".join(f"{q} Q0 {d} {i % docs + 1} {-(i % docs)} toy\n" for i, (q, d, *_) in enumerate(rows)))
    source = DataSettings("toy", str(folder), first_stage="run", run_path=str(run), depth=docs)
    return ListwiseDataModule([source], **{"validation_queries": 2, **settings})


def attention_only(part: str = "lora", **settings) -> TrainedSettings:
    """Training of the query and key matrices alone, which the readout reaches in every layer."""
    return TrainedSettings(part, READ_LAST, **settings)


def toy_module(backbone: Backbone, heads=HEADS, **settings) -> AlignmentModule:
    defaults = {
        "losses": LOSSES,
        "prompt": PROMPT,
        "scorer": ScorerSettings(),
        "trained": attention_only(),
        "optimizer": OptimizerSettings(lr=3e-3),
        "temperature": 4.0,
    }
    return AlignmentModule(backbone, heads, **{**defaults, **settings})


def toy_trainer(epochs: int, folder: Path, **settings) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(**{"enable_checkpointing": False, **quiet, **settings}, max_epochs=epochs, default_root_dir=folder)


def fit(module: AlignmentModule, data: ListwiseDataModule, epochs: int, folder: Path, *, ckpt_path=None, **settings):
    """Train and give the trainer back."""
    trainer = toy_trainer(epochs, folder, **settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec")  # Lightning 2.6 on torch 2.13
        warnings.filterwarnings("ignore", message=".*exists and is not empty")  # a resumed run's folder
        warnings.filterwarnings("ignore", message=".*across ranks is zero")  # no validation lists
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return trainer
