"""The alignment data: what is used, in which order, by which process, and what a real Trainer makes of it."""

import json
import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback, LightningModule, Trainer

from headrank.data import DataSettings, FormatError
from headrank.data.batches import (
    Batches,
    LabelledList,
    Place,
    distinct_ids,
    label,
    shuffled,
    split,
    training_batches,
    validation_batches,
)
from headrank.data.datamodule import DataCounts, ListwiseDataModule
from headrank.model.list_reader import Order, context_order
from headrank.ranking import CandidateList, Passage, Query

ROOT = Path(__file__).parents[2]
DOCS = 6  # candidates a list


def candidates(query_id, *, docs=DOCS, text="a query", size=10):
    passages = tuple(Passage(f"{query_id}-d{i}", "x" * size) for i in range(docs))
    return CandidateList(Query(query_id, text), passages)


def labelled(n, *, sizes=(10,)):
    """Lists q00, q01, ... of two grades; `sizes` are the passages' lengths, in turn."""
    names = [f"q{i:02}" for i in range(n)]
    return [label(candidates(q, size=sizes[i % len(sizes)]), {f"{q}-d1": 2}) for i, q in enumerate(names)]


@pytest.fixture
def make_source(make_folder):
    """A folder of `n` queries with one relevant passage among DOCS each; sizes differ by query; parts replaceable."""

    def make(name="folder", n=12, *, prefix="q", depth=DOCS, **parts):
        names = [f"{prefix}{i:02}" for i in range(n)]
        ids = {q: [f"{q}-d{i}" for i in range(DOCS)] for q in names}
        content = {
            "docs": {d: "word " * (1 + 10 * (i % 5)) for i, q in enumerate(names) for d in ids[q]},
            "queries": {q: f"what is {q}" for q in names},
            "qrels": {q: {ids[q][2]: 3, ids[q][4]: 1, ids[q][0]: 0} for q in names},
            "run": ids,
        }
        folder = make_folder(name, **content | parts)
        return DataSettings("toy", str(folder), first_stage="run", depth=depth)

    return make


def ready(sources, *, place=None, **options):
    """A data module after setup, at a trainer's place where one is given."""
    sources = [sources] if isinstance(sources, DataSettings) else sources
    data = ListwiseDataModule(sources, **{"validation_queries": 3} | options)
    if place is not None:
        data.trainer = SimpleNamespace(current_epoch=place.epoch, global_rank=place.rank, world_size=place.ranks)
    data.setup("fit")
    return data


def ids(lists):
    return [one.item.query.id for one in lists]


def seen(loader):
    """Query id -> context order, over one pass; every id once."""
    lists = [one for batch in loader for one in batch]
    assert len(set(ids(lists))) == len(lists)
    return {one.item.query.id: one.order for one in lists}


# Lists


def test_grades_are_in_first_stage_order_and_never_below_0():
    item = candidates("q", docs=4)
    assert label(item, {"q-d3": 2, "q-d0": -2, "elsewhere": 3, "q-d1": 0}) == LabelledList(
        item, (0, 0, 0, 2), (0, 1, 2, 3)
    )
    assert label(candidates("q", docs=1, text="ab", size=5), {}).length == 7


@pytest.mark.parametrize(
    ("grades", "order"), [((0,), (0, 1)), ((0, -1), (0, 1)), ((0, 1), (0, 0)), ((0, 1), (1, 2)), ((0, 1), (0,))]
)
def test_grades_and_order_must_fit_the_candidates(grades, order):
    with pytest.raises(ValueError, match=r"query 'q': grades .* for 2 candidates"):
        LabelledList(candidates("q", docs=2), grades, order)


def test_shuffling_keeps_all_else_and_depends_on_key_and_id_alone():
    a, b = labelled(2)
    assert (shuffled(a, "k").item, shuffled(a, "k").grades) == (a.item, a.grades)
    assert shuffled(shuffled(a, "other"), "k") == shuffled(a, "k")
    assert len({shuffled(one, key).order for one in (a, b) for key in ("k", "l")}) == 4


