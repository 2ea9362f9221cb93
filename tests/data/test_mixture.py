"""Mixtures: each epoch contains a fixed number of lists of a data set, drawn without replacement."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrank.data import DataSettings
from headrank.data.batches import Shard
from headrank.data.mixture import Mixture, draw_lists
from headrank.errors import ConfigError
from headrank.settings import SettingsError
from tests.data.test_training_passes import SaveAt, fit, lightning_warns
from tests.data.toy import ids, ready


@given(st.integers(1, 30), st.integers(1, 70), st.integers(0, 5), st.integers(1, 12))
def test_consecutive_epochs_draw_without_replacement(lists, count, seed, epochs):
    total = Counter()
    for epoch in range(epochs):
        drawn = draw_lists(lists, count, seed, epoch)
        assert len(drawn) == len(set(drawn)) == count
        within = Counter(i for i, _ in drawn)
        assert set(within) <= set(range(lists))
        assert {within[i] for i in range(lists)} <= {count // lists, -(-count // lists)}
        assert all(sorted(r for j, r in drawn if j == i) == list(range(within[i])) for i in within)
        total += within
    times = [total[i] for i in range(lists)]
    assert max(times) - min(times) <= 1, "a new permutation starts only when all lists have been drawn"


def test_draws_differ_between_epochs_and_seeds():
    first = [draw_lists(20, 5, 0, epoch) for epoch in range(8)]
    assert sorted(one for epoch in first[:4] for one in epoch) == [(i, 0) for i in range(20)]
    assert sorted(one for epoch in first[4:] for one in epoch) == [(i, 0) for i in range(20)]
    assert len({tuple(sorted(epoch)) for epoch in first}) > 6
    assert draw_lists(20, 5, 1, 0) != first[0] == draw_lists(20, 5, 0, 0)


def test_a_mixture_draws_from_each_data_set_and_counts_repetitions():
    sources = [DataSettings("a", "a", lists_per_epoch=5), DataSettings("b", "b")]
    mixture = Mixture.of(sources, [0, 0, 1, 1, 1])
    assert mixture.size == 8
    drawn = mixture.draw(0, 0)
    assert drawn[5:] == [2, 3, 4]
    assert sorted(drawn[:4]) == [0, 1, 5, 6]
    assert drawn[4] in (10, 11)
    assert Mixture.of([sources[1]] * 2, [0, 1, 1]).draw(0, 3) == [0, 1, 2]
    with pytest.raises(ConfigError, match="data a: lists_per_epoch is 5"):
        Mixture.of(sources, [1, 1])
    with pytest.raises(SettingsError, match="lists_per_epoch is 0"):
        DataSettings("a", "a", lists_per_epoch=0)


def test_sources_of_different_size_contribute_exactly_their_numbers(make_source, caplog):
    few = replace(make_source("few", 3, prefix="f"), lists_per_epoch=6)
    many = replace(make_source("many", 40, prefix="m"), lists_per_epoch=7)
    rest = make_source("rest", 2, prefix="r")
    seen = Counter()
    with caplog.at_level("INFO", logger="headrank"):
        counts = ready([few, many, rest], validation_queries=0).counts
    assert (counts.training_lists, counts.lists_per_epoch) == (45, 15)
    assert "45 training and 0 validation lists; 15 lists per epoch" in caplog.text
    for epoch in range(5):
        parts = []
        for rank in range(2):
            data = ready([few, many, rest], validation_queries=0, draw_candidates=3, shard=Shard(epoch, rank, 2))
            batches = list(data.train_dataloader())
            assert len(batches) == len(data.train_dataloader()) == 8
            parts += [one for batch in batches if batch.weight for one in batch]
        assert Counter(i[0] for i in ids(parts)) == {"f": 6, "m": 7, "r": 2}
        twice = [[x.item.passage_ids for x in parts if x.item.query.id == f"f{i:02}"] for i in range(3)]
        assert [len(draws) for draws in twice] == [2, 2, 2]
        assert any(a != b for a, b in twice), "other candidates each time"
        seen += Counter(i for i in ids(parts) if i[0] == "m")
    assert len(seen) == 35, "no list again before all were drawn"


def test_a_data_set_left_without_training_lists_is_refused(make_source):
    flat = make_source("flat", 2, prefix="f", qrels={"f00": {"f00-d0": 0}, "f01": {"f01-d0": 0}})
    with pytest.raises(ConfigError, match="data flat: lists_per_epoch is 4"):
        ready([replace(flat, lists_per_epoch=4), make_source("good", 6)])
    with pytest.raises(ConfigError, match="2 training and 0 validation lists for 3 processes"):
        ready(replace(make_source("more", 6), lists_per_epoch=2), validation_queries=0, shard=Shard(0, 0, 3))


@lightning_warns
@pytest.mark.parametrize(("epoch", "batch"), [(1, None), (1, 0)])
def test_a_resumed_run_draws_the_same_lists(make_source, tmp_path, epoch, batch):
    source = replace(make_source(n=12), lists_per_epoch=4)  # 10 to train on: 2 batches an epoch
    path = tmp_path / "saved.ckpt"
    whole = fit(source, callbacks=[SaveAt(path, epoch, batch)], max_epochs=4)
    assert [len(whole.epoch(epoch)) for epoch in range(4)] == [2, 2, 2, 2]
    resumed = fit(source, ckpt_path=path, max_epochs=4)
    assert resumed.steps == whole.steps[2 * epoch + (2 if batch is None else batch + 1) :]
