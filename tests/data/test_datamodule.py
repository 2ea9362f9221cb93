"""The data module: what is used, in which order, by which process, and what is refused."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from headrank.data import DataSettings, FormatError
from headrank.data.batches import Shard
from headrank.data.datamodule import DataCounts, ListwiseDataModule
from headrank.errors import ConfigError
from headrank.ranking import CandidateList, Passage, Query, middle_zone, shuffled_order
from tests.data.toy import DOCS, ids, ready, seen

ROOT = Path(__file__).parents[2]


def test_other_candidates_are_drawn_each_epoch_and_two_grades_stay(make_source):
    source = make_source(n=6)
    data = ready(source, draw_candidates=3)
    whole = {one.item.query.id: one for one in data.training_lists}
    assert all(len(one.item) > 3 for one in whole.values())
    epochs = []
    for epoch in range(8):
        data = ready(source, draw_candidates=3, shard=Shard(epoch))
        lists = [one for batch in data.train_dataloader() for one in batch]
        assert sorted(one.item.query.id for one in lists) == sorted(whole)
        for one in lists:
            of = whole[one.item.query.id]
            places = [of.item.passage_ids.index(i) for i in one.item.passage_ids]
            assert len(places) == 3
            assert places == sorted(places)
            assert [of.grades[i] for i in places] == list(one.grades)
            assert len(set(one.grades)) > 1
        epochs.append({one.item.query.id: one.item.passage_ids for one in lists})
    assert len({tuple(sorted(epoch.items())) for epoch in epochs}) > 4
    assert all(len(one.item) > 3 for batch in data.val_dataloader() for one in batch)
    with pytest.raises(ValueError, match="draw_candidates 1"):
        ListwiseDataModule([DataSettings("toy", "x")], draw_candidates=1)


def test_draws_go_deeper_than_what_is_held_out_and_selected_with(make_source):
    texts = {name: {f"q{i:02}": f"{name} {i}" for i in range(6)} for name in ("a", "b")}
    a, b = (make_source(name, 6, depth=3, queries=queries) for name, queries in texts.items())
    drawn, shallow = set(), set()
    for epoch in range(8):
        shard = Shard(epoch)
        deep = ready([a, b], draw_candidates=2, draw_depth=5, shard=shard)
        assert {len(one.item) for one in (*deep.training_lists, *deep.validation_lists)} == {3}
        batches = [one for batch in deep.train_dataloader() for one in batch]
        assert sorted(ids(batches)) == sorted(ids(deep.training_lists)), "ids that both sources have are told apart"
        for one in batches:
            name, query_id = one.item.query.id.split(":")
            assert one.item.query.text.startswith(name)
            assert all(passage_id.startswith(query_id) for passage_id in one.item.passage_ids)
            drawn |= {int(passage_id[-1]) for passage_id in one.item.passage_ids}
        for batch in ready([a, b], draw_candidates=2, draw_depth=2, shard=shard).train_dataloader():
            shallow |= {int(i[-1]) for one in batch for i in one.item.passage_ids}
    assert drawn == {0, 1, 2, 3, 4}, "of six candidates the best five"
    assert shallow == {0, 1, 2}, "never less deep than the source"
    for options in ({"draw_candidates": 0}, {"draw_candidates": 5}):  # a list does not get longer by it
        data = ready(a, draw_depth=5, **options)
        assert {len(one.item) for batch in data.train_dataloader() for one in batch} == {3}
    with pytest.raises(ValueError, match="draw_depth -1"):
        ListwiseDataModule([a], draw_depth=-1)


def test_lists_of_several_sources_and_what_became_of_each_query(make_source, caplog):
    a = make_source("a", 8, prefix="a")
    run = {f"b{i:02}": [f"b{i:02}-d{j}" for j in range(DOCS)] for i in range(4)}  # b04, b05: no candidates
    qrels = {f"b{i:02}": {f"b{i:02}-d2": 1} for i in range(6)}
    qrels |= {"b00": {"b00-d1": -1, "b00-d2": 0}, "b01": {"b01-d5": -2, "b01-d3": 1}}  # b00: one grade
    b = make_source("b", 6, prefix="b", run=run, qrels=qrels)
    with caplog.at_level(logging.INFO, logger="headrank"):
        data = ready([a, b], validation_queries=3, query_fraction=0.5)
    assert data.counts == DataCounts(
        queries=14,
        lists_without_candidates=2,
        lists_of_one_grade=1,
        validation_lists=3,
        training_lists=4,
        lists_left_out=4,
        lists_per_epoch=4,
    )
    assert "14 queries, 4 training and 3 validation lists; 4 lists not used" in caplog.text
    everything = ready([a, b], validation_queries=0).training_lists
    assert ids(everything) == [f"a{i:02}" for i in range(8)] + ["b01", "b02", "b03"]
    by_id = {one.item.query.id: one for one in everything}
    assert by_id["a00"].grades == (0, 0, 3, 0, 1, 0)
    assert by_id["b01"].grades == (0, 0, 0, 1, 0, 0)
    assert by_id["a00"].order == tuple(range(DOCS))
    assert by_id["a00"].item.first_stage_scores == (9.0, 8.0, 7.0, 6.0, 5.0, 4.0)


def test_a_sources_settings_reach_its_lists(make_source):
    source = make_source(n=12, depth=3, other__trec="q00 Q0 q00-d0 1 1.0 t\n")  # a second run: one must be named
    bounded = DataSettings("toy", source.collection, "run", "bm25", depth=3, max_queries=5, seed=2)
    data = ready(bounded, validation_queries=0)
    assert (data.counts.queries, len(data.training_lists)) == (5, 5)
    assert {len(one.item) for one in data.training_lists} == {3}
    other = DataSettings("toy", source.collection, "run", "bm25", depth=3, max_queries=5, seed=3)
    assert ids(ready(other, validation_queries=0).training_lists) != ids(data.training_lists)


def test_the_query_own_passage_and_titles_are_left_out_on_request(make_folder):
    docs = {"q": "what", "d1": "tides", "d2": "bread"}
    titled = '{"doc_id": "q", "text": "x"}\n{"doc_id": "d1", "title": "T", "text": "x"}\n{"doc_id": "d2", "text": "x"}'
    parts = {"queries": {"q": "what"}, "qrels": {"q": {"d1": 1}}, "run": {"q": ["q", "d1", "d2"]}}
    folder = make_folder(docs=docs, docs__jsonl=titled, **parts)
    source = DataSettings("toy", str(folder), "run", depth=2, drop_identical_ids=True, title=False)
    (one,) = ready(source, validation_queries=0).training_lists
    assert one.item.passages == (Passage("d1", "x"), Passage("d2", "x"))


def test_bm25_builds_its_index_in_the_given_cache_when_preparing(make_folder, tmp_path):
    source = DataSettings("toy", str(make_folder()), "bm25", depth=3)
    data = ListwiseDataModule([source], validation_queries=0, cache_dir=tmp_path / "cache")
    data.prepare_data()
    (index,) = (tmp_path / "cache" / "bm25").iterdir()
    written = index.stat().st_mtime_ns
    other = ListwiseDataModule([source], validation_queries=0, cache_dir=tmp_path / "cache")
    other.setup("fit")  # another process, which did not prepare
    data.setup("fit")
    assert ids(data.training_lists) == ids(other.training_lists) != []
    assert index.stat().st_mtime_ns == written


def test_the_process_that_prepared_reads_the_sources_once(make_source, monkeypatch):
    import headrank.data.datamodule as datamodule

    opened = []
    load = datamodule.load_data
    monkeypatch.setattr(datamodule, "load_data", lambda *a, **k: opened.append(a) or load(*a, **k))
    data = ListwiseDataModule([make_source()])
    data.prepare_data()
    data.setup("fit")
    data.setup("validate")
    assert len(opened) == 1


def test_orders_are_a_function_of_seed_epoch_and_query(make_source):
    a, b = make_source("a", prefix="a"), make_source("b", prefix="b")
    orders = {
        (seed, epoch): seen(ready([a, b], seed=seed, validation_queries=0, shard=Shard(epoch)).train_dataloader())
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    for key, other in [((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 0))]:
        same = [q for q in orders[key] if orders[key][q] == orders[other][q]]
        assert len(same) < 3  # of 24, each by a chance of 1 in 720
    assert len(set(orders[0, 0].values())) > 20, "each query its own"
    assert all(sorted(order) == list(range(DOCS)) for order in orders[0, 0].values())
    alone = seen(ready(b, validation_queries=5, lists_per_batch=3, shard=Shard(1)).train_dataloader())
    assert alone
    assert alone.items() <= orders[0, 1].items(), "whatever else is trained on, and in which batches"


def test_validation_orders_are_fixed_and_those_of_the_reranker(make_source):
    source = make_source()
    epochs = [seen(ready(source, seed=5, shard=Shard(epoch)).val_dataloader()) for epoch in (0, 3)]
    assert epochs[0] == epochs[1]
    assert len(epochs[0]) == 3
    for query_id, order in epochs[0].items():
        passages = tuple(Passage(str(i), "") for i in range(DOCS))
        assert order == shuffled_order(CandidateList(Query(query_id, f"what is {query_id}"), passages), 5)


def test_without_shuffling_all_is_in_first_stage_order(make_source):
    data = ready(make_source(), shuffle_candidates=False, shard=Shard(1))
    for loader in (data.train_dataloader(), data.val_dataloader()):
        assert set(seen(loader).values()) == {tuple(range(DOCS))}


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_processes_train_and_validate_on_different_lists(make_source, ranks):
    source = make_source(n=17)  # 12 to train on, 5 held out
    places = [ready(source, validation_queries=5, shard=Shard(2, rank, ranks)) for rank in range(ranks)]
    training = [seen(data.train_dataloader()) for data in places]
    validation = [seen(data.val_dataloader()) for data in places]
    assert sum(map(len, training)) == 12
    assert sum(map(len, validation)) == 5
    together = {q for part in training + validation for q in part}
    assert len(together) == 17
    assert len({len(data.train_dataloader()) for data in places}) == 1
    assert len({len(data.val_dataloader()) for data in places}) == 1
    for data in places:
        assert len(data.train_dataloader()) == len(list(data.train_dataloader()))
        assert len(data.val_dataloader()) == len(list(data.val_dataloader()))


def test_without_a_trainer_torchs_rank_counts(make_source, monkeypatch):
    source = make_source(n=8)
    assert len(seen(ready(source, validation_queries=2).train_dataloader())) == 6
    parts = []
    for rank in range(2):
        for name, value in {"is_initialized": True, "get_rank": rank, "get_world_size": 2}.items():
            monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
        parts.append(seen(ready(source, validation_queries=2).train_dataloader()))
    assert [len(part) for part in parts] == [3, 3]
    assert not parts[0].keys() & parts[1].keys()


def test_only_training_lists_have_relevant_passages_moved(make_source):
    source = make_source(n=12)
    data = ready(source, relevant_in_zone=1.0, shard=Shard(1, 0, 1))
    grades = {one.item.query.id: one.grades for one in (*data.training_lists, *data.validation_lists)}
    zone = range(DOCS)[middle_zone(DOCS)]

    def inside(loader):
        best = {q: max(order, key=lambda i: grades[q][i]) for q, order in seen(loader).items()}
        return [seen(loader)[q].index(i) in zone for q, i in best.items()]

    assert all(inside(data.train_dataloader()))
    plain = ready(source, shard=Shard(1, 0, 1))
    assert seen(data.val_dataloader()) == seen(plain.val_dataloader())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": []}, "sources"),
        ({"validation_queries": -1}, "validation_queries -1"),
        ({"lists_per_batch": 0}, "lists_per_batch 0"),
        ({"relevant_in_zone": 1.5}, r"relevant_in_zone 1\.5"),
        ({"query_fraction": 0.0}, "query_fraction 0.0"),
        ({"query_fraction": 25.0}, r"query_fraction 25\.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ListwiseDataModule(**{"sources": [DataSettings("toy", "x")]} | options)


def test_data_that_cannot_be_trained_on_is_refused_in_setup(make_source):
    strangers = make_source("strangers", 4, qrels={"z1": {"q00-d0": 1}})
    with pytest.raises(FormatError, match=r"qrels\.txt: .* 1 queries \('z1'\).* 4 "):
        ready(strangers)
    run = {"q00": [f"q00-d{i}" for i in range(DOCS)]}
    flat = make_source("flat", 4, qrels={"q00": {"q00-d0": 0, "q00-d1": -1}, "q01": {"q01-d0": 1}}, run=run)
    with pytest.raises(ValueError, match=r"flat: of 2 queries, 1 lists .* 1 have no candidates"):
        ready(flat)
    with pytest.raises(ConfigError, match=r"validation_queries is 4.* 4\b"):
        ready(make_source("small", 4), validation_queries=4)
    with pytest.raises(ConfigError, match=r"query 'q00' .* twice .* twice"):
        ready([make_source("twice", 4)] * 2)
    with pytest.raises(ValueError, match="5 training and 3 validation lists for 4 processes"):
        ready(make_source("few", 8), shard=Shard(0, 0, 4))
    with pytest.raises(ValueError, match="2 training and 0 validation lists for 3 processes"):
        ready(make_source("fewer", 2), validation_queries=0, shard=Shard(0, 0, 3))


def test_a_source_without_a_usable_list_is_named_beside_others(make_source, caplog):
    flat = make_source("flat", 2, prefix="f", qrels={"f00": {"f00-d0": 0}, "f01": {"f01-d0": 0}})
    data = ready([flat, make_source("good", 6)])
    assert (data.counts.lists_of_one_grade, data.counts.training_lists) == (2, 3)
    assert "flat: none of its 2 lists has two grades" in caplog.text


def test_nothing_is_given_before_setup():
    data = ListwiseDataModule([DataSettings("toy", "x")])
    for ask in (lambda: data.counts, lambda: data.training_lists, data.train_dataloader, data.val_dataloader):
        with pytest.raises(RuntimeError, match="setup"):
            ask()


def test_the_data_package_does_not_need_lightning():
    code = "import sys, headrank.data, headrank.data.batches; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=120).returncode == 0
