"""Groups candidate lists into forward passes, and recovers from out-of-memory errors.

Lists of similar length share a pass, which keeps padding low. The settings limit the tokens and lists of a pass.
Batching changes the cost of a run, never a score.

Prompts with the same token ids up to their tails (the same passages in the same order) are joined into one prompt with
one tail per query. The tails do not attend to each other and the null query's tail appears once, so the scores equal
those of separate passes.
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
    """Limits of a forward pass."""

    lists: Annotated[int, Ge(1)] = 64  # maximum
    tokens: Annotated[int, Ge(1)] = 16384  # maximum, with padding; a longer list gets its own pass


Size: TypeAlias = tuple[int, int]
"""Tokens of a list's prefix and tokens of its tails; the two are padded separately."""

R = TypeVar("R")


def plan_batches(sizes: Sequence[Size], settings: BatchSettings) -> list[list[int]]:
    """Plan the passes: for each pass the indices into `sizes` of its lists, longest first.

    Each pass respects the limits of the settings and has at most a share of `MAX_WASTE` padding.
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
    """The number of tokens, with padding, that a pass over lists of these sizes computes."""
    return len(sizes) * (max(prefix for prefix, _ in sizes) + max(tails for _, tails in sizes)) if sizes else 0


class BatchRunner:
    """Runs lists through the model in planned passes. On an out-of-memory error the pass is halved, and the remaining
    passes are planned with the smaller limits."""

    def __init__(self, settings: BatchSettings) -> None:
        self.settings = settings

    def run(self, sizes: Sequence[Size], read: Callable[[list[int]], Sequence[R]]) -> Iterator[tuple[int, R]]:
        """Yield (index of the list, its result) in the order of the passes. `read` receives the indices of a pass.

        Errors of `read` propagate. If a single list exceeds the memory, the error carries a note about it.
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
    """Release the memory of a failed pass. Call it outside of the handler, whose traceback keeps tensors alive."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is an out-of-memory error, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    signs = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)


MOST_QUERIES = 16  # of one prompt: the masked, wasted part of the tails' attention grows with their number


class SharedPrompt(NamedTuple):
    """A joined prompt and its members: indices into the given prompts, in the order of its queries."""

    prompt: Prompt
    members: tuple[int, ...]


def share_prefixes(prompts: Sequence[Prompt], limits: BatchSettings | None = None) -> list[SharedPrompt]:
    """Join prompts of one query each that share their prefix. The result is in the order of the first members.

    Prompts with a null query are not joined with prompts without one. A joined prompt respects the limits of a pass.
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
    """Split a prompt of several queries into two, each with half of the queries."""
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
