"""The sample collection holds to what its README says of it."""

import re
from collections import Counter
from statistics import mean

import pytest

from headrank.data import candidate_lists, load_collection

STOP = frozenset(
    """
    a an and are as at be by do does for from how i in is it its of on or that the this to was what when where which who
    why will with my can should if not than there you your we did has have
    """.split()  # noqa: SIM905 (a list of 60 quoted words is no easier to read)
)


def words(text: str) -> set[str]:
    return {word.rstrip("s") for word in re.findall(r"[a-z0-9']+", text.lower())} - STOP


@pytest.fixture(params=["train", "test"])
def split(request):
    return load_collection(f"sample/{request.param}")


def graded(split):
    """(query, passage, grade) of every judgement."""
    for query_id, judged in split.qrels.items():
        passages = split.lookup(judged)
        yield from ((split.queries[query_id], passages[i], grade) for i, grade in judged.items())


def test_counts(split):
    assert len(split.judged_queries) == len(split.queries) == 24
    assert split.passage_count == 384
    judged = [passage_id for grades in split.qrels.values() for passage_id in grades]
    assert sorted(judged) == sorted(passage.id for passage in split.passages()), "each passage judged once"
    for grades in split.qrels.values():
        count = Counter(grades.values())
        assert sum(count.values()) == 16
        assert 1 <= count[3] <= 3
        assert 2 <= count[2] <= 4
        assert 3 <= count[1] <= 6
        assert 4 <= count[0] <= 9


def test_splits_share_nothing():
    train, test = load_collection("sample/train"), load_collection("sample/test")
    assert not {p.text for p in train.passages()} & {p.text for p in test.passages()}
    assert not {q.text for q in train.queries.values()} & {q.text for q in test.queries.values()}
    for split in (train, test):
        assert len({p.text for p in split.passages()}) == 384


def test_length_does_not_tell_the_grade(split):
    lengths: dict[int, list[int]] = {grade: [] for grade in range(4)}
    for _, passage, grade in graded(split):
        count = len(passage.text.split())
        assert 30 <= count <= 90, passage
        lengths[grade].append(count)
    means = [mean(values) for values in lengths.values()]
    assert max(means) - min(means) < 5


def test_position_in_the_files_does_not_tell_the_grade(split):
    positions = {passage.id: i for i, passage in enumerate(split.passages())}
    by_grade: dict[int, list[int]] = {grade: [] for grade in range(4)}
    for _, passage, grade in graded(split):
        by_grade[grade].append(positions[passage.id])
    for values in by_grade.values():
        # The mean of n random positions of 384 has a standard error of 384 / sqrt(12 n); three of them are allowed.
        assert abs(mean(values) - 191.5) < 3 * 384 / (12 * len(values)) ** 0.5


def test_words_do_not_tell_the_grade(split):
    overlap: dict[str, dict[int, list[float]]] = {}
    for query, passage, grade in graded(split):
        wanted = words(query.text)
        share = len(wanted & words(passage.text)) / len(wanted)
        overlap.setdefault(query.id, {g: [] for g in range(4)})[grade].append(share)
    for shares in overlap.values():
        assert sum(share >= 0.5 for share in shares[0]) >= 2, "some passages of grade 0 repeat the query's words"
        assert min(shares[2] + shares[3]) <= 0.34, "a relevant passage avoids them"


def test_the_first_stage_leaves_much_to_do(split, tmp_path):
    found = candidate_lists(split, kind="bm25", depth=20, cache_dir=tmp_path)
    assert len(found.lists) == 24
    assert all(15 <= len(item) <= 20 for item in found.lists)  # BM25 finds what shares a word with the query
    firsts = [split.qrels[item.query.id].get(item.passages[0].id, 0) for item in found.lists]
    assert 0.5 < mean(firsts) < 2.5
