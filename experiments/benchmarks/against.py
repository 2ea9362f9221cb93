"""Compare HeadRank with other rerankers at several list lengths."""

import logging
from typing import Any

from experiments.benchmarks import systems
from experiments.benchmarks.eager import eager_bytes
from experiments.benchmarks.measure import Rate, Samples, take_turns
from experiments.benchmarks.models import Shared, make_lists
from experiments.benchmarks.profiles import Profile
from headrank.io.memory import device_memory
from headrank.model import PromptBuilder
from headrank.ranking import CandidateList

logger = logging.getLogger(__name__)

MARGIN = 2 * 2**30  # bytes to keep free in addition to those of the eager recipe


def run_against(profile: Profile, shared: Shared, rate: Rate) -> list[dict[str, Any]]:
    """Measure every system at every number of passages.

    Args:
        profile: the numbers of passages and rounds.
        shared: the model that the systems share.
        rate: the machine's rate of matrix products, measured again for each number of passages.

    Returns:
        One record per system and number of passages.
    """
    records = []
    systems.prepare(shared, profile)
    for passages, rounds in profile.passages.items():
        lists = make_lists(shared.whole.tokenizer, profile.lists, passages)
        prompts = PromptBuilder(shared.whole.tokenizer).build_many(
            [(item.query.text, [p.text for p in item.passages]) for item in lists], with_null=True
        )
        tokens = sum(len(prompt) for prompt in prompts)
        calls, skipped = _calls(profile, shared, lists, max(len(prompt) for prompt in prompts))
        logger.info("%d passages, %d tokens: %s", passages, tokens, ", ".join(calls))
        rate.measure()
        samples = take_turns(calls, rounds, once=[systems.GENERATIVE])  # takes minutes, so it is measured once
        floor = 2 * tokens * sum(shared.shape.layer_parameters[: profile.depth])  # matrix products of a plain pass
        records += [
            {"passages": passages, "tokens": tokens, "system": name, "floor_flops": floor, **_numbers(taken)}
            for name, taken in samples.items()
        ]
        records += [
            {"passages": passages, "tokens": tokens, "system": name, "skipped": why} for name, why in skipped.items()
        ]
        reads = (systems.OURS, systems.FULL, systems.EAGER, systems.AGAIN, systems.FRUGAL)
        same = [samples[name].result for name in reads if name in samples]
        if any(work.rankings != same[0].rankings for work in same) and not near(same, profile.dtype):
            raise AssertionError(f"{passages} passages: expected equal scores of the same heads, found different ones")
    return records


def _calls(
    profile: Profile, shared: Shared, lists: list[CandidateList], longest: int
) -> tuple[dict[str, systems.Call], dict[str, str]]:
    heads, passages = profile.heads(), len(lists[0])
    calls, skipped = {}, {}
    free = device_memory(shared.whole.device).free
    calls[systems.OURS] = systems.scorer_call(shared, shared.backbone(profile.depth), heads, lists)
    if passages in profile.full_depth:
        whole = shared.backbone(whole_deepest=True)
        calls[systems.FULL] = systems.scorer_call(shared, whole, heads, lists)
    for name, eager_names in ((systems.EAGER, profile.eager), (systems.AGAIN, profile.eager_again)):
        if passages not in eager_names:
            continue
        needed = eager_bytes(shared.shape, longest)
        if needed + MARGIN > free:
            skipped[name] = (
                f"needs {needed / 2**30:.0f} GiB in addition to the weights, {free / 2**30:.0f} GiB are free"
            )
        else:
            calls[name] = systems.eager_call(shared, heads, lists, again=name == systems.AGAIN)
    if systems.EAGER in skipped and eager_bytes(shared.shape, longest, frugal=True) + MARGIN <= free:
        calls[systems.FRUGAL] = systems.eager_call(shared, heads, lists, frugal=True)
    if passages in profile.generative:
        calls[systems.GENERATIVE] = systems.reranker_call(shared, systems.generative(shared, profile.lists), lists)
    if passages in profile.pointwise:
        calls[systems.POINTWISE] = systems.reranker_call(shared, systems.pointwise(shared), lists)
        calls[systems.MINI] = systems.cross_encoder_call(profile, lists)
    return calls, skipped


def _numbers(samples: Samples) -> dict[str, Any]:
    work: systems.Work = samples.result
    return {
        "seconds": samples.seconds,
        "peak_mib": samples.peak_mib,
        "work_tokens": work.tokens,
        "flops": work.flops,
        **samples.to_dict(),
    }


def near(works: list[systems.Work], dtype: str) -> bool:
    """Return whether the works have equal scores up to rounding, relative to the largest score of each candidate list.

    Nearly tied passages may swap ranks. In half precision attention masses are compared instead: with random weights,
    the difference between query and null query is smaller than the rounding error.
    """
    tolerance = 1e-3 if dtype == "float32" else 0.05
    numbers = [
        [{r.id: r.score for r in one.results} for one in work.rankings] if dtype == "float32" else work.masses
        for work in works
    ]
    return all(
        abs(other[id] - value) <= tolerance * max(map(abs, first.values()))
        for lists in numbers[1:]
        for first, other in zip(numbers[0], lists, strict=True)
        for id, value in first.items()
    )
