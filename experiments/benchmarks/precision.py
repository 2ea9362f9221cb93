"""Measure speed and scores of HeadRank with other precisions and torch.compile on this CPU.

python -m experiments.benchmarks.precision
python -m experiments.benchmarks.precision --collection $DL20 --run   # judged lists of a folder with a BM25 run

Speed is measured with random weights of Qwen3-0.6B's shape and ten passages; scores and nDCG@10 with the embedded model
on judged lists.
"""

import argparse
import copy
import importlib.util
import logging
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import transformers
from torch import nn

from experiments.benchmarks.measure import matmul_rate, take_turns
from experiments.benchmarks.models import Shared, make_lists
from experiments.benchmarks.profiles import CPU
from experiments.benchmarks.real import selected_heads
from headrank.data import candidate_lists, load_collection
from headrank.evaluation import SystemRun, score_benchmark
from headrank.model import (
    Backbone,
    BackboneSettings,
    PromptSettings,
    Scorer,
    ScorerSettings,
    load_backbone,
)
from headrank.model.attention import ATTENTION_NAME
from headrank.model.loading.compiled import can_compile, compile_parts

PASSAGES, ROUNDS, CANDIDATES, MAX_PASSAGE_TOKENS = 10, 2, 20, 96
METRIC = "ndcg@10"
COMPILED = ("float32, torch.compile", "float32, model.compile", "bfloat16, model.compile")


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--collection", default="sample/test", help="judged lists: a folder or an ir_datasets id")
    parser.add_argument("--run", action="store_true", help="the collection's own run is the first stage, not BM25")
    parser.add_argument("--lists", type=int, help="maximum number of judged lists")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("headrank").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch's quantization is moving to torchao
    transformers.utils.logging.disable_progress_bar()
    for dtype in ("float32", "bfloat16"):
        print(f"matrix products, {dtype}: {matmul_rate(dtype) / 1e9:.0f} GFLOP/s")
    _speed()
    _agreement(options)


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
            scorer.score(lists)  # warm-up
        except Exception as error:  # a failure of a method on this machine is a result too
            print(f"{name}: fails, {type(error).__name__}: {str(error).strip().splitlines()[0][:200]}")
            continue
        calls[name] = lambda scorer=scorer: scorer.score(lists)
    samples = take_turns(calls, ROUNDS)
    print("\n| way | seconds | x float32 |\n| --- | ---: | ---: |")
    for name, taken in samples.items():
        print(f"| {name} | {taken.seconds:.2f} | {taken.seconds / samples['float32'].seconds:.2f} |")


def _agreement(options: argparse.Namespace) -> None:
    heads, depth = selected_heads()
    collection = load_collection(options.collection)
    kind = "run" if options.run else "bm25"
    lists = candidate_lists(collection, kind=kind, depth=CANDIDATES, max_queries=options.lists).lists
    print(f"\n{len(lists)} lists of {options.collection}\n")
    print(f"| way | {METRIC} | largest difference of scores, of their spread | same order | same top 5 |")
    print("| --- | ---: | ---: | ---: | ---: |")
    reference = []
    for name, change in WAYS.items():
        if name in COMPILED:
            continue
        changed = change(load_backbone(BackboneSettings(device="cpu"), depth=depth))
        if isinstance(changed, str):
            continue
        scorer = Scorer(
            changed,
            heads,
            prompt=PromptSettings(max_passage_tokens=MAX_PASSAGE_TOKENS),
            settings=ScorerSettings(order="shuffled"),
        )
        rankings = [scored.ranking for scored in scorer.score(lists)]
        reference = reference or rankings
        worst = 0.0
        for ranking, other in zip(rankings, reference, strict=True):
            scores = dict(zip(other.passage_ids, other.scores, strict=True))
            spread = max(other.scores) - min(other.scores)
            worst = max(
                worst, *(abs(s - scores[i]) / spread for i, s in zip(ranking.passage_ids, ranking.scores, strict=True))
            )
        pairs = list(zip(rankings, reference, strict=True))
        same = sum(a.passage_ids == b.passage_ids for a, b in pairs)
        top = sum(set(a.passage_ids[:5]) == set(b.passage_ids[:5]) for a, b in pairs)
        scored = score_benchmark(
            "lists",
            {name: SystemRun({ranking.query_id: ranking for ranking in rankings})},
            collection.qrels,
            query_ids=[item.query.id for item in lists],
            relevance_threshold=1,
            reference=name,
            metrics=[METRIC],
        )
        mean = scored.systems[name].means[METRIC]
        print(f"| {name} | {mean:.4f} | {worst:.1e} | {same} of {len(lists)} | {top} of {len(lists)} |", flush=True)


def _half(backbone: Backbone) -> Backbone:
    settings = replace(backbone.settings, dtype="bfloat16")
    model: Any = copy.deepcopy(backbone.model)
    return replace(backbone, model=model.to(torch.bfloat16), settings=settings)


def _int8(backbone: Backbone) -> Backbone | str:
    """Quantize weights to int8 with PyTorch's dynamic quantization; activations are quantized at run time."""
    quantize: Any = getattr(getattr(torch.ao, "quantization", None), "quantize_dynamic", None)
    if quantize is None:
        return "this PyTorch has no dynamic quantization and torchao is not installed"
    return replace(backbone, model=quantize(copy.deepcopy(backbone.model), {nn.Linear}, dtype=torch.qint8))


def _torchao(backbone: Backbone) -> Backbone | str:
    """Quantize weights to int8 per row and activations per token, with torchao."""
    if importlib.util.find_spec("torchao") is None:
        return "torchao is not installed (it is not a dependency of the project)"
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_  # pyright: ignore

    model: Any = copy.deepcopy(backbone.model)
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return replace(backbone, model=model)


def _parts(backbone: Backbone) -> Backbone | str:
    if not can_compile(backbone.device):
        return "torch.compile needs a C++ compiler, and there is none"
    changed = replace(backbone, model=copy.deepcopy(backbone.model))
    compile_parts(changed.model)
    return changed


def _compiled(backbone: Backbone) -> Backbone | str:
    if not can_compile(backbone.device):
        return "torch.compile needs a C++ compiler, and there is none"
    model = copy.deepcopy(backbone.model)
    model.compile(dynamic=True)
    return replace(backbone, model=model)


WAYS: dict[str, Callable[[Backbone], Backbone | str]] = {
    "float32": lambda backbone: backbone,
    "bfloat16": _half,
    "int8, dynamic": _int8,
    "int8, torchao": _torchao,
    COMPILED[0]: _compiled,
    COMPILED[1]: _parts,
    COMPILED[2]: lambda backbone: _parts(_half(backbone)),
}

if __name__ == "__main__":
    main()
