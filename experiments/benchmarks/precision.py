"""Other precisions on this processor, and torch.compile: what they are worth to HeadRank, and what they change.

python -m experiments.benchmarks.precision

Speed on random weights of Qwen3-0.6B's shape, ten passages; scores with the embedded model on real lists.
"""

import argparse
import copy
import logging
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import transformers
from torch import nn

from experiments.benchmarks.measure import clock, take_turns
from experiments.benchmarks.models import Shared, make_lists
from experiments.benchmarks.profiles import CPU
from experiments.benchmarks.real import selected_heads
from headrank.data import candidate_lists, load_collection
from headrank.model import Backbone, BackboneSettings, Scorer, load_backbone, measured_matmul_rate
from headrank.model.attention import ATTENTION_NAME

PASSAGES, ROUNDS, CANDIDATES, LISTS = 10, 2, 20, 3
COMPILED = "float32, torch.compile"


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    logging.getLogger("headrank").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch's own quantization moves to torchao
    transformers.utils.logging.disable_progress_bar()
    for dtype in ("float32", "bfloat16"):
        print(f"matrix products, {dtype}: {measured_matmul_rate(dtype, clock=clock) / 1e9:.0f} GFLOP/s")
    _speed()
    _agreement()


def _speed() -> None:
    shared = Shared.load(CPU)
    lists, heads = make_lists(shared.whole.tokenizer, 1, PASSAGES), CPU.heads()
    shared.whole.model.set_attn_implementation(ATTENTION_NAME)
    calls = {}
    for name, change in WAYS.items():
        changed = change(shared.backbone(CPU.depth))
        if isinstance(changed, str):
            print(f"{name}: not measured, {changed}")
            continue
        scorer = Scorer(changed, heads)
        try:
            scorer.score(lists)  # the first call prepares
        except Exception as error:  # that a way does not work here is a result, too
            print(f"{name}: fails, {type(error).__name__}: {str(error).strip().splitlines()[0][:200]}")
            continue
        calls[name] = lambda scorer=scorer: scorer.score(lists)
    samples = take_turns(calls, ROUNDS)
    print("\n| way | seconds | x float32 |\n| --- | ---: | ---: |")
    for name, taken in samples.items():
        print(f"| {name} | {taken.seconds:.2f} | {taken.seconds / samples['float32'].seconds:.2f} |")


def _agreement() -> None:
    heads, depth = selected_heads()
    lists = candidate_lists(load_collection("sample/test"), kind="bm25", depth=CANDIDATES, max_queries=LISTS).lists
    print("\n| way | largest difference of scores, of their spread | same order | same top 5 |")
    print("| --- | ---: | ---: | ---: |")
    wanted = []
    for name, change in WAYS.items():
        if name == COMPILED:
            continue
        changed = change(load_backbone(BackboneSettings(device="cpu"), depth=depth))
        if isinstance(changed, str):
            continue
        rankings = [scored.ranking for scored in Scorer(changed, heads).score(lists)]
        wanted = wanted or rankings
        worst = 0.0
        for own, other in zip(rankings, wanted, strict=True):
            scores = dict(zip(other.passage_ids, other.scores, strict=True))
            spread = max(other.scores) - min(other.scores)
            worst = max(worst, *(abs(s - scores[i]) / spread for i, s in zip(own.passage_ids, own.scores, strict=True)))
        pairs = list(zip(rankings, wanted, strict=True))
        same = sum(a.passage_ids == b.passage_ids for a, b in pairs)
        top = sum(set(a.passage_ids[:5]) == set(b.passage_ids[:5]) for a, b in pairs)
        print(f"| {name} | {worst:.1e} | {same} of {LISTS} | {top} of {LISTS} |")


def _half(backbone: Backbone) -> Backbone:
    settings = replace(backbone.settings, dtype="bfloat16")
    model: Any = copy.deepcopy(backbone.model)
    return replace(backbone, model=model.to(torch.bfloat16), settings=settings)


def _int8(backbone: Backbone) -> Backbone | str:
    """Weights in int8 by PyTorch's own dynamic quantization, activations quantized as they come."""
    quantize: Any = getattr(getattr(torch.ao, "quantization", None), "quantize_dynamic", None)
    if quantize is None:
        return "this PyTorch has no dynamic quantization of its own, and torchao is not among the project's packages"
    return replace(backbone, model=quantize(copy.deepcopy(backbone.model), {nn.Linear}, dtype=torch.qint8))


def _compiled(backbone: Backbone) -> Backbone | str:
    if not (shutil.which("g++") or shutil.which("clang++")):
        return "torch.compile needs a C++ compiler, and there is none"
    model = copy.deepcopy(backbone.model)
    model.compile(dynamic=True)
    return replace(backbone, model=model)


WAYS: dict[str, Callable[[Backbone], Backbone | str]] = {
    "float32": lambda backbone: backbone,
    "bfloat16": _half,
    "int8, dynamic": _int8,
    COMPILED: _compiled,
}

if __name__ == "__main__":
    main()
