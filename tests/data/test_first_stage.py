import logging
import re
from dataclasses import replace

import pytest

from headrank.data import DataSettings, load_data
from headrank.data.bm25.index import BM25Parameters
from headrank.data.candidates import candidate_lists, lists_from_run
from headrank.data.first_stage import FirstStage, first_stage_run, select_queries
from headrank.data.local import LocalCollection
from headrank.errors import ConfigError, FormatError
from headrank.ranking import Passage, Query, Ranking


@pytest.fixture
def collection(make_folder):
    return LocalCollection(make_folder())


def ids(run):
    return {query_id: ranking.passage_ids for query_id, ranking in run.items()}


def test_lists_of_a_run(collection):
    found = candidate_lists(collection, kind="run", depth=2)
    assert [(one.query.id, one.passage_ids) for one in found.lists] == [
        ("q1", ("d2", "d1")),
        ("q2", ("d4", "d3")),
        ("q3", ("d5", "d1")),
    ]
    assert found.lists[0].passages[0].text == "Tides rise and fall twice a day."
    assert found.lists[0].first_stage_scores == (9.0, 8.0)
    assert (len(found), found.judged_queries, found.unjudged_queries) == (3, 3, 1)
    assert (found.queries_without_candidates, found.queries_without_relevant) == ((), ())


def test_the_first_stage_itself_at_full_depth_and_cut(collection):
    run = first_stage_run(collection, kind=FirstStage.RUN)
    assert ids(run) == {"q1": ("d2", "d1", "d4"), "q2": ("d4", "d3"), "q3": ("d5", "d1")}  # q4 has no judgement
    assert ids(first_stage_run(collection, kind="run", depth=1)) == {"q1": ("d2",), "q2": ("d4",), "q3": ("d5",)}


def test_lists_from_a_run_at_hand_are_those_of_one_call(collection):
    run = first_stage_run(collection, kind="run", depth=3)
    assert lists_from_run(collection, run, depth=2) == candidate_lists(collection, kind="run", depth=2)


def test_bm25_with_its_index_in_the_cache_folder(collection, tmp_path, monkeypatch):
    run = first_stage_run(collection, kind="bm25", cache_dir=tmp_path / "given", bm25=BM25Parameters(k1=1.2))
    assert ids(run)["q1"] == ("d1", "d2", "d4")  # tide, thrice
    assert list((tmp_path / "given" / "bm25").iterdir())
    monkeypatch.setenv("HEADRANK_CACHE", str(tmp_path / "default"))
    found = candidate_lists(collection, kind="bm25", depth=1)
    assert [one.passage_ids for one in found.lists] == [("d1",), ("d3",), ("d5",)]
    assert list((tmp_path / "default" / "bm25").iterdir())


def test_samples_are_seeded_nested_and_in_the_collections_order(make_folder):
    names = [f"q{i}" for i in range(20)]
    queries = dict.fromkeys(reversed(names), "what")
    collection = LocalCollection(make_folder(queries=queries, qrels={name: {"d1": 1} for name in names}))
    samples = {n: [query.id for query in select_queries(collection, n, seed=3)] for n in (1, 5, 19, 20, 50)}
    assert [len(sample) for sample in samples.values()] == [1, 5, 19, 20, 20]
    for small, large in [(1, 5), (5, 19), (19, 20)]:
        assert set(samples[small]) < set(samples[large])
    for sample in samples.values():
        assert sample == [name for name in queries if name in sample]
    assert samples[5] == [query.id for query in select_queries(collection, 5, seed=3)]
    assert samples[5] != [query.id for query in select_queries(collection, 5, seed=4)]
    assert len(select_queries(collection)) == 20


def test_the_sample_bounds_run_and_lists(collection):
    wanted = [query.id for query in select_queries(collection, 2, seed=1)]
    assert list(first_stage_run(collection, kind="run", max_queries=2, seed=1)) == wanted
    found = candidate_lists(collection, kind="run", depth=2, max_queries=2, seed=1)
    assert [one.query.id for one in found.lists] == wanted
    assert found.judged_queries == 2


def test_queries_without_candidates_are_counted_and_named(make_folder, caplog):
    collection = LocalCollection(make_folder(run={"q2": ["d3"], "q4": ["d1"]}))
    found = candidate_lists(collection, kind="run", depth=5)
    assert [one.query.id for one in found.lists] == ["q2"]
    assert found.queries_without_candidates == ("q1", "q3")
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert all(text in warning for text in ("bm25.trec", "2 of 3", "q1", "q3"))
    assert list(first_stage_run(collection, kind="run")) == ["q2"]


