"""Which lists go through the model together, and what happens if memory does not suffice for them.

Lists of like length share a pass, so that little is computed for padding; a pass holds at most so many tokens. Nothing
here changes a score: it decides what a run costs.

Several queries over one candidate list: one prompt, one pass over the passages, a tail for each query.

Prompts whose token ids agree up to their tails (the same passages in the same order) are joined. The tails are blind to
each other and the null query's is there once, so the scores are those of separate passes.
"""

import gc
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, NamedTuple, TypeAlias, TypeVar

import torch

from headrank.model.prompt import Prompt
from headrank.settings import Ge, settings

MAX_WASTE = 0.05  # of a pass's tokens may be padding; lists that differ more than that go apart


@settings
class BatchSettings:
    """How large a forward pass may be."""

    lists: Annotated[int, Ge(1)] = 64  # at most
    tokens: Annotated[int, Ge(1)] = 16384  # with padding, at most; a longer list goes alone


Size: TypeAlias = tuple[int, int]
"""Tokens of a list's prefix, tokens of its tails: the two are padded apart."""

R = TypeVar("R")


def plan_batches(sizes: Sequence[Size], settings: BatchSettings) -> list[list[int]]:
    """Which lists share a pass, as indices into `sizes`, longest first.

    Each pass keeps to the settings, and its padding within `MAX_WASTE` of its tokens, so that the whole does too.
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i][0], -sizes[i][1])):  # stable: ties as given
        joined = [sizes[j] for j in (*batches[-1], i)] if batches else []
        tokens = padded_tokens(joined)
        waste = tokens - sum(map(sum, joined))
        if not joined or len(joined) > settings.lists or tokens > settings.tokens or waste > MAX_WASTE * tokens:
            batches.append([])
        batches[-1].append(i)
    return batches


def padded_tokens(sizes: Sequence[Size]) -> int:
    """Tokens that a pass over lists of these sizes computes."""
    return len(sizes) * (max(prefix for prefix, _ in sizes) + max(tails for _, tails in sizes)) if sizes else 0


class BatchRunner:
    """Runs lists through the model in planned passes. A pass that memory does not suffice for is halved, and what comes
    after it, in this job, is planned as small."""

    def __init__(self, settings: BatchSettings) -> None:
        self.settings = settings

    def run(self, sizes: Sequence[Size], read: Callable[[list[int]], Sequence[R]]) -> Iterator[tuple[int, R]]:
        """(index of the list, its result) in the order of the passes; `read` gets the indices of a pass's lists.

        Raises what `read` raises; where one list alone is too much for memory, with a note that says so.
        """
        queue = deque(plan_batches(sizes, self.settings))
        while queue:
            batch = queue.popleft()
            results = self._attempt(batch, [sizes[i] for i in batch], read)
            if results is None:
                rest = [i for later in (batch, *queue) for i in later]
                queue = deque([rest[k] for k in part] for part in plan_batches([sizes[i] for i in rest], self.settings))
            else:
                yield from zip(batch, results, strict=True)

    def _attempt(
        self, batch: list[int], sizes: Sequence[Size], read: Callable[[list[int]], Sequence[R]]
    ) -> Sequence[R] | None:
        """The results, or None if memory did not suffice: the settings are smaller then."""
        tokens = padded_tokens(sizes)
        try:
            return read(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                error.add_note(
                    f"a single list of {tokens} tokens is too much for the memory there is: lower the depth of the "
                    "candidate lists or prompt.max_passage_tokens, or load the model in half precision"
                )
                raise
        # Outside of the handler, where the traceback does not hold the failed pass's tensors any more.
        self.settings = BatchSettings(lists=len(batch) // 2, tokens=max(1, tokens // 2))
        logger.warning(
            "out of memory with %d lists (%d tokens) in a pass: continuing with at most %d lists and %d tokens",
            len(batch), tokens, self.settings.lists, self.settings.tokens,
        )  # fmt: skip
        free_memory()
        return None


def free_memory() -> None:
    """Give back what a failed pass held. To be called outside of the handler, whose traceback holds its tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory could not be had, on whatever device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    signs = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)


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


logger = logging.getLogger(__name__)
