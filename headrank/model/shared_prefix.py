"""Several queries over one candidate list: one prompt, one pass over the passages, a tail for each query.

Prompts whose token ids agree up to their tails (the same passages in the same order) are joined. The tails are blind to
each other and the null query's is there once, so the scores are those of separate passes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from headrank.model.batching import BatchSettings
from headrank.model.prompt import Prompt

MOST_QUERIES = 16  # of one prompt: a mask hides the tails from each other, and with their number grows what it hides


class SharedPrompt(NamedTuple):
    """A prompt, and which ones it was joined from: indices into the prompts given, in the order of its queries."""

    prompt: Prompt
    members: tuple[int, ...]


def share_prefixes(prompts: Sequence[Prompt], limits: BatchSettings | None = None) -> list[SharedPrompt]:
    """The prompts, of one query each, joined where they can be; in the order of their first members.

    Prompts with and without a null query are not joined with each other. A joined prompt keeps to the limits of a pass.
    """
    limits = limits or BatchSettings()
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, prompt in enumerate(prompts):
        alike = (prompt.prefix, prompt.passages, prompt.blocks, prompt.tails[1:])
        groups.setdefault(alike, []).append(i)
    parts: list[list[int]] = []
    for members in groups.values():
        tokens = limits.tokens + 1
        for i in members:
            tail = len(prompts[i].tails[0].ids)
            if tokens + tail > limits.tokens or len(parts[-1]) >= min(MOST_QUERIES, limits.lists):
                parts.append([])
                tokens = len(prompts[i]) - tail
            parts[-1].append(i)
            tokens += tail
    return [SharedPrompt(_joined([prompts[i] for i in part]), tuple(part)) for part in parts]


def halve(prompt: Prompt) -> tuple[Prompt, Prompt]:
    """A prompt of several queries as two, each of half of them."""
    half, null = prompt.queries // 2, prompt.tails[prompt.queries :]
    first, second = prompt.tails[:half], prompt.tails[half : prompt.queries]
    return (
        replace(prompt, tails=(*first, *null), queries=half),
        replace(prompt, tails=(*second, *null), queries=len(second)),
    )


def _joined(prompts: Sequence[Prompt]) -> Prompt:
    first = prompts[0]
    if len(prompts) == 1:
        return first
    return replace(first, tails=(*(p.tails[0] for p in prompts), *first.tails[1:]), queries=len(prompts))
