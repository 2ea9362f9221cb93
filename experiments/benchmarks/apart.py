"""Measure the time of one call by kind of operator: matrix products, the attention kernel, and the rest."""

import logging
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from experiments.benchmarks import systems
from experiments.benchmarks.measure import take_turns
from experiments.benchmarks.models import Shared, make_lists
from experiments.benchmarks.profiles import Profile

logger = logging.getLogger(__name__)

PRODUCTS, ATTENTION, REST = "matrix products", "attention kernel", "norms, rotary embeddings, gates, sums, copies"
_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
OTHER = "not within an operator (of PyTorch and Python; on a GPU: waiting)"


def run_apart(settings: Profile, shared: Shared) -> list[dict[str, Any]]:
    """Measure a call on one candidate list for each number of passages.

    Returns:
        One record per number of passages, with the seconds in total and by kind of operator.
    """
    records = []
    systems.prepare(shared, settings)
    for passages in settings.apart:
        lists = make_lists(shared.whole.tokenizer, 1, passages)
        call = systems.scorer_call(shared, shared.backbone(settings.depth), settings.heads(), lists)
        logger.info("apart: %d passages", passages)
        taken = take_turns({"call": call}, 1)["call"]
        seconds = taken.seconds
        kinds = _kinds(call, settings.device)
        kinds[OTHER] = max(0.0, seconds - sum(kinds.values()))
        records.append({"passages": passages, "tokens": taken.result.tokens, "seconds": seconds, "kinds": kinds})
    return records


def _kinds(call: systems.Call, device: str) -> dict[str, float]:
    """Seconds by kind of operator with PyTorch's profiler: on the CPU, or of the kernels of a GPU."""
    gpu = device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities) as profiled:
        call()
        if gpu:
            torch.cuda.synchronize()
    kinds: dict[str, float] = {PRODUCTS: 0.0, ATTENTION: 0.0, REST: 0.0}
    for event in profiled.key_averages():
        if not event.key.startswith("aten::"):
            continue
        microseconds = event.self_device_time_total if gpu else event.self_cpu_time_total
        kinds[_kind(event.key.removeprefix("aten::"))] += microseconds / 1e6
    return kinds


def _kind(operator: str) -> str:
    if operator in _PRODUCTS:
        return PRODUCTS
    return ATTENTION if "attention" in operator else REST
