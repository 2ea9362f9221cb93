"""Explains the scores of a list: reads it once more, per token, and attributes its scores to tokens of the texts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from headrank.explanation import Explanation, PassageExplanation, TokenContribution
from headrank.model.attribution import adds_up_to, attribute_rows, attribute_tokens
from headrank.model.calibration import passage_scores
from headrank.model.fusion import standard_deviation
from headrank.model.pieces import Piece
from headrank.model.prompt import Span
from headrank.model.reader import Reading
from headrank.model.scorer import ScoredList, Scorer, best_passages
from headrank.model.token_spans import find_spans
from headrank.ranking import CandidateList
from headrank.surrogates import encodable, original_positions


def explain_list(
    scorer: Scorer, item: CandidateList, scored: ScoredList, *, top_k: int | None = None, per_head: bool = False
) -> Explanation:
    """Explain the best passages of a ranking.

    The list is read once more, as `Scorer.score` reads it. Of a passage in several chunks (`long_passages=max`) the
    best chunk's tokens have contributions, those of the others 0. With several context orders contributions are means.

    Args:
        scorer: the scorer that ranked the list.
        item: the list.
        scored: the result of `Scorer.score`.
        top_k: the number of passages to explain; None: all.
        per_head: whether the contributions of single heads are kept.

    Returns:
        The explanation; ids are those of the list.
    """
    shown = scored.ranking.results[:top_k]
    index = {passage: i for i, passage in enumerate(item.passage_ids)}
    found = _Found(scorer, item, {index[one.id] for one in shown}, per_head=per_head)
    found.read(scored)
    s = scorer.settings
    names = [f"{head.layer}-{head.head}" for head in scorer.heads]
    scale = found.scale
    of_mass = adds_up_to(s) == "attention"  # of which z is the logarithm: not scaled with it
    changed = scorer.fusion_weight > 0 or scored.windows > 1
    passages = []
    for one in shown:
        passage, text = found.passages[index[one.id]], item.passages[index[one.id]].text
        spans, by_head, rows = passage.attribution(text)
        if not of_mass:
            by_head, rows = by_head * scale, rows * scale
        passages.append(
            PassageExplanation(
                id=one.id,
                index=index[one.id],
                rank=one.rank,
                score=one.score,
                text=text,
                tokens=_contributions(spans, by_head.sum(0)),
                rest=one.score - passage.z * (1.0 if of_mass else scale) if changed else 0.0,
                truncated=one.id in scored.cut,
                query_tokens=_contributions(found.query_spans, rows[:-1]),
                other_rows=rows[-1].item(),
                heads=dict(zip(names, map(tuple, by_head.tolist()), strict=True)) if per_head else {},
            )
        )
    calibration = s.calibration if isinstance(s.calibration, str) else s.calibration.name
    return Explanation(item.query.text, tuple(passages), adds_up_to(s), calibration, scored.query_cut)


class _Found:
    """The readings of a list, attributed to the tokens of some of its passages."""

    def __init__(self, scorer: Scorer, item: CandidateList, explained: set[int], *, per_head: bool) -> None:
        self.scorer, self.item, self.per_head = scorer, item, per_head
        self.passages = {i: _Passage() for i in explained}
        self.query_spans: tuple[Span, ...] = ()

    def read(self, scored: ScoredList) -> None:
        """Read what made the scores: the whole list, its best passages again, or both, as far as they are explained."""
        everything = range(len(self.item))
        if not self.scorer.is_read_again(self.item, scored):
            self._read(self.item, everything)
            return
        best = best_passages(self.item, scored)
        kept = set(best.passage_ids)
        again = [i for i, passage in enumerate(self.item.passage_ids) if passage in kept]
        if not self.passages.keys() <= set(again):
            self._read(self.item, everything)
        if read_again := self.passages.keys() & set(again):
            self.passages |= {i: _Passage() for i in read_again}
            self._read(best, again)

    def _read(self, item: CandidateList, owners: Sequence[int]) -> None:
        """Read a list of which passage n is number `owners[n]` of the whole list."""
        s, reader = self.scorer.settings, self.scorer.reader
        passes = self.scorer.maker.pieces(item, s.order, s.seed, s.shuffles).passes
        jobs = [(order, piece) for order, pieces in enumerate(passes) for piece in pieces]
        z = torch.full((len(passes), len(item)), -torch.inf)
        readings = reader.read(
            [piece.item for _, piece in jobs],
            [piece.order for _, piece in jobs],
            self.scorer.heads,
            with_null=s.needs_null,
            per_token=True,
            per_row=True,
        )
        for reading in readings:
            order, piece = jobs[reading.number]
            of_piece = self._add(reading, piece, order, owners)
            z[order].scatter_reduce_(0, torch.tensor([piece.owners[i] for i in reading.order]), of_piece, "amax")
        self._z = z.mean(0)

    def _add(self, reading: Reading, piece: Piece, order: int, owners: Sequence[int]) -> Float[Tensor, " docs"]:
        """Attribute a reading in one of the context orders; return z of its texts, in context order."""
        scorer, prompt = self.scorer, reading.prompt
        s, prompts = scorer.settings, scorer.reader.prompts
        z = passage_scores(reading.scores, s, scorer.weights).float().cpu()
        scores = reading.scores.cpu()  # contributions are in fp64, which some devices lack
        tokens = attribute_tokens(scores, s, scorer.weights)
        if not self.per_head:
            tokens = tokens.sum(0, keepdim=True)
        rows = self._query_entries(reading, attribute_rows(scores, s, scorer.weights))
        for position, number in enumerate(reading.order):
            passage = self.passages.get(owners[piece.owners[number]])
            if passage is None:
                continue
            span = prompt.passages[position]
            text = encodable(piece.item.passages[number].text)
            ids = prompt.prefix[slice(*span)]
            spans = find_spans(prompts.text_tokenizer, text, ids, prompts.settings.max_passage_tokens)
            assert scores.tokens is not None
            mine = tokens[:, scores.tokens.passage == position]
            by_head = sum_entries(mine, spans.entries, len(spans.spans))
            start = piece.starts[number]
            passage.chunks[start] = spans.spans
            passage.keep(order, _Chunk(z[position].item(), start, by_head, rows[position]))
        return z

    def _query_entries(self, reading: Reading, rows: Float[Tensor, "rows docs"]) -> Float[Tensor, "docs entries"]:
        """The contributions of the query's entries (see `TokenSpans`), and last those of all other rows."""
        prompts, tail, text = self.scorer.reader.prompts, reading.prompt.tails[0], self.item.query.text
        ids = tail.ids[slice(*tail.query)]
        spans = find_spans(prompts.text_tokenizer, encodable(text), ids, prompts.settings.max_query_tokens)
        self.query_spans = original_spans(text, spans.spans)
        before = tail.query.start - tail.rows(self.scorer.settings.query_rows).start
        others = len(spans.spans)
        after = len(rows) - before - len(spans.entries)
        return sum_entries(rows.T, [others] * before + [*spans.entries] + [others] * after, others + 1)

    @property
    def scale(self) -> float:
        """The factor of z in the scores: 1, or with fusion 1 / the standard deviation of z over the list."""
        if not self.scorer.fusion_weight or not self.passages:
            return 1.0
        std = standard_deviation(self._z).item()
        return 1 / std if std > 0 else 0.0


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk of a passage, or a whole passage: its z, where it starts, and its contributions.

    Without `per_head`, `by_head` has one row, the sum over the heads.
    """

    z: float
    start: int
    by_head: Float[Tensor, "heads entries"]
    rows: Float[Tensor, " query_entries"]


@dataclass(slots=True)
class _Passage:
    """What is known of a passage: the spans of all its chunks, by start, and the best chunk in each context order."""

    chunks: dict[int, tuple[Span, ...]] = field(default_factory=dict)
    best: dict[int, _Chunk] = field(default_factory=dict)

    def keep(self, order: int, chunk: _Chunk) -> None:
        """Keep the chunk if it is the best one so far in this context order."""
        if order not in self.best or chunk.z > self.best[order].z:
            self.best[order] = chunk

    @property
    def z(self) -> float:
        """The mean over the context orders."""
        return sum(chunk.z for chunk in self.best.values()) / len(self.best)

    def attribution(
        self, text: str
    ) -> tuple[tuple[Span, ...], Float[Tensor, "heads entries"], Float[Tensor, " query_entries"]]:
        """The spans of the passage's entries, their contributions by head, and those of the query's entries."""
        starts = sorted(self.chunks)
        best = list(self.best.values())
        spans = [Span(start + a, start + b) for start in starts for a, b in self.chunks[start]]
        by_head = {start: best[0].by_head.new_zeros(len(best[0].by_head), len(self.chunks[start])) for start in starts}
        for chunk in best:
            by_head[chunk.start] = by_head[chunk.start] + chunk.by_head / len(best)
        rows = torch.stack([chunk.rows for chunk in best]).mean(0)
        return original_spans(text, spans), torch.cat([by_head[start] for start in starts], dim=1), rows


def original_spans(text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """Spans of `encodable(text)` as spans of `text`."""
    positions = original_positions(text)
    return tuple(Span(positions[start], positions[end]) for start, end in spans)


def sum_entries(x: Float[Tensor, "rows tokens"], entries: Sequence[int], count: int) -> Float[Tensor, "rows entries"]:
    """Sum the columns of tokens that share an entry (see `TokenSpans`) of `count` entries."""
    return x.new_zeros(len(x), count).index_add_(1, torch.tensor(entries, dtype=torch.long), x)


def _contributions(spans: Sequence[Span], values: Float[Tensor, " entries"]) -> tuple[TokenContribution, ...]:
    return tuple(TokenContribution(*span, value) for span, value in zip(spans, values.tolist(), strict=True))
