"""The peak memory of a block is that of the block, not of what the process did before."""

import json
from types import SimpleNamespace

import pytest
import torch

import headrank.io.memory as memory_module
import headrank.stages.rerank as rerank_module
from headrank.io.memory import PeakMemory
from headrank.pipeline import run_experiment

CPU = torch.device("cpu")
LARGE = 400_000_000  # bytes: far above what else happens in these tests


def peak_of(size: int) -> int | None:
    with PeakMemory(CPU) as peak:
        held = torch.ones(size, dtype=torch.uint8)
        del held
    return peak.bytes


def needs_reset() -> None:
    if not memory_module._reset_peak():
        pytest.skip("this system cannot reset a process's peak memory")


def test_a_block_after_a_large_one_has_its_own_peak():
    needs_reset()
    small, large, again = peak_of(1), peak_of(LARGE), peak_of(1)
    assert None not in (small, large, again)
    assert large - small > 0.9 * LARGE
    assert again < small + 0.2 * LARGE


def test_what_is_there_counts():
    needs_reset()
    before = peak_of(1)
    held = torch.ones(LARGE, dtype=torch.uint8)
    assert peak_of(1) - before > 0.9 * LARGE
    del held


def test_a_peak_that_cannot_be_reset_is_not_known(monkeypatch):
    monkeypatch.setattr(memory_module, "_reset_peak", lambda: False)
    assert peak_of(1) is None


def test_on_a_gpu_torchs_own_peak_is_reset(monkeypatch):
    calls = []
    peaks = [700, 0]
    fake = SimpleNamespace(reset_peak_memory_stats=calls.append, max_memory_allocated=lambda device: peaks.pop(0))
    monkeypatch.setattr(torch, "cuda", fake)
    device = torch.device("cuda", 0)
    with PeakMemory(device) as peak:
        assert calls == [device]
    assert peak.bytes == 700
    with PeakMemory(device) as peak:  # a server in another process holds the model
        pass
    assert peak.bytes is None


def test_a_systems_peak_is_not_that_of_the_one_before(experiment, monkeypatch):
    """The first system takes much memory, once; the next ones do not inherit it."""
    needs_reset()
    score, calls = rerank_module.Scorer.score, []

    def greedy(self, *args, **options):
        calls.append(torch.ones(LARGE if not calls else 1, dtype=torch.uint8).sum())
        return score(self, *args, **options)

    monkeypatch.setattr(rerank_module.Scorer, "score", greedy)
    run_experiment(experiment)
    facts = json.loads((experiment.folder / "facts.json").read_text())
    first, *others = [values["peak_memory_bytes"] for values in facts.values()]
    assert all(first - other > 0.5 * LARGE for other in others)


def test_an_unknown_peak_is_left_out(experiment, monkeypatch):
    monkeypatch.setattr(memory_module, "_reset_peak", lambda: False)
    run_experiment(experiment)
    facts = json.loads((experiment.folder / "facts.json").read_text())
    assert facts
    assert not any("peak_memory_bytes" in values for values in facts.values())
