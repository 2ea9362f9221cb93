"""Labelled lists: split, drawn, put in order and in batches, for one process or several."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrank.data.batches import Shard, training_batches, validation_batches
from headrank.data.labelled import LabelledList, distinct_ids, label, sample_candidates, shuffle_context, split
from headrank.errors import ConfigError
from headrank.ranking import Query
from tests.data.toy import candidates, ids, labelled


def test_grades_are_in_first_stage_order_and_never_below_0():
    item = candidates("q", docs=4)
    assert label(item, {"q-d3": 2, "q-d0": -2, "elsewhere": 3, "q-d1": 0}) == LabelledList(
        item, (0, 0, 0, 2), (0, 1, 2, 3)
    )
    assert label(candidates("q", docs=1, text="ab", size=5), {}).length == 7


def test_a_list_keeps_the_relevance_threshold_of_its_data_set():
    one = label(candidates("q", docs=5), {"q-d0": 1, "q-d3": 2}, 2)
    assert {
        x.relevance_threshold for x in (one, one.top(4), shuffle_context(one, "k"), sample_candidates(one, 2, "k"))
    } == {2}
    assert (one.top(4).grades, one.top(4).order) == ((1, 0, 0, 2), (0, 1, 2, 3))
    with pytest.raises(ValueError, match=r"query 'q': relevance threshold 0"):
        label(candidates("q"), {}, 0)


@pytest.mark.parametrize(
    ("grades", "order"), [((0,), (0, 1)), ((0, -1), (0, 1)), ((0, 1), (0, 0)), ((0, 1), (1, 2)), ((0, 1), (0,))]
)
def test_grades_and_order_must_fit_the_candidates(grades, order):
    with pytest.raises(ValueError, match=r"query 'q': grades .* for 2 candidates"):
        LabelledList(candidates("q", docs=2), grades, order)


def test_shuffling_keeps_all_else_and_depends_on_key_and_query_alone():
    a, b = labelled(2)
    renamed = replace(a.item, query=Query("another id", a.item.query.text))
    assert shuffle_context(replace(a, item=renamed), "k").order == shuffle_context(a, "k").order
    assert (shuffle_context(a, "k").item, shuffle_context(a, "k").grades) == (a.item, a.grades)
    assert shuffle_context(shuffle_context(a, "other"), "k") == shuffle_context(a, "k")
    assert len({shuffle_context(one, key).order for one in (a, b) for key in ("k", "l")}) == 4


def test_relevant_passages_are_moved_to_the_zone_and_no_others():
    one = label(candidates("q", docs=12), {"q-d0": 2, "q-d4": 2, "q-d7": 1, "q-d9": 2})
    zone = range(3, 9)
    for key in "abcdefgh":
        plain, moved = shuffle_context(one, key), shuffle_context(one, key, 1.0)
        relevant = [c for c, i in enumerate(plain.order) if one.grades[i] == 2]
        assert sum(one.grades[moved.order[c]] == 2 for c in zone) == 3
        changed = [c for c in range(12) if plain.order[c] != moved.order[c]]
        assert len(changed) == 2 * sum(c not in zone for c in relevant)
        assert [c for c in changed if c not in zone] == [c for c in relevant if c not in zone]
    crowded = label(candidates("q", docs=4), {f"q-d{i}": 1 for i in range(3)})
    assert {shuffle_context(crowded, key, 1.0).grades[shuffle_context(crowded, key, 1.0).order[c]]
            for key in "abcdefgh" for c in (1, 2)} == {1}  # fmt: skip


def test_a_share_of_the_lists_is_moved():
    lists = [label(candidates(f"q{n}", docs=8, text=f"text {n}"), {f"q{n}-d0": 1}) for n in range(200)]
    moved = [shuffle_context(one, "k", 0.5) for one in lists]
    plain = [shuffle_context(one, "k") for one in lists]
    full = [shuffle_context(one, "k", 1.0) for one in lists]
    assert all(x in (a, b) for x, a, b in zip(moved, plain, full, strict=True))
    in_zone = sum(one.order.index(0) in range(2, 6) for one in moved)
    assert 130 <= in_zone <= 170  # half of them, and half of the others by chance
    assert moved == [shuffle_context(one, "k", 0.5) for one in lists]


def test_an_id_of_two_different_queries_is_named_by_its_collection():
    first, second, third = (label(candidates(q, text=t), {}) for q, t in [("1", "tides"), ("1", "bread"), ("2", "x")])
    named = distinct_ids([("a", first), ("b", second), ("b", third)])
    assert ids(named) == ["a:1", "b:1", "2"]
    assert [one.item.query.text for one in named] == ["tides", "bread", "x"]
    assert named[1].item.passages == second.item.passages
    assert distinct_ids([("a", first), ("b", third)]) == (first, third)


def test_one_query_in_two_sources_is_refused():
    first, second = (label(candidates("1", text=text), {}) for text in ("What are tides", "what are  tides "))
    with pytest.raises(ConfigError, match=r"query '1' \('what are  tides '\) .* a .* b"):
        distinct_ids([("a", first), ("b", second)])


def test_ids_that_are_equal_under_their_new_names_are_refused():
    lists = [(s, label(candidates(q, text=t), {})) for s, q, t in [("a", "1", "x"), ("b", "1", "y"), ("b", "a:1", "z")]]
    with pytest.raises(ConfigError, match="'a:1'"):
        distinct_ids(lists)


def test_validation_and_fractions_are_seeded_and_nested():
    lists = labelled(40)
    parts = {
        (v, f): [set(ids(part)) for part in split(lists, validation=v, fraction=f, seed=3)]
        for v in (0, 5, 10)
        for f in (0.25, 0.5, 1.0)
    }
    for (v, f), (training, validation) in parts.items():
        assert (len(training), len(validation)) == (round(f * (40 - v)), v)
        assert not training & validation
        assert validation == parts[v, 1.0][1], "the fraction is one of training queries"
    for v in (0, 5, 10):
        assert parts[v, 0.25][0] < parts[v, 0.5][0] < parts[v, 1.0][0]
    assert parts[5, 1.0][1] < parts[10, 1.0][1]
    assert parts[10, 0.5][0] < parts[5, 0.5][0] < parts[0, 0.5][0], "more validation takes queries, and exchanges none"
    training, validation = split(lists, validation=5, fraction=0.5, seed=3)
    assert ids(training) == sorted(ids(training))
    assert split(lists, validation=5, fraction=0.5, seed=3) == (training, validation)
    assert set(ids(split(lists, validation=5, fraction=0.5, seed=4)[1])) != set(ids(validation))
    half_of_them = split(lists[::2], validation=5, fraction=1.0, seed=3)[1]
    assert len(set(ids(half_of_them)) & parts[10, 1.0][1]) >= 3, "a query's place in line is its own"


def test_a_small_fraction_leaves_one_list_and_validation_must_leave_one():
    assert len(split(labelled(4), validation=3, fraction=0.01, seed=0)[0]) == 1
    with pytest.raises(ConfigError, match=r"validation_queries is 4"):
        split(labelled(4), validation=4, fraction=1.0, seed=0)


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=70),
    per_batch=st.integers(1, 5),
    ranks=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
def test_processes_share_an_epoch(lengths, per_batch, ranks, epoch):
    parts = [training_batches(lengths, per_batch, 0, Shard(epoch, rank, ranks)) for rank in range(ranks)]
    assert len({len(batches) for batches in parts}) == 1, "the same number of batches for all"
    assert all(len(batch) <= per_batch for batches in parts for batch in batches)
    assert all(batch for batches in parts for batch in batches[:-1]), "only a last one may be empty"
    assert all(batches[-1] for batches in parts[:1])
    assert sorted(i for batches in parts for batch in batches for i in batch) == list(range(len(lengths)))


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=40), per_batch=st.integers(1, 5), ranks=st.integers(1, 4)
)
def test_processes_share_the_validation_lists(lengths, per_batch, ranks):
    if len(lengths) < ranks:
        with pytest.raises(ConfigError, match=f"{len(lengths)} validation lists for {ranks} processes"):
            validation_batches(lengths, per_batch, Shard(0, 0, ranks))
        return
    parts = [validation_batches(lengths, per_batch, Shard(0, rank, ranks)) for rank in range(ranks)]
    assert len({len(batches) for batches in parts}) == 1
    limit = per_batch if len(lengths) % ranks == 0 else per_batch + 1
    assert all(1 <= len(batch) <= limit for batches in parts for batch in batches)
    assert sorted(i for batches in parts for batch in batches for i in batch) == list(range(len(lengths)))
    again = [validation_batches(lengths, per_batch, Shard(7, rank, ranks)) for rank in range(ranks)]
    assert parts == again, "fixed over epochs"


@pytest.mark.parametrize("lists", [24, 25, 29])
def test_a_step_holds_the_same_lists_however_it_is_shared(lists):
    lengths = [(7 * i) % 31 for i in range(lists)]

    def steps(per_batch, ranks):
        parts = [
            training_batches(lengths, per_batch, 3, Shard(1, rank, ranks), lists_per_step=8) for rank in range(ranks)
        ]
        batches = [[i for part in together for i in part] for together in zip(*parts, strict=True)]
        each = 8 // (per_batch * ranks)
        return [sorted(i for batch in batches[n : n + each] for i in batch) for n in range(0, len(batches), each)]

    alone = steps(8, 1)
    assert [len(step) for step in alone[:3]] == [8, 8, 8]
    assert sorted(i for step in alone for i in step) == list(range(lists))
    for per_batch, ranks in ((1, 1), (2, 1), (1, 2), (4, 2), (2, 4)):
        assert steps(per_batch, ranks) == alone


def test_a_step_that_no_batches_fill_is_refused():
    with pytest.raises(ConfigError, match=r"lists_per_step is 3;.*\(2\)"):
        training_batches([1] * 9, 2, 0, Shard(), lists_per_step=3)


def test_a_batch_holds_lists_of_like_length_in_new_company_and_order_each_epoch():
    lengths = [100 * (i % 8) for i in range(64)]  # two buckets of 8 batches of 4
    epochs = [training_batches(lengths, 4, 0, Shard(epoch)) for epoch in range(3)]
    for batches in epochs:
        spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches]
        assert sum(spread) / len(spread) < 100, "by chance it is about 470"
    assert len({str(batches) for batches in epochs}) == 3
    companies = [{frozenset(batch) for batch in batches} for batches in epochs]
    assert len(companies[0] & companies[1]) < 4
    assert epochs[1] == training_batches(lengths, 4, 0, Shard(1))
    assert epochs[1] != training_batches(lengths, 4, 1, Shard(1))
    for epoch in range(3):
        longest = [max(batch) for batch in training_batches(range(32), 4, 0, Shard(epoch))]  # a single bucket
        assert longest != sorted(longest), "batches come in no order of length"


def test_single_lists_come_in_a_new_order_each_epoch():
    orders = [[i for (i,) in training_batches([5, 1, 4, 2, 3] * 8, 1, 0, Shard(epoch))] for epoch in range(2)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == list(range(40))
    assert orders[0] != sorted(orders[0], key=lambda i: ([5, 1, 4, 2, 3] * 8)[i])
