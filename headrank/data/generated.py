"""Make labelled lists from a collection without queries and judgements: a span of a passage's words is the query.

The passage is the only relevant one (grade 1), also after the span has been deleted from it. Other passages, of which
some may be relevant, have grade 0. Every choice is a function of the seed and the passage. [ours; the inverse cloze
task of Lee et al., "Latent Retrieval for Weakly Supervised Open Domain Question Answering" (ACL 2019), is similar]
"""

import json
import logging
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

from headrank.data.bm25.index import BM25Index, bm25_best, bm25_index
from headrank.data.candidates import CandidateLists
from headrank.data.collections import Collection, fingerprint
from headrank.data.first_stage import select_queries
from headrank.data.settings import DataSettings
from headrank.data.spans import Span, choose_span, content_words, without_spans, without_words, word_spans
from headrank.errors import ConfigError
from headrank.io.cache import cache_folder
from headrank.logs import counts_text
from headrank.ranking import CandidateList, Passage, Qrels, Query

_log = logging.getLogger(__name__)

_FORMAT = "1"  # part of the fingerprint: raise it when the same settings make other lists
_RANKED = 10  # BM25's middle ranks end at this many times the depth
_CHUNK = 256  # passages read at once


class GeneratedCollection(Collection):
    """A collection with queries made from its passages. The passages of its lists can differ (deleted words).

    Args:
        source: the collection of the passages. Its queries and judgements are not used.
        settings: the settings, with `generated`.
        queries: the queries by id.
        qrels: the passage of each query, with grade 1.
    """

    def __init__(self, source: Collection, settings: DataSettings, queries: Mapping[str, Query], qrels: Qrels) -> None:
        super().__init__(source.name)
        self._source, self._queries, self._qrels = source, queries, qrels
        assert settings.generated is not None
        values = json.dumps([asdict(settings.generated), asdict(settings.bm25)], sort_keys=True)
        self._fingerprint = fingerprint(("generated", _FORMAT, source.passages_fingerprint, values))

    @property
    def queries(self) -> Mapping[str, Query]:
        """The queries by id, in the order of their passages."""
        return self._queries

    @property
    def qrels(self) -> Qrels:
        """The judgements: each query's passage has grade 1."""
        return self._qrels

    @property
    def passage_count(self) -> int:
        """The number of passages of the source."""
        return self._source.passage_count

    def passages(self, start: int = 0) -> Iterator[Passage]:
        """Yield the unchanged passages of the source except the first `start`."""
        return self._source.passages(start)

    def lookup(self, passage_ids: Iterable[str]) -> dict[str, Passage]:
        """Return the unchanged passages with these ids, by id."""
        return self._source.lookup(passage_ids)

    @property
    def passages_fingerprint(self) -> str:
        """A hash of the source's passages and of all settings that choose and change the texts of lists."""
        return self._fingerprint


@dataclass(frozen=True, slots=True)
class _Origin:
    """The passage from which a query is made."""

    number: int  # of the passage in the index
    passage: Passage
    span: Span

    @property
    def query(self) -> Query:
        start, end = self.span
        return Query(f"passages:{self.passage.id}", " ".join(self.passage.text[start:end].split()))


def generated_lists(
    settings: DataSettings, source: Collection, cache_dir: Path | None = None
) -> tuple[GeneratedCollection, CandidateLists]:
    """Make queries from the passages of a collection, and a candidate list for each.

    A list contains the query's passage and `depth - 1` others, fewer if the collection has no more: the best of BM25,
    passages from its middle ranks (from `depth` down to 10 times that) and random ones, see `NegativeShares`. Random
    passages also replace those that BM25 does not find. Passages without text are left out, and those whose text equals
    that of the query's passage, except for white space and case. The order is that of BM25 with the unchanged texts.
    Passages that BM25 does not find within 10 times the depth have the score 0 and come last; if the query's passage is
    one, it has a random place instead.

    Args:
        settings: the settings, with `generated`.
        source: the collection of the passages.
        cache_dir: the folder of BM25 indexes and rankings; None: the user's cache folder.

    Returns:
        The collection with the queries and judgements, and the lists of its queries (a sample if `max_queries` is set).

    Raises:
        ConfigError: if too few passages are long enough, or a list would contain only its own passage.
        ValueError: if no passage has a word.
    """
    cache_dir = cache_folder() if cache_dir is None else cache_dir
    index = bm25_index(source, settings.bm25, cache_dir)
    origins = {one.query.id: one for one in _origins(settings, source, index)}
    queries = {query_id: one.query for query_id, one in origins.items()}
    qrels = {query_id: {one.passage.id: 1} for query_id, one in origins.items()}
    collection = GeneratedCollection(source, settings, queries, qrels)
    chosen = select_queries(collection, settings.max_queries, settings.seed)
    found = bm25_best(index, chosen, _RANKED * settings.depth, cache_dir)
    maker = _ListMaker(settings, source, index)
    lists = tuple(
        maker.make(query, origins[query.id], dict(zip(numbers.tolist(), scores.tolist(), strict=True)))
        for query, (numbers, scores) in zip(chosen, found, strict=True)
    )
    _log.info("%s: %d candidate lists of up to %d passages", source.name, len(lists), settings.depth)
    return collection, CandidateLists(lists, len(lists), 0, (), (), 0)