def test_an_id_of_two_different_queries_is_named_by_its_collection():
    first, second, third = (label(candidates(q, text=t), {}) for q, t in [("1", "tides"), ("1", "bread"), ("2", "x")])
    named = distinct_ids([("a", first), ("b", second), ("b", third)])
    assert ids(named) == ["a:1", "b:1", "2"]
    assert [one.item.query.text for one in named] == ["tides", "bread", "x"]
    assert named[1].item.passages == second.item.passages
    assert distinct_ids([("a", first), ("b", third)]) == (first, third)


def test_one_query_in_two_sources_is_refused():
    first, second = (label(candidates("1", text=text), {}) for text in ("What are tides", "what are  tides "))
    with pytest.raises(ValueError, match=r"query '1' \('what are  tides '\) stands in a and in b"):
        distinct_ids([("a", first), ("b", second)])


# Split


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
    with pytest.raises(ValueError, match=r"validation_queries 4 of 4 lists .* wanted fewer than 4"):
        split(labelled(4), validation=4, fraction=1.0, seed=0)


# Who gets which batch


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=70),
    per_batch=st.integers(1, 5),
    ranks=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
def test_processes_share_an_epoch(lengths, per_batch, ranks, epoch):
    parts = [training_batches(lengths, per_batch, 0, Place(epoch, rank, ranks)) for rank in range(ranks)]
    assert len({tuple(len(batch) for batch in batches) for batches in parts}) == 1, "the same batches' sizes for all"
    assert all(1 <= len(batch) <= per_batch for batches in parts for batch in batches)
    times = Counter(i for batches in parts for batch in batches for i in batch)
    assert set(times) == set(range(len(lengths))), "none is left out"
    repeated = times.total() - len(lengths)
    assert repeated == -len(lengths) % ranks, "as few as make the parts equal"
    if ranks <= len(lengths):
        assert set(times.values()) <= {1, 2}


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=40), per_batch=st.integers(1, 5), ranks=st.integers(1, 4)
)
def test_processes_share_the_validation_lists(lengths, per_batch, ranks):
    if len(lengths) < ranks:
        with pytest.raises(ValueError, match=f"{len(lengths)} validation lists for {ranks} processes"):
            validation_batches(lengths, per_batch, Place(0, 0, ranks))
        return
    parts = [validation_batches(lengths, per_batch, Place(0, rank, ranks)) for rank in range(ranks)]
    assert len({len(batches) for batches in parts}) == 1
    limit = per_batch if len(lengths) % ranks == 0 else per_batch + 1
    assert all(1 <= len(batch) <= limit for batches in parts for batch in batches)
    assert sorted(i for batches in parts for batch in batches for i in batch) == list(range(len(lengths)))
    again = [validation_batches(lengths, per_batch, Place(7, rank, ranks)) for rank in range(ranks)]
    assert parts == again, "fixed over epochs"


def test_other_candidates_are_drawn_each_epoch_and_two_grades_stay(make_source):
    source = make_source(n=6)
    data = ready(source, draw_candidates=3)
    whole = {one.item.query.id: one for one in data.training_lists}
    assert all(len(one.item) > 3 for one in whole.values())
    epochs = []
    for epoch in range(8):
        data = ready(source, draw_candidates=3, place=Place(epoch))
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
    with pytest.raises(ValueError, match="draw_candidates 1: wanted 0"):
        ListwiseDataModule([DataSettings("toy", "x")], draw_candidates=1)


