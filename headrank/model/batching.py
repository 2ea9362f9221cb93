"""Group candidate lists into forward passes, and recover from out-of-memory errors.

Lists of similar length share a pass, which keeps padding low. The settings limit the tokens and lists of a pass.
Batching changes the cost of a run, never a score.

Prompts over the same passages in the same order are joined into one prompt: the shared prefix with the passages, then
one tail (instruction and query, see `prompt.py`) per query. The tails do not attend to each other and the null query's
tail appears once, so the scores equal those of separate passes.
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

logger = logging.getLogger(__name__)

MAX_WASTE = 0.05  # largest share of padding among a pass's tokens


@settings
class BatchSettings:
    """The limits of a forward pass."""

    lists: Annotated[int, Ge(1)] = 64  # maximum
    tokens: Annotated[int, Ge(1)] = 16384  # maximum, with padding; a longer list gets its own pass


Size: TypeAlias = tuple[int, int]
"""Tokens of a list's prefix and tokens of its tails; the two are padded separately."""

R = TypeVar("R")


def plan_batches(sizes: Sequence[Size], settings: BatchSettings) -> list[list[int]]:
    """Group candidate lists into forward passes, the longest lists first.

    A pass stays within the limits of the settings, except that a longer list gets its own pass. At most `MAX_WASTE` of
    its tokens are padding.

    Args:
        sizes: for each list the tokens of its prefix and of its tails (`Size`).
        settings: the limits.

    Returns:
        For each pass the indices of its lists in `sizes`.
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i][0], -sizes[i][1])):  # stable: ties keep their order
        joined = [sizes[j] for j in (*batches[-1], i)] if batches else []
        tokens = padded_tokens(joined)
        waste = tokens - sum(map(sum, joined))
        if not joined or len(joined) > settings.lists or tokens > settings.tokens or waste > MAX_WASTE * tokens:
            batches.append([])
        batches[-1].append(i)
    return batches


def padded_tokens(sizes: Sequence[Size]) -> int:
    """Return the number of tokens, with padding, that one pass over lists of these sizes computes; 0 without lists."""
    return len(sizes) * (max(prefix for prefix, _ in sizes) + max(tails for _, tails in sizes)) if sizes else 0


class BatchRunner:
    """Runs candidate lists through the model in planned passes.

    On an out-of-memory error the pass is halved, and the remaining passes are planned with smaller limits.
    """

    def __init__(self, settings: BatchSettings) -> None:
        self.settings = settings

    def run(self, sizes: Sequence[Size], read: Callable[[list[int]], Sequence[R]]) -> Iterator[tuple[int, R]]:
        """Read all lists in planned passes; yield (index of the list in `sizes`, its result), longest lists first.

        Args:
            sizes: for each list the tokens of its prefix and of its tails (`Size`).
            read: computes one pass: it takes the indices of the pass's lists and returns one result for each.

        Errors of `read` propagate, except out-of-memory errors of passes with several lists. If a single list does not
        fit into memory, its error propagates with a note on how to need less memory.
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
        """The results, or None after an out-of-memory error, which also halves the limits in `settings`."""
        tokens = padded_tokens(sizes)
        try:
            return read(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                error.add_note(
                    f"a single list of {tokens} tokens exceeds the available memory: lower the depth of the "
                    "candidate lists or prompt.max_passage_tokens, or load the model in half precision"
                )
                raise
        # Outside of the handler: there the traceback would keep the failed pass's tensors alive.
        self.settings = BatchSettings(lists=len(batch) // 2, tokens=max(1, tokens // 2))
        logger.warning(
            "out of memory with %d lists (%d tokens) in a pass: continuing with at most %d lists and %d tokens",
            len(batch), tokens, self.settings.lists, self.settings.tokens,
        )  # fmt: skip
        free_memory()
        return None


def free_memory() -> None:
    """Release the memory of a failed pass.

    Call it after the `except` block: within the block the traceback keeps the pass's tensors alive.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception is an out-of-memory error, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    signs = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)


MOST_QUERIES = 16  # of one prompt: the masked, wasted part of the tails' attention grows with their number


class SharedPrompt(NamedTuple):
    """A prompt of one or several queries over the same passages.

    members: for each of its queries, the index of that query's prompt among those given to `share_prefixes`.
    """

    prompt: Prompt
    members: tuple[int, ...]


def share_prefixes(prompts: Sequence[Prompt], limits: BatchSettings | None = None) -> list[SharedPrompt]:
    """Join prompts over the same passages in the same order into prompts of several queries.

    Prompts with a null query are not joined with prompts without one.

    Args:
        prompts: prompts of one query each.
        limits: the limits of a pass, which a joined prompt respects; None: the default limits.

    Returns:
        The prompts, joined or single, in the order of their first members.
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
    """Split a prompt of several queries into two, each with half of the queries. Both keep the null query, if any."""
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