def _origins(settings: DataSettings, source: Collection, index: BM25Index) -> list[_Origin]:
    """The passages from which queries are made, in the collection's order."""
    generated = settings.generated
    assert generated is not None
    origins: list[_Origin] = []
    skipped: Counter[str] = Counter()
    for number, passage in _read(source, index, _shuffled(len(index), random.Random(f"{generated.seed}:passages"))):
        if len(word_spans(passage.text, settings.bm25)) < generated.min_passage_words:
            skipped["short"] += 1
            continue
        rng = random.Random(f"{generated.seed}:query:{passage.id}")
        span = choose_span(passage.text, generated, settings.bm25, rng)
        if span is None:
            skipped["no span"] += 1
            continue
        origins.append(_Origin(number, passage, span))
        if len(origins) == generated.queries:
            break
    left_out = counts_text(
        (skipped["short"], f"passages of fewer than {generated.min_passage_words} words skipped"),
        (skipped["no span"], f"passages without a {generated.unit} for a query skipped"),
    )
    if len(origins) < (generated.queries or 1):
        raise ConfigError(
            f"data {settings.name}: generated.queries is {generated.queries}, but {len(origins)} of the {len(index)} "
            f"passages of {source.name} can become queries{left_out}; expected at most {len(origins)}, or other values "
            "of generated.min_passage_words, min_words and max_words"
        )
    _log.info("%s: %d queries made from its passages%s", source.name, len(origins), left_out)
    return sorted(origins, key=lambda one: one.number)


class _ListMaker:
    """Makes the candidate list of a query."""

    def __init__(self, settings: DataSettings, source: Collection, index: BM25Index) -> None:
        assert settings.generated is not None
        self.settings, self.generated = settings, settings.generated
        self.source, self.index = source, index

    def make(self, query: Query, origin: _Origin, scores: Mapping[int, float]) -> CandidateList:
        """Make the list. `scores`: number of a passage -> BM25 score, best first."""
        others = self._others(origin, list(scores))
        if not others:
            raise ConfigError(
                f"data {self.settings.name}: {self.source.name} has {len(self.index)} passages, none of which differs "
                f"from passage {origin.passage.id}; expected more passages"
            )
        place = {number: i for i, number in enumerate(scores)}
        order = sorted(others, key=lambda number: place.get(number, len(place)))  # stable: random ones as drawn
        values = [scores.get(number, 0.0) for number in order]
        if origin.number in place:
            at = sum(place.get(number, len(place)) < place[origin.number] for number in order)
            values.insert(at, scores[origin.number])
        else:
            at = self._rng("place", origin).randrange(len(order) + 1)
            values.insert(at, values[max(0, at - 1)])
        order.insert(at, origin.number)
        texts = self._edited(origin, {**others, origin.number: origin.passage})
        return CandidateList(query, tuple(texts[number] for number in order), tuple(values))

    def _others(self, origin: _Origin, ranked: list[int]) -> dict[int, Passage]:
        """The passages of grade 0 by number: those of BM25's top, of its middle ranks, then random ones."""
        shares, n = self.generated.negatives, self.settings.depth - 1
        rng = self._rng("negatives", origin)
        chosen: dict[int, Passage] = {}
        text = _comparable(origin.passage)

        def take(numbers: Iterable[int], count: int) -> None:
            new = (number for number in numbers if number not in chosen and number != origin.number)
            passages = _read(self.source, self.index, new, chunk=max(1, min(count, _CHUNK)))
            usable = ((number, one) for number, one in passages if _comparable(one) not in ("", text))
            chosen.update(islice(usable, count))

        take(ranked, min(n, round(n * shares.bm25)))
        middle = ranked[self.settings.depth :]
        rng.shuffle(middle)
        take(middle, min(n - len(chosen), round(n * shares.middle)))
        take(_shuffled(len(self.index), rng), n - len(chosen))
        return chosen

    def _edited(self, origin: _Origin, passages: Mapping[int, Passage]) -> dict[int, Passage]:
        """The passages as the list contains them: with the query's words, or without them."""
        if self._rng("keep", origin).random() < self.generated.keep:
            return dict(passages)
        own = replace(origin.passage, text=without_spans(origin.passage.text, [origin.span]))
        if not self.generated.delete_from_negatives:
            return {**passages, origin.number: own}
        parameters = self.settings.bm25
        words = content_words(origin.query.text, parameters)
        edited = {n: replace(one, text=without_words(one.text, words, parameters)) for n, one in passages.items()}
        return {**edited, origin.number: own}

    def _rng(self, purpose: str, origin: _Origin) -> random.Random:
        return random.Random(f"{self.generated.seed}:{purpose}:{origin.passage.id}")


def _comparable(passage: Passage) -> str:
    return " ".join(passage.text.split()).casefold()


def _read(
    source: Collection, index: BM25Index, numbers: Iterable[int], chunk: int = _CHUNK
) -> Iterator[tuple[int, Passage]]:
    """Look up passages by their numbers in the index, in chunks. Yields (number, passage)."""
    numbers = iter(numbers)
    while part := list(islice(numbers, chunk)):
        ids = {number: index.passage_id(number) for number in part}
        passages = source.lookup(ids.values())
        yield from ((number, passages[passage_id]) for number, passage_id in ids.items())


def _shuffled(n: int, rng: random.Random) -> Iterator[int]:
    """Yield 0 to n - 1 in random order. Memory grows only with the numbers yielded, also for millions."""
    moved: dict[int, int] = {}
    for i in range(n):
        j = rng.randrange(i, n)
        yield moved.get(j, j)
        moved[j] = moved.get(i, i)
