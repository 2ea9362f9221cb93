"""Measure the effect of each optimisation by switching it off alone."""

import logging
import tempfile
from dataclasses import replace
from typing import Any

import torch

from experiments.benchmarks import systems
from experiments.benchmarks.against import near
from experiments.benchmarks.measure import Samples, take_turns
from experiments.benchmarks.models import Shared, make_lists
from experiments.benchmarks.profiles import Profile
from headrank.data import candidate_lists, load_collection
from headrank.model import (
    Backbone,
    BackboneSettings,
    Head,
    Prompt,
    PromptBuilder,
    PromptSettings,
    ScorerSettings,
    StateSettings,
    load_backbone,
    read_head_scores,
)
from headrank.model.attention import ATTENTION_NAME
from headrank.model.batching import BatchSettings, padded_tokens, plan_batches
from headrank.model.loading.compiled import can_compile
from headrank.ranking import CandidateList, Query

logger = logging.getLogger(__name__)

QUERIES = [Query(f"q{n}", f"{word} the tides of the sea follow the moon") for n, word in enumerate(
    ("why do", "since when do", "where do", "who says that"))]  # fmt: skip
FIXED = 4  # lists per fixed batch
BATCHED_DEPTH, BATCHED_LAYERS = 10, 6  # candidates per list, layers of the embedded model

AS_IT_IS, WHOLE, ONE_TAIL = "as it is", "deepest layer whole", "query's tail alone (no calibration)"
TWO_PASSES, FULL = "a pass for each tail", "every layer"
COMPILED = "MLPs and norms compiled"
FOUR = "four queries over these passages, together"
BLOCKS, WARM = "passages in blocks", "passages in blocks, states kept"


def run_switches(profile: Profile, shared: Shared) -> list[dict[str, Any]]:
    """Measure the seconds of each variant on one candidate list."""
    lists, heads = make_lists(shared.whole.tokenizer, 1, profile.switches), profile.heads()
    cut = shared.backbone(profile.depth)
    blocks = PromptSettings(attention="blocks")
    with tempfile.TemporaryDirectory() as folder:
        calls = {
            AS_IT_IS: systems.scorer_call(shared, cut, heads, lists),
            FULL: systems.scorer_call(shared, shared.backbone(whole_deepest=True), heads, lists),
            WHOLE: systems.scorer_call(shared, shared.backbone(profile.depth, whole_deepest=True), heads, lists),
            ONE_TAIL: systems.scorer_call(shared, cut, heads, lists, settings=ScorerSettings(calibration="none")),
            FOUR: systems.scorer_call(shared, cut, heads, [replace(lists[0], query=query) for query in QUERIES]),
            TWO_PASSES: two_passes_call(shared, cut, heads, lists[0]),
            BLOCKS: systems.scorer_call(shared, cut, heads, lists, prompt=blocks),
            WARM: systems.scorer_call(shared, cut, heads, lists, prompt=blocks, states=StateSettings(folder)),
        }
        if can_compile(shared.whole.device):
            calls[COMPILED] = systems.scorer_call(shared, shared.backbone(profile.depth, compiled=True), heads, lists)
            calls[COMPILED]()  # compiles
        logger.info("switches: %s", ", ".join(calls))
        calls[WARM]()  # computes the states
        samples = take_turns(calls, profile.switch_rounds)
    _check({name: samples[name].result for name in calls if name not in (TWO_PASSES, FOUR)}, profile.dtype)
    return [{"way": name, **_numbers(taken, samples[AS_IT_IS])} for name, taken in samples.items()]


def _check(works: dict[str, systems.Work], dtype: str) -> None:
    """Check that equivalent variants give equal scores. The variant without null query is scored differently."""
    for same in ([AS_IT_IS, FULL, WHOLE, COMPILED], [BLOCKS, WARM]):
        if not near([works[name] for name in same if name in works], dtype):
            raise AssertionError(
                f"expected equal scores of equivalent variants, found different ones: {', '.join(same)}"
            )


def run_batching(lists: int, rounds: int, device: str) -> dict[str, Any]:
    """Time candidate lists in planned batches, in fixed batches in the given order, and one by one.

    Args:
        lists: the number of candidate lists, taken from the sample collection.
        rounds: the number of rounds.
        device: the torch device.
    """
    candidates = candidate_lists(load_collection("sample/train"), kind="bm25", depth=BATCHED_DEPTH)
    backbone = load_backbone(BackboneSettings(device=device), depth=BATCHED_LAYERS)
    heads = [Head(BATCHED_LAYERS - 1, h) for h in range(4)]
    prompts = PromptBuilder(backbone.tokenizer).build_many(
        [(x.query.text, [p.text for p in x.passages]) for x in candidates.lists[:lists]], with_null=True
    )
    sizes = [prompt.size for prompt in prompts]
    # As large as the fixed batches, so only order and padding differ.
    planned = plan_batches(sizes, BatchSettings(FIXED, 10**9))
    fixed = [list(range(start, min(start + FIXED, len(prompts)))) for start in range(0, len(prompts), FIXED)]
    ways = {"planned": planned, "fixed": fixed, "one by one": [[i] for i in range(len(prompts))]}

    def reading(plan: list[list[int]]) -> Any:
        def call() -> None:
            with torch.inference_mode():
                for batch in plan:
                    read_head_scores(backbone, [prompts[i] for i in batch], heads)

        return call

    samples = take_turns({name: reading(plan) for name, plan in ways.items()}, rounds)
    tokens = sum(len(prompt) for prompt in prompts)
    return {
        "lists": len(prompts),
        "tokens": tokens,
        "rows": [
            {
                "way": name,
                "passes": len(plan),
                "padding": sum(padded_tokens([sizes[i] for i in batch]) for batch in plan) / tokens - 1,
                "seconds": samples[name].seconds,
                **samples[name].to_dict(),
            }
            for name, plan in ways.items()
        ],
    }


def two_passes_call(shared: Shared, backbone: Backbone, heads: tuple[Head, ...], item: CandidateList) -> systems.Call:
    """Make a call that computes both tails of a candidate list in two separate passes over the passages."""
    builder = PromptBuilder(backbone.tokenizer)

    def call() -> systems.Work:
        prompt = builder.build(item.query.text, [p.text for p in item.passages], with_null=True)
        tokens = 0
        with shared.attention(ATTENTION_NAME), torch.inference_mode():
            for tail in prompt.tails:
                alone = Prompt(prompt.prefix, prompt.passages, (tail,))
                read_head_scores(backbone, [alone], heads)
                tokens += len(alone)
        return systems.Work((), tokens, 0)

    return call


def _numbers(samples: Samples, base: Samples) -> dict[str, Any]:
    return {
        "seconds": samples.seconds,
        "times": samples.seconds / base.seconds,
        "peak_mib": samples.peak_mib,
        "work_tokens": samples.result.tokens,
        **samples.to_dict(),
    }
