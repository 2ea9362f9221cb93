"""Read the head scores of candidate lists: order the passages, build and batch the prompts, run the model."""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch

from headrank.model.backbone import Backbone
from headrank.model.batching import BatchRunner, BatchSettings, free_memory, halve, is_out_of_memory, share_prefixes
from headrank.model.blocks.store import PassageStates
from headrank.model.forward import read_head_scores
from headrank.model.head_scores import Head, HeadScores
from headrank.model.last_layer import computed_layers
from headrank.model.prompt import Encoded, Prompt, PromptBuilder
from headrank.ranking import CandidateList

CHUNK = 4_000_000  # characters tokenised together: about a million tokens, some seconds on one core


@dataclass(frozen=True, slots=True)
class Reading:
    """The head scores of one candidate list, read in one context order.

    number: the list's index in the caller's sequence.
    order: `order[c]` is the index of the candidate at context position c.
    scores: the head scores; their columns are in context order.
    prompt: the prompt that was read. Several lists over the same passages may share it; `prompt.queries` is their
        number.
    cut: the indices of the candidates whose texts were cut to fit the prompt's limit.
    query_cut: whether the query was cut.
    """

    number: int
    order: tuple[int, ...]
    scores: HeadScores
    prompt: Prompt
    cut: tuple[int, ...] = ()
    query_cut: bool = False

    def first_stage_order(self) -> HeadScores:
        """Return the head scores with their columns in first-stage order, the order of the candidates in the list."""
        where = {candidate: position for position, candidate in enumerate(self.order)}
        return self.scores.reorder([where[candidate] for candidate in range(len(self.order))])


@dataclass(frozen=True, slots=True)
class ListReader:
    """Reads head scores of candidate lists with one backbone and one set of prompt settings."""

    backbone: Backbone
    prompts: PromptBuilder
    query_rows: str = "query"
    batches: BatchSettings = field(default_factory=BatchSettings)
    states: PassageStates | None = None  # stored passage states, for prompts in blocks

    def read(
        self,
        lists: Sequence[CandidateList],
        orders: Sequence[tuple[int, ...]],
        heads: Sequence[Head],
        *,
        with_null: bool,
        per_token: bool = False,
        per_row: bool = False,
    ) -> Iterator[Reading]:
        """Read candidate lists without gradients. Yield one reading per list as passes finish, longest lists first.

        Lists over the same passages in the same order share one prompt within the limits of a pass. Lists without
        candidates are skipped.

        Args:
            lists: the candidate lists.
            orders: for each list the candidates' indices in context order.
            heads: the heads to read.
            with_null: whether the null query is read as well.
            per_token: whether the scores of each passage token are read as well.
            per_row: whether the scores of each row (query token) are read as well.
        """
        runner = BatchRunner(self.batches)
        for chunk in self._prompts(lists, orders, with_null=with_null):
            shared = share_prefixes([prompt for _, prompt in chunk], self.batches)
            prompts = [prompt for prompt, _ in shared]

            def read(batch: list[int], prompts: list[Prompt] = prompts) -> list[list[HeadScores]]:
                return self._pass([prompts[i] for i in batch], heads, per_token=per_token, per_row=per_row)

            for i, of_queries in runner.run([prompt.size for prompt in prompts], read):
                for member, scores in zip(shared[i].members, of_queries, strict=True):
                    number, own = chunk[member]
                    yield _reading(number, orders[number], scores, prompts[i], own)

    def read_pass(
        self,
        lists: Sequence[CandidateList],
        orders: Sequence[tuple[int, ...]],
        heads: Sequence[Head],
        *,
        with_null: bool,
        per_token: bool = False,
    ) -> list[Reading]:
        """Read candidate lists in a single differentiable pass. Return one reading per list, in the given order.

        Only the layers up to the deepest head are computed. Each list has its own prompt. Stored states are not used.
        See `read` for the arguments.
        """
        prompts = self._build(lists, orders, range(len(lists)), with_null=with_null)
        with computed_layers(self.backbone.model, max(head.layer for head in heads) + 1):
            scores = read_head_scores(self.backbone, prompts, heads, query_rows=self.query_rows, per_token=per_token)
        each = zip(orders, scores, prompts, strict=True)
        return [_reading(n, order, of_list, prompt, prompt) for n, (order, of_list, prompt) in enumerate(each)]

    def _pass(
        self, prompts: list[Prompt], heads: Sequence[Head], *, per_token: bool, per_row: bool
    ) -> list[list[HeadScores]]:
        """The head scores of each prompt's queries. On an out-of-memory error a prompt is split."""
        try:
            with torch.inference_mode():
                scores = iter(
                    read_head_scores(
                        self.backbone,
                        prompts,
                        heads,
                        query_rows=self.query_rows,
                        per_token=per_token,
                        per_row=per_row,
                        states=None if self.states is None else self.states.of_lists(prompts),
                    )
                )
            return [list(itertools.islice(scores, prompt.queries)) for prompt in prompts]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(prompts) > 1 or prompts[0].queries == 1:
                raise
        free_memory()
        first, second = (
            self._pass([half], heads, per_token=per_token, per_row=per_row)[0] for half in halve(prompts[0])
        )
        return [[*first, *second]]

    def _prompts(
        self, lists: Sequence[CandidateList], orders: Sequence[tuple[int, ...]], *, with_null: bool
    ) -> Iterator[list[tuple[int, Prompt]]]:
        """Yield chunks of (number, prompt) for the lists with candidates, those with the most characters first.

        The next chunk is tokenised while the model reads this one. Each text is tokenised once over all chunks.
        """
        characters = [sum(len(passage.text) for passage in item.passages) for item in lists]
        line = sorted((n for n, item in enumerate(lists) if len(item)), key=lambda n: -characters[n])
        known: Encoded = {}

        def build(numbers: list[int]) -> list[tuple[int, Prompt]]:
            prompts = self._build(lists, orders, numbers, with_null=with_null, known=known)
            return list(zip(numbers, prompts, strict=True))

        with ThreadPoolExecutor(1, thread_name_prefix="tokenise") as thread:
            chunks = (thread.submit(build, part) for part in _chunks(line, characters))
            chunk = next(chunks, None)
            while chunk is not None:
                built = chunk.result()
                chunk = next(chunks, None)
                yield built

    def _build(
        self,
        lists: Sequence[CandidateList],
        orders: Sequence[tuple[int, ...]],
        numbers: Sequence[int],
        *,
        with_null: bool,
        known: Encoded | None = None,
    ) -> list[Prompt]:
        """The prompts of the numbered lists, passages in context order."""
        texts = [(lists[n].query.text, [lists[n].passages[i].text for i in orders[n]]) for n in numbers]
        return self.prompts.build_many(texts, with_null=with_null, known=known)


def _reading(number: int, order: Sequence[int], scores: HeadScores, prompt: Prompt, own: Prompt) -> Reading:
    """The reading of a list in this order. `own` is its own prompt, `prompt` the one that was read."""
    return Reading(number, tuple(order), scores, prompt, tuple(sorted(order[c] for c in own.cut)), own.query_cut)


def _chunks(line: Sequence[int], characters: Sequence[int]) -> Iterator[list[int]]:
    """Split the line into parts of about `CHUNK` characters."""
    part: list[int] = []
    size = 0
    for number in line:
        part.append(number)
        size += characters[number]
        if size >= CHUNK:
            yield part
            part, size = [], 0
    if part:
        yield part