def test_queries_without_a_word_of_the_passages_are_counted_and_named(make_folder, tmp_path, caplog):
    queries = {"q1": "what causes tides", "q2": "\U0001f30a\U0001f319", "q3": "the of"}
    collection = LocalCollection(make_folder(queries=queries, run=None))
    for _ in range(2):  # searched, then from the cache
        caplog.clear()
        found = candidate_lists(collection, kind="bm25", depth=5, cache_dir=tmp_path)
        assert found.queries_without_candidates == ("q2", "q3")
        (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert all(text in warning for text in (collection.name, "english", "2 of 3", "q2", "q3"))


def test_a_language_in_which_bm25_finds_nothing_is_an_error(make_folder, tmp_path):
    passages = {"d1": "床前明月光，疑是地上霜", "d2": "举头望明月，低头思故乡"}
    folder = make_folder(docs=passages, queries={"q": "故乡"}, qrels={"q": {"d2": 1}}, run=None)
    options = {"kind": "bm25", "depth": 2, "cache_dir": tmp_path}
    with pytest.raises(FormatError, match=r"english.*bm25\.language"):
        candidate_lists(LocalCollection(folder), **options)
    (found,) = candidate_lists(LocalCollection(folder), **options, bm25=BM25Parameters(language="chinese")).lists
    assert found.passage_ids == ("d2",)


@pytest.mark.parametrize(("threshold", "kept"), [(None, 3), (0, 3), (1, 3), (2, 2), (3, 1), (4, 0)])
def test_lists_without_a_relevant_passage_are_dropped_on_request(collection, threshold, kept):
    found = candidate_lists(collection, kind="run", depth=2, relevance_threshold=threshold)
    assert (len(found), len(found.queries_without_relevant)) == (kept, 3 - kept)


def test_relevance_counts_inside_the_list_only(collection):
    found = candidate_lists(collection, kind="run", depth=1, relevance_threshold=2)
    assert found.queries_without_relevant == ("q1", "q2", "q3")  # q1's and q2's relevant passage is second


def test_no_relevant_passage_and_all_the_same_grade_make_lists(make_folder):
    collection = LocalCollection(make_folder(qrels={"q1": {"d3": 0}, "q2": {"d3": 1, "d4": 1}}))
    assert [one.query.id for one in candidate_lists(collection, kind="run", depth=3).lists] == ["q1", "q2"]


def test_auto_is_the_folders_only_run_or_bm25(make_folder, tmp_path, caplog):
    own = LocalCollection(make_folder("own"))
    with caplog.at_level(logging.INFO, logger="headrank"):
        assert ids(first_stage_run(own, kind="auto")) == ids(first_stage_run(own, kind="run"))
        none = LocalCollection(make_folder("none", run=None))
        found = first_stage_run(none, kind="auto", cache_dir=tmp_path / "cache")
    assert "bm25.trec" in caplog.text
    assert "BM25" in caplog.text
    assert ids(found) == ids(first_stage_run(none, kind="bm25", cache_dir=tmp_path / "cache"))
    several = LocalCollection(make_folder("several", splade__trec="q1 Q0 d3 1 1.0 t\n"))
    assert ids(first_stage_run(several, kind="auto", run_path="splade")) == {"q1": ("d3",)}
    with pytest.raises(ConfigError, match=r"run_path .*bm25, splade"):
        first_stage_run(several, kind="auto")
    with pytest.raises(ConfigError, match=r"first_stage is 'own'.*auto"):
        first_stage_run(own, kind="own")


class Strange(LocalCollection):
    """A folder whose content comes from elsewhere, as ir_datasets' does: ids and scores are not checked there."""

    def __init__(self, folder, *, query_id="q1", passage_id="d1", score=1.0):
        super().__init__(folder)
        vars(self).pop("judged_queries")  # those of the folder
        self._queries = {query_id: Query(query_id, "what causes tides")}
        self._qrels = {query_id: {passage_id: 1}}
        self._passages[passage_id] = Passage(passage_id, "x")
        self._scoreddocs = {query_id: Ranking.from_scores(query_id, [passage_id], [score])}

    def scoreddocs(self):
        return self._scoreddocs


@pytest.mark.parametrize(
    ("part", "said"),
    [({"query_id": "q\u2009"}, "U+2009"), ({"passage_id": "d\u2009"}, "U+2009"), ({"score": 1e39}, "1e+39")],
)
def test_what_no_run_file_can_hold_is_refused_before_any_work(make_folder, part, said):
    collection = Strange(make_folder(), **part)
    with pytest.raises(FormatError, match=rf"folder.*{re.escape(said)}"):
        candidate_lists(collection, kind="scoreddocs", depth=3)


def test_a_threshold_above_every_grade_is_refused(make_folder):
    folder = make_folder(qrels={"q1": {"d1": 1, "d2": 0}, "q2": {"d3": 1}})
    settings = DataSettings("toy", str(folder), "run", relevance_threshold=2)
    with pytest.raises(ConfigError, match=r"toy: relevance_threshold is 2.* is 1"):
        load_data(settings)
    assert len(load_data(replace(settings, relevance_threshold=1)).candidates) == 2


def test_identical_ids_are_dropped_before_the_cut(make_folder, tmp_path):
    docs = {"q1": "tides tides", "d1": "tides", "d2": "some tides"}
    folder = make_folder(docs=docs, queries={"q1": "tides"}, qrels={"q1": {"d1": 1}}, run={"q1": ["q1", "d1", "d2"]})
    collection = LocalCollection(folder)
    for options in ({"kind": "run"}, {"kind": "bm25", "cache_dir": tmp_path / "cache"}):
        kept = candidate_lists(collection, depth=2, **options)
        assert (kept.lists[0].passage_ids, kept.identical_ids_dropped) == (("q1", "d1"), 0)
        dropped = candidate_lists(collection, depth=2, drop_identical_ids=True, **options)
        assert (dropped.lists[0].passage_ids, dropped.identical_ids_dropped) == (("d1", "d2"), 1)
        run = first_stage_run(collection, depth=1, drop_identical_ids=True, **options)
        assert ids(run) == {"q1": ("d1",)}
        assert run["q1"].results[0].rank == 1


def test_identical_ids_are_counted_where_they_took_a_candidates_place(make_folder, caplog):
    """Of a benchmark's own loading, too: query q1 finds itself among the top 2, q2 below them, d1 is no query."""
    docs = dict.fromkeys(("q1", "q2", "d1", "d2"), "tides")
    run = {"q1": ["d1", "q1", "d2"], "q2": ["d1", "d2", "q2"]}
    judged = {"q1": {"d1": 1}, "q2": {"d1": 1}}
    folder = make_folder(docs=docs, queries={"q1": "tides", "q2": "tides?"}, qrels=judged, run=run)
    settings = DataSettings("toy", str(folder), "run", depth=2, drop_identical_ids=True)
    with caplog.at_level(logging.INFO, logger="headrank"):
        data = load_data(settings)
    assert data.candidates.identical_ids_dropped == 1
    assert ids(data.run) == {"q1": ("d1", "d2"), "q2": ("d1", "d2")}
    assert "1 candidates with the query's id dropped" in caplog.text


def test_a_candidate_without_text_is_named(collection):
    run = {"q1": Ranking.from_scores("q1", ["d1", "x1"], [2.0, 1.0]), "q2": Ranking.from_scores("q2", ["x2"], [1.0])}
    with pytest.raises(ValueError, match=r"2 candidates .* query 'q1', passage 'x1'; query 'q2', passage 'x2'"):
        lists_from_run(collection, run, depth=5)
    assert len(lists_from_run(collection, run, depth=1, queries=[collection.queries["q1"]])) == 1


def test_run_files_by_path_by_name_and_alone(make_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = make_folder(other__trec="q1 Q0 d3 1 1.0 t\n")
    collection = LocalCollection(folder)
    outside = tmp_path / "outside.run"
    outside.write_text("q1 Q0 d5 1 1.0 t\n")
    assert ids(first_stage_run(collection, kind="run", run_path="other")) == {"q1": ("d3",)}
    assert ids(first_stage_run(collection, kind="run", run_path=folder / "other.trec")) == {"q1": ("d3",)}
    assert ids(first_stage_run(collection, kind="run", run_path=str(outside))) == {"q1": ("d5",)}
    assert ids(first_stage_run(collection, kind="run", run_path="~/outside.run")) == {"q1": ("d5",)}
    with pytest.raises(ValueError, match=r"run_path .*bm25, other"):
        first_stage_run(collection, kind="run")
    with pytest.raises(FileNotFoundError, match=r"splade: no such run file .*bm25, other"):
        first_stage_run(collection, kind="run", run_path="splade")


@pytest.mark.parametrize("text", ["", "x1 Q0 d1 1 1.0 t\n", "q4 Q0 d1 1 1.0 t\n"])
def test_a_run_without_any_judged_query_is_an_error(make_folder, text):
    collection = LocalCollection(make_folder(bm25__trec=text))
    with pytest.raises(ValueError, match=r"bm25\.trec: the run has . queries .*none of the 3 queries"):
        candidate_lists(collection, kind="run", depth=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "splade", "depth": 1}, "first_stage is 'splade'"),
        ({"kind": "run", "depth": 0}, "depth is 0"),
        ({"kind": "run", "depth": 1, "max_queries": 0}, "max_queries is 0"),
        ({"kind": "scoreddocs", "depth": 1}, "scoreddocs"),
        ({"kind": "bm25", "depth": 1, "run_path": "x"}, "run_path is x.* first_stage is bm25"),
    ],
)
def test_what_cannot_be_is_refused(collection, options, message):
    with pytest.raises(ConfigError, match=message):
        candidate_lists(collection, **options)


def test_scoreddocs_are_a_first_stage(collection, monkeypatch):
    scored = {"q3": Ranking.from_scores("q3", ["d5", "d1"], [1.0, 3.0])}
    monkeypatch.setattr(collection, "scoreddocs", lambda: scored)
    found = candidate_lists(collection, kind="scoreddocs", depth=5)
    assert [one.passage_ids for one in found.lists] == [("d1", "d5")]
    assert found.queries_without_candidates == ("q1", "q2")
