"""Several queries over one candidate list: one prompt, one pass over the passages, a tail for each query.

Prompts whose token ids agree up to their tails (the same passages in the same order) are joined. The tails are blind to
each other and the null query's is there once, so the scores are those of separate passes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from headrank.model.prompt import Prompt

MOST_QUERIES = 16  # of one prompt: a mask hides the tails from each other, and with their number grows what it hides


class SharedPrompt(NamedTuple):
    """A prompt, and which ones it was joined from: indices into the prompts given, in the order of its queries."""

    prompt: Prompt
    members: tuple[int, ...]


def share_prefixes(prompts: Sequence[Prompt]) -> list[SharedPrompt]:
    """The prompts of one query each, joined where they can be; in the order of their first members.

    Prompts with and without a null query are not joined with each other.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, prompt in enumerate(prompts):
        alike = (prompt.prefix, prompt.passages, prompt.blocks, prompt.tails[prompt.queries :])
        groups.setdefault(alike, []).append(i)
    parts = [
        tuple(members[start : start + MOST_QUERIES])
        for members in groups.values()
        for start in range(0, len(members), MOST_QUERIES)
    ]
    return [SharedPrompt(_joined([prompts[i] for i in part]), part) for part in parts]


def _joined(prompts: Sequence[Prompt]) -> Prompt:
    first = prompts[0]
    if len(prompts) == 1:
        return first
    queries = tuple(prompt.tails[0] for prompt in prompts)
    return replace(first, tails=(*queries, *first.tails[first.queries :]), queries=len(queries))