@pytest.mark.parametrize("lists", [24, 29])
def test_a_step_holds_the_same_lists_however_it_is_shared(lists):
    lengths = [(7 * i) % 31 for i in range(lists)]

    def steps(per_batch, ranks):
        parts = [
            training_batches(lengths, per_batch, 3, Place(1, rank, ranks), lists_per_step=8) for rank in range(ranks)
        ]
        batches = [[i for part in together for i in part] for together in zip(*parts, strict=True)]
        each = 8 // (per_batch * ranks)
        return [sorted(i for batch in batches[n : n + each] for i in batch) for n in range(0, len(batches), each)]

    alone = steps(8, 1)
    assert [len(step) for step in alone[:3]] == [8, 8, 8]
    assert sorted(i for step in alone for i in step) == list(range(lists))
    for per_batch, ranks in ((1, 1), (2, 1), (1, 2), (4, 2), (2, 4)):
        other = steps(per_batch, ranks)
        if lists == 24:
            assert other == alone
        assert len(other) == len(alone)
        assert {i for step in other for i in step} == set(range(lists))


def test_a_step_that_no_batches_fill_is_refused():
    with pytest.raises(ValueError, match="lists_per_step 3: wanted a multiple of 2"):
        training_batches([1] * 9, 2, 0, Place(), lists_per_step=3)


def test_a_batch_holds_lists_of_like_length_in_new_company_and_order_each_epoch():
    lengths = [100 * (i % 8) for i in range(64)]  # two buckets of 8 batches of 4
    epochs = [training_batches(lengths, 4, 0, Place(epoch)) for epoch in range(3)]
    for batches in epochs:
        spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches]
        assert sum(spread) / len(spread) < 100, "by chance it is about 470"
    assert len({str(batches) for batches in epochs}) == 3
    companies = [{frozenset(batch) for batch in batches} for batches in epochs]
    assert len(companies[0] & companies[1]) < 4
    assert epochs[1] == training_batches(lengths, 4, 0, Place(1))
    assert epochs[1] != training_batches(lengths, 4, 1, Place(1))
    for epoch in range(3):
        longest = [max(batch) for batch in training_batches(range(32), 4, 0, Place(epoch))]  # a single bucket
        assert longest != sorted(longest), "batches come in no order of length"


def test_single_lists_come_in_a_new_order_each_epoch():
    orders = [[i for (i,) in training_batches([5, 1, 4, 2, 3] * 8, 1, 0, Place(epoch))] for epoch in range(2)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == list(range(40))
    assert orders[0] != sorted(orders[0], key=lambda i: ([5, 1, 4, 2, 3] * 8)[i])


# The data module


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
    )
    assert "14 judged queries; 4 training and 3 validation lists, 4 left out" in caplog.text
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
        (seed, epoch): seen(ready([a, b], seed=seed, validation_queries=0, place=Place(epoch)).train_dataloader())
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    for key, other in [((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 0))]:
        same = [q for q in orders[key] if orders[key][q] == orders[other][q]]
        assert len(same) < 3  # of 24, each by a chance of 1 in 720
    assert len(set(orders[0, 0].values())) > 20, "each query its own"
    assert all(sorted(order) == list(range(DOCS)) for order in orders[0, 0].values())
    alone = seen(ready(b, validation_queries=5, lists_per_batch=3, place=Place(1)).train_dataloader())
    assert alone
    assert alone.items() <= orders[0, 1].items(), "whatever else is trained on, and in which batches"


def test_validation_orders_are_fixed_and_those_of_the_reranker(make_source):
    source = make_source()
    epochs = [seen(ready(source, seed=5, place=Place(epoch)).val_dataloader()) for epoch in (0, 3)]
    assert epochs[0] == epochs[1]
    assert len(epochs[0]) == 3
    for query_id, order in epochs[0].items():
        assert order == context_order(Order.SHUFFLED, DOCS, seed=5, query_id=query_id)


