"""Cut lists that one prompt cannot hold: long passages into chunks, and long candidate lists into windows.

A window is the part of a candidate list that one prompt holds. Window w of k has every k-th passage of the context
order, beginning with the w-th. So each window has passages of the whole list, in about the same relative positions, and
the scores of different windows can be merged. The best passages are then read again (see `Scorer.score`). This rule is
ours; experiments/long_lists compares it with other rules.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from headrank.errors import ModelError
from headrank.model.plain_text import split_text
from headrank.model.prompt import PromptBuilder
from headrank.model.prompt_lengths import PromptLengths
from headrank.ranking import CandidateList, ContextOrder, Passage, context_orders


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a candidate list that one prompt holds.

    item: the query and the texts, which are passages or chunks of passages.
    order: the context order: the index in `item` of the text at each position.
    owners: for each text of `item`, the index of its candidate in the whole list.
    starts: for each text of `item`, the position of its first character in its candidate's text (`encodable`).
    """

    item: CandidateList
    order: tuple[int, ...]
    owners: tuple[int, ...]
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pieces:
    """A candidate list cut into pieces.

    passes: for each context order the pieces, one per window.
    context: the indices of the candidates in the first context order.
    """

    passes: tuple[tuple[Piece, ...], ...]
    context: tuple[int, ...]


class PieceMaker:
    """Cuts candidate lists into pieces.

    Args:
        builder: the builder of the prompts.
        with_null: whether the prompts hold a null query.
        context: the number of positions of the model's context; None: unlimited.
        window: the largest number of texts in a prompt; None: as many as the context holds.
        chunk: whether a passage of more than `max_passage_tokens` is split into chunks; if not, it loses the rest.
    """

    def __init__(
        self, builder: PromptBuilder, *, with_null: bool, context: int | None, window: int | None, chunk: bool
    ) -> None:
        self.lengths = PromptLengths(builder, with_null=with_null)
        self.builder, self.context, self.window, self.chunk = builder, context, window, chunk

    def pieces(self, item: CandidateList, order: str | ContextOrder, seed: int, shuffles: int = 1) -> Pieces:
        """Cut a candidate list into pieces that fit into the model's context, one prompt each.

        Long passages are split into chunks if `chunk` is set, and long lists are distributed over several windows.

        Args:
            item: the list.
            order: the context order, see `headrank.ranking.context_orders`.
            seed: the seed of a shuffled order.
            shuffles: the number of shuffled orders.

        Returns:
            The pieces for each context order (`both` has two, `shuffled` has `shuffles`). If passages do not attend to
            each other (`prompt.attention=blocks`), the order has no effect, and only the first one is used.

        Raises:
            ModelError: a prompt with a single text does not fit into the context.
        """
        texts, owners, starts = self._chunks(item)
        orders = context_orders(order, texts, seed, shuffles)
        if self.builder.settings.in_blocks:
            orders = orders[:1]  # the order has no effect on blocks
        passes = tuple(tuple(self._windows(texts, one, owners, starts)) for one in orders)
        return Pieces(passes, tuple(dict.fromkeys(owners[i] for i in orders[0])))

    def _chunks(self, item: CandidateList) -> tuple[CandidateList, tuple[int, ...], tuple[int, ...]]:
        """The list with its passages in chunks, and each chunk's owner and start."""
        limit = self.builder.settings.max_passage_tokens
        longest = max((len(passage.text.encode("utf-8", "replace")) for passage in item.passages), default=0)
        if not self.chunk or limit is None or longest < limit:  # a token is at least one byte
            return item, tuple(range(len(item))), (0,) * len(item)
        texts, owners, starts = [], [], []
        for index, passage in enumerate(item.passages):
            parts = split_text(self.builder.text_tokenizer, passage.text, limit)
            texts += parts
            owners += [index] * len(parts)
            starts += list(accumulate(map(len, parts), initial=0))[:-1]
        passages = tuple(Passage(str(i), text) for i, text in enumerate(texts))
        return CandidateList(item.query, passages), tuple(owners), tuple(starts)

    def _windows(
        self, texts: CandidateList, order: tuple[int, ...], owners: tuple[int, ...], starts: tuple[int, ...]
    ) -> Iterator[Piece]:
        size = len(order)
        count = max(1, -(-size // self.window)) if self.window else 1
        while (longest := self._too_long(texts, order, count)) is not None:
            if count >= size:
                raise ModelError(
                    f"query {texts.query.id!r}: the prompt takes {longest} tokens with a single passage, the model has "
                    f"a context of {self.context}; lower prompt.max_passage_tokens or prompt.max_query_tokens"
                )
            count = min(size, max(count + 1, count * longest // (self.context or 1)))
        if count == 1:
            yield Piece(texts, order, owners, starts)
            return
        for start in range(count):
            part = order[start::count]
            item = CandidateList(texts.query, tuple(texts.passages[i] for i in part))
            owned, begun = (tuple(values[i] for i in part) for values in (owners, starts))
            yield Piece(item, tuple(range(len(part))), owned, begun)

    def _too_long(self, texts: CandidateList, order: Sequence[int], count: int) -> int | None:
        """The positions of the longest of `count` windows if the context does not hold them; None if it does."""
        if self.context is None or not len(texts):
            return None
        parts = [
            texts if count == 1 else CandidateList(texts.query, tuple(texts.passages[i] for i in order[start::count]))
            for start in range(count)
        ]
        long = [positions for _, positions in self.lengths.too_long(parts, self.context)]
        return max(long) if long else None
