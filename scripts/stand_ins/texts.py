"""Synthetic passages, queries and graded judgements from a random vocabulary of syllables."""

import random
from dataclasses import dataclass

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
_COMMON_WORDS, _FREQUENT_WORDS = 150, 20  # frequent words are five times as frequent, and in every query
_PASSAGES = 250  # minimum per collection: a query's frequent words are in half of them, so BM25 finds 40
_TOPIC_WORDS = 6  # rare words of one query
_JUDGED = {3: 2, 2: 3, 1: 3, 0: 4}  # level -> judged passages of a query
_TOPIC_SHARE = {3: 0.6, 2: 0.4, 1: 0.25, 0: 0.1}  # level -> share of the query's rare words in a passage
_PASSAGE_WORDS = (8, 24)


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage and its title, which may be empty."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """A query. levels: index of a judged passage -> its level, 3 (perfect) to 0 (irrelevant)."""

    text: str
    levels: dict[int, int]


@dataclass(frozen=True, slots=True)
class SyntheticCollection:
    """Passages and queries that refer to them by their index."""

    passages: list[Passage]
    queries: list[Query]


def make_collection(seed: str, *, queries: int, passages: int = 0, titles: bool = True) -> SyntheticCollection:
    """A collection of at least `passages` passages; the same seed gives the same texts on every machine."""
    drawn = random.Random(seed)
    common = _new_words(drawn, _COMMON_WORDS, syllables=(2, 2))  # shorter words can be stop words
    made: list[Passage] = []
    asked: list[Query] = []
    for _ in range(queries):
        topic = _new_words(drawn, _TOPIC_WORDS, syllables=(3, 4))
        levels: dict[int, int] = {}
        for level, count in _JUDGED.items():
            for _ in range(count):
                levels[len(made)] = level
                made.append(_passage(drawn, common, topic, _TOPIC_SHARE[level], titles))
        asked.append(Query(" ".join([*drawn.sample(topic, 3), *drawn.sample(common[:_FREQUENT_WORDS], 2)]), levels))
    while len(made) < max(passages, _PASSAGES):
        made.append(_passage(drawn, common, common, 0.0, titles))
    order = list(range(len(made)))
    drawn.shuffle(order)  # relevant passages must not lie together at the start
    place = {old: new for new, old in enumerate(order)}
    return SyntheticCollection(
        [made[old] for old in order],
        [Query(query.text, {place[i]: level for i, level in query.levels.items()}) for query in asked],
    )


def _new_words(drawn: random.Random, count: int, syllables: tuple[int, int]) -> list[str]:
    def word() -> str:
        return "".join(drawn.choice(CONSONANTS) + drawn.choice(VOWELS) for _ in range(drawn.randint(*syllables)))

    words: dict[str, None] = {}
    while len(words) < count:
        words[word()] = None
    return list(words)


def _passage(drawn: random.Random, common: list[str], topic: list[str], share: float, titles: bool) -> Passage:
    words = [drawn.choice(topic if drawn.random() < share else common) for _ in range(drawn.randint(*_PASSAGE_WORDS))]
    title = " ".join(drawn.choices(common, k=2)).title() if titles and drawn.random() < 0.9 else ""
    return Passage(title, " ".join(words).capitalize() + ".")