def test_without_shuffling_all_is_in_first_stage_order(make_source):
    data = ready(make_source(), shuffle_candidates=False, place=Place(1))
    for loader in (data.train_dataloader(), data.val_dataloader()):
        assert set(seen(loader).values()) == {tuple(range(DOCS))}


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_processes_train_and_validate_on_different_lists(make_source, ranks):
    source = make_source(n=17)  # 12 to train on, 5 held out
    places = [ready(source, validation_queries=5, place=Place(2, rank, ranks)) for rank in range(ranks)]
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": []}, "no training sources"),
        ({"validation_queries": -1}, "validation_queries -1"),
        ({"lists_per_batch": 0}, "lists_per_batch 0"),
        ({"query_fraction": 0.0}, "query_fraction 0.0"),
        ({"query_fraction": 25.0}, r"query_fraction 25.0.* at most 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ListwiseDataModule(**{"sources": [DataSettings("toy", "x")]} | options)


def test_data_that_cannot_be_trained_on_is_refused_in_setup(make_source):
    strangers = make_source("strangers", 4, qrels={"z1": {"q00-d0": 1}})
    with pytest.raises(FormatError, match=r"judgements of 1 queries .* none of the 4"):
        ready(strangers)
    run = {"q00": [f"q00-d{i}" for i in range(DOCS)]}
    flat = make_source("flat", 4, qrels={"q00": {"q00-d0": 0, "q00-d1": -1}, "q01": {"q01-d0": 1}}, run=run)
    with pytest.raises(ValueError, match=r"none of 2 queries of \S*flat has .* 1 lists of one grade only, 1 without"):
        ready(flat)
    with pytest.raises(ValueError, match=r"validation_queries 4 of 4 lists"):
        ready(make_source("small", 4), validation_queries=4)
    with pytest.raises(ValueError, match=r"stands in .*twice and in .*twice"):
        ready([make_source("twice", 4)] * 2)
    with pytest.raises(ValueError, match="5 training and 3 validation lists for 4 processes"):
        ready(make_source("few", 8), place=Place(0, 0, 4))
    with pytest.raises(ValueError, match="2 training and 0 validation lists for 3 processes"):
        ready(make_source("fewer", 2), validation_queries=0, place=Place(0, 0, 3))


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


# A real trainer

# lightning's CombinedLoader makes a LeafSpec(), which torch deprecates: for lightning to mend
lightning_warns = pytest.mark.filterwarnings(r"ignore:.isinstance\(treespec, LeafSpec\). is deprecated:FutureWarning")


class Recorder(LightningModule):
    """Learns nothing; keeps (epoch, query ids, orders) of each training step, and the ids of each validation."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.steps = []
        self.validated = []

    def training_step(self, batch, batch_idx):
        self.steps.append((self.current_epoch, ids(batch), [one.order for one in batch]))
        return self.weight * len(batch)

    def validation_step(self, batch, batch_idx):
        self.validated += [(self.current_epoch, one.item.query.id, one.order) for one in batch]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def epoch(self, epoch):
        return [step[1:] for step in self.steps if step[0] == epoch]


def fit(data, *, ckpt_path=None, callbacks=(), **options):
    if isinstance(data, DataSettings):
        data = ListwiseDataModule([data], validation_queries=2, lists_per_batch=3)
    module = Recorder()
    options = {"max_epochs": 2, "num_sanity_val_steps": 0} | options
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return module


class SaveAt(Callback):
    """Writes a checkpoint at the end of an epoch, or after one of its batches."""

    def __init__(self, path, epoch, batch=None):
        self.path, self.epoch, self.batch = path, epoch, batch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch and self.batch is None:
            trainer.save_checkpoint(self.path)


@lightning_warns
@pytest.mark.parametrize("lightnings_sampler", [True, False])
def test_a_trainer_sees_each_list_once_an_epoch_in_that_epochs_order(make_source, lightnings_sampler):
    source = make_source(n=12)
    module = fit(source, use_distributed_sampler=lightnings_sampler)
    expected = ready(source, validation_queries=2, lists_per_batch=3)
    held_out = ids(expected.validation_lists)
    for epoch in range(2):
        assert sorted(q for step in module.epoch(epoch) for q in step[0]) == ids(expected.training_lists)
        at = ready(source, validation_queries=2, lists_per_batch=3, place=Place(epoch))
        assert module.epoch(epoch) == [(ids(batch), [one.order for one in batch]) for batch in at.train_dataloader()]
        assert sorted(q for e, q, _ in module.validated if e == epoch) == held_out
    assert [step[0] for step in module.epoch(0)] != [step[0] for step in module.epoch(1)]
    assert len({(q, order) for _, q, order in module.validated}) == 2, "one order for each"


@lightning_warns
def test_a_trainer_without_validation(make_source):
    data = ListwiseDataModule([make_source(n=4)], validation_queries=0)
    module = fit(data, max_epochs=1, limit_val_batches=0)
    assert (len(module.steps), module.validated) == (4, [])
    assert data.val_dataloader() == []


@lightning_warns
@pytest.mark.parametrize("options", [{"max_epochs": 3}, {"max_epochs": None, "max_steps": 12}])
@pytest.mark.parametrize(("epoch", "batch"), [(0, None), (1, None), (0, 1), (1, 0), (1, 2)])
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(make_source, tmp_path, epoch, batch, options):
    source = make_source(n=12)  # 10 to train on: 4 batches an epoch
    path = tmp_path / "saved.ckpt"
    whole = fit(source, callbacks=[SaveAt(path, epoch, batch)], **options)
    resumed = fit(source, ckpt_path=path, **options)
    done = 4 * epoch + (4 if batch is None else batch + 1)
    assert len(whole.steps) == 12
    assert resumed.steps == whole.steps[done:]


def test_another_number_of_processes_cannot_go_on_within_an_epoch():
    lists = labelled(8)

    def batches(place):
        return Batches(
            lists,
            plan=lambda lengths, place: training_batches(lengths, 1, 0, place),
            read=lambda one, place: shuffled(one, str(place.epoch)),
            place=lambda: place,
        )

    first = batches(Place(1, 0, 2))
    assert first.state_dict() == {}
    passing = iter(first)
    next(passing)
    state = first.state_dict()
    again = batches(Place(1, 0, 2))
    again.load_state_dict(state)
    assert [ids(batch) for batch in again] == [ids(batch) for batch in passing]
    assert len(list(again)) == 4, "the next pass is whole"
    other = batches(Place(1, 0, 4))
    other.load_state_dict(state)
    with pytest.raises(ValueError, match="within epoch 1 by 2 processes, and these are 4"):
        list(other)
    later = batches(Place(2, 0, 4))
    later.load_state_dict(state)
    assert len(list(later)) == 2


TWO_PROCESSES = """
import json, pathlib, sys
from lightning.pytorch import Trainer
from headrank.data import DataSettings
from headrank.data.datamodule import ListwiseDataModule
from tests.data.test_datamodule import Recorder

class Written(Recorder):
    def on_fit_end(self):
        validated = [(epoch, query_id) for epoch, query_id, _ in self.validated]
        place = pathlib.Path(sys.argv[2]) / f"{self.global_rank}.json"
        place.write_text(json.dumps({"training": self.steps, "validation": validated}))

data = ListwiseDataModule([DataSettings("toy", sys.argv[1], "run")], validation_queries=3, lists_per_batch=2)
quiet = dict.fromkeys(["enable_checkpointing", "enable_progress_bar", "enable_model_summary", "logger"], False)
trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=2, num_sanity_val_steps=0, **quiet)
trainer.fit(Written(), datamodule=data)
"""


def test_two_real_processes(make_source, tmp_path):
    source = make_source(n=12)  # 9 to train on: one of them comes twice in an epoch
    command = [sys.executable, "-c", TWO_PROCESSES, source.collection, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    parts = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for epoch in range(2):
        steps = [[step for step in part["training"] if step[0] == epoch] for part in parts]
        assert [len(part) for part in steps] == [3, 3]
        times = Counter(q for part in steps for _, batch, _ in part for q in batch)
        assert sorted(times.values()) == [1] * 8 + [2]
        held_out = [q for part in parts for e, q in part["validation"] if e == epoch]
        assert len(held_out) == len(set(held_out)) == 3
        assert not set(held_out) & set(times)
