"""Measures whether explanations are faithful: the words that they mark are deleted, and the list is ranked again.

python -m experiments.explanations.measure HEADS.json COLLECTION[:MAX_QUERIES] --output results.json
"""

import argparse
import json
import logging
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, pstdev

from experiments.zero_shot.read import load
from headrank import Reranker
from headrank.data.bm25.words import BM25Parameters, words
from headrank.evaluation import compare, mean_estimate
from headrank.explanation import PassageExplanation
from headrank.heads import HeadsFile
from headrank.io.files import atomic_write
from headrank.logs import set_up_logging
from headrank.ranking import CandidateList

logger = logging.getLogger(__name__)

DEPTH = 20  # candidates per query
TOP = 2  # passages of each ranking from which words are deleted
DRAWS = 1  # random deletions of each passage
WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Deletion:
    """What the deletion of words from one passage changed.

    ranks: by how many ranks the passage fell.
    deviations: by how much its score fell, in standard deviations of the list's scores before the deletion.
    """

    ranks: float
    deviations: float


def word_contributions(passage: PassageExplanation) -> list[float]:
    """The contribution of each word of a passage: the sum over the tokens that end in it."""
    spans = [match.span() for match in WORD.finditer(passage.text)]
    return [sum(token.contribution for token in passage.tokens if start < token.end <= end) for start, end in spans]


def without(text: str, deleted: Sequence[int]) -> str:
    """The text without the words with these numbers."""
    gone = set(deleted)
    return " ".join(word for number, word in enumerate(WORD.findall(text)) if number not in gone)


def best(weights: Sequence[float], count: int, chance: random.Random) -> list[int]:
    """The numbers of the `count` highest weights. Ties are broken at random."""
    return sorted(range(len(weights)), key=lambda i: (-weights[i], chance.random()))[:count]


class BM25Weights:
    """BM25's weight of each word of a passage: the idf of the words that the query has, 0 for others."""

    def __init__(self, lists: Sequence[CandidateList]) -> None:
        texts = {passage.id: passage.text for item in lists for passage in item.passages}
        self.texts = len(texts)
        self.documents = Counter(stem for row in stems(list(texts.values())) for stem in set(row))

    def __call__(self, query: str, text: str) -> list[float]:
        """The weight of each word of the text."""
        asked = {stem for row in stems([query]) for stem in row}
        return [
            max((self._idf(stem) for stem in row if stem in asked), default=0.0) for row in stems(WORD.findall(text))
        ]

    def _idf(self, stem: str) -> float:
        count = self.documents[stem]
        return math.log(1 + (self.texts - count + 0.5) / (count + 0.5))


def stems(texts: Sequence[str]) -> list[list[str]]:
    """The stemmed words of each text, without stop words."""
    return words(texts, BM25Parameters()).by_text()


def deletions(
    reranker: Reranker, item: CandidateList, weigh: BM25Weights, share: float, chance: random.Random
) -> dict[str, list[Deletion]]:
    """What deleting a share of the words of each of the best passages changes, by the choice of words."""
    texts = [passage.text for passage in item.passages]
    explained = reranker.explain(item.query.text, texts)
    scores = {one.index: one.score for one in explained.passages}
    spread = pstdev(scores.values())
    jobs: list[tuple[str, PassageExplanation, str]] = []
    for passage in explained.passages[:TOP]:
        marked = word_contributions(passage)
        count = max(1, round(share * len(marked)))
        if len(marked) <= count:
            continue
        choices: list[tuple[str, Callable[[], list[int]]]] = [
            ("explanation", lambda marked=marked, count=count: best(marked, count, chance)),
            (
                "BM25",
                lambda passage=passage, count=count: best(weigh(item.query.text, passage.text), count, chance),
            ),
            *[("random", lambda marked=marked, count=count: chance.sample(range(len(marked)), count))] * DRAWS,
        ]
        jobs += [(name, passage, without(passage.text, choose())) for name, choose in choices]
    lists = [
        (item.query.text, [text if i == passage.index else other for i, other in enumerate(texts)])
        for _, passage, text in jobs
    ]
    found: dict[str, list[Deletion]] = {"explanation": [], "BM25": [], "random": []}
    for (name, passage, _), results in zip(jobs, reranker.rank_many(lists), strict=True):
        (now,) = [result for result in results if result.index == passage.index]
        found[name].append(Deletion(now.rank - passage.rank, (passage.score - now.score) / spread if spread else 0.0))
    return found


def table(per_query: Sequence[dict[str, list[Deletion]]]) -> dict[str, dict[str, object]]:
    """Means over queries with intervals, and paired tests of the explanation's words against the others."""
    rows: dict[str, dict[str, object]] = {}
    for measure in ("ranks", "deviations"):
        values = {
            name: [fmean(getattr(one, measure) for one in query[name]) for query in per_query if query[name]]
            for name in ("explanation", "BM25", "random")
        }
        for name, of_queries in values.items():
            estimate = mean_estimate(of_queries)
            rows.setdefault(name, {})[measure] = None if estimate is None else asdict(estimate)
            if name != "explanation":
                found = compare(values["explanation"], of_queries)
                rows[name][f"{measure}: p against explanation"] = found.p_randomization
                rows[name][f"{measure}: wins, ties, losses of explanation"] = [found.wins, found.ties, found.losses]
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Whether the words that an explanation marks made the score.")
    parser.add_argument("heads", type=Path)
    parser.add_argument("collection", help="COLLECTION[:MAX_QUERIES]; a folder with one run uses it, others BM25")
    parser.add_argument("--share", type=float, default=0.1, help="share of a passage's words that are deleted")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("outputs/explanations"), help="folder of BM25 indexes")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    set_up_logging()
    heads = HeadsFile.load(options.heads)
    reranker = Reranker.from_pretrained(heads.model["id"], heads, dtype=options.dtype)
    lists = [item for item in load(options.collection, DEPTH, options.cache).lists if len(item) > TOP]
    weigh, chance, per_query = BM25Weights(lists), random.Random(options.seed), []
    for number, item in enumerate(lists, 1):
        per_query.append(deletions(reranker, item, weigh, options.share, chance))
        content = {"queries": number, "share": options.share, "rows": table(per_query)}
        with atomic_write(options.output) as out:
            json.dump(content, out, indent=1)
        logger.info("query %d of %d", number, len(lists))


if __name__ == "__main__":
    main()
