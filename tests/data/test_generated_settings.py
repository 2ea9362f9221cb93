"""Generated lists in an experiment: their settings, keys, configuration and training."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from headrank.data import (
    DataSettings,
    FormatError,
    GeneratedQueries,
    NegativeShares,
    UnknownCollectionError,
    load_collection,
)
from headrank.errors import ConfigError, MissingFileError
from headrank.io.epoch_log import read_epoch_log
from headrank.pipeline import run_experiment
from headrank.run import compose_config, experiment_from_config
from headrank.settings import SettingsError
from headrank.stages.keys import labelled_identity
from headrank.stages.lists import DataLoader
from tests.data.test_generated import random_texts
from tests.data.toy import BEST, ids, ready
from tests.pipelines import ALIGNMENT


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"max_words": 3}, "max_words is 3"),
        ({"min_passage_words": 12}, "min_passage_words is 12"),
        ({"keep": 1.5}, "keep is 1.5"),
        ({"unit": "word"}, "unit is 'word'"),
        ({"negatives": {"bm25": 1}}, "negatives"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values, named):
    with pytest.raises(SettingsError, match=named):
        GeneratedQueries(**values)


def test_other_settings_of_a_data_set_that_exclude_generated_queries():
    for values, named in [
        ({"first_stage": "run"}, "first_stage is 'run'"),
        ({"run_path": "x"}, "run_path is 'x'"),
        ({"qrels": "x"}, "qrels is 'x'"),
        ({"depth": 1}, "depth is 1"),
        ({"relevance_threshold": 2}, "relevance_threshold is 2"),
    ]:
        with pytest.raises(SettingsError, match=named):
            DataSettings("x", "y", generated=GeneratedQueries(), **values)
    with pytest.raises(SettingsError, match=r"\[0.5, 0.5, 0.5\]"):
        NegativeShares(bm25=0.5, middle=0.5, random=0.5)


def test_a_collection_is_opened_for_passages_only(passages, make_folder):
    folder = passages().collection
    assert load_collection(folder, passages_only=True).passage_count == 7
    with pytest.raises(MissingFileError, match=r"queries\.tsv"):
        load_collection(folder)
    for source in ("sample/train", "sample/test"):
        found, whole = load_collection(source, passages_only=True), load_collection(source)
        assert (found.passages_fingerprint, dict(found.queries)) == (whole.passages_fingerprint, {})
    assert load_collection("msmarco-passage", passages_only=True).published_passage_count == 8_841_823
    with pytest.raises(UnknownCollectionError, match="no queries and no qrels"):
        load_collection("msmarco-passage")
    requests = make_folder("unlabelled") / "requests.jsonl"
    candidates = [{"docid": "d1", "doc": {"contents": "moon"}, "score": 1.0}]
    requests.write_text(json.dumps({"query": {"qid": "q", "text": "x"}, "candidates": candidates}))
    assert load_collection(requests, passages_only=True).passage_count == 1
    with pytest.raises(FormatError, match="none of its 1 queries"):
        load_collection(requests)


@pytest.mark.parametrize(
    "values",
    [
        {"queries": 9}, {"unit": "sentence"}, {"min_words": 3}, {"max_words": 13}, {"keep": 0.7}, {"seed": 1},
        {"delete_from_negatives": False}, {"min_passage_words": 21}, {"negatives": BEST},
    ],
)  # fmt: skip
def test_each_setting_changes_the_keys(passages, tmp_path, values):
    texts = {i: text.replace("w1 ", "w1. ") for i, text in random_texts().items()}
    made = GeneratedQueries(queries=10, min_passage_words=20, min_words=2)
    settings = passages(texts, made)
    other = replace(settings, generated=replace(made, **values))
    loader = DataLoader(tmp_path / "cache")
    first, second = (labelled_identity(loader.labelled([one])) for one in (settings, other))
    assert first != second
    assert first == labelled_identity(DataLoader(tmp_path / "cache").labelled([replace(settings, name="renamed")]))


def test_the_command_line(passages, tmp_path):
    folder = passages(random_texts()).collection
    keys = [f"data.passages.collection={folder}", "data.passages.generated.queries=12", "depth=9"]
    keys += ["data.passages.generated.negatives.bm25=0.75", "data.passages.generated.negatives.middle=0"]
    found = experiment_from_config(compose_config(["data=[sample,passages]", *keys]), Path("unused")).train
    assert [one.name for one in found] == ["sample-train", "passages"]
    shares = NegativeShares(0.75, 0.0, 0.25)
    assert found[1] == DataSettings(
        "passages", folder, depth=9, generated=GeneratedQueries(queries=12, negatives=shares)
    )
    labelled = DataLoader(tmp_path / "cache").labelled([replace(one, max_queries=4) for one in found])
    assert [one.item.query.id.startswith("passages:p") for one in labelled.lists] == [False] * 4 + [True] * 4
    with pytest.raises(ConfigError, match=r"data\.passages\.generated\.keep is 2"):
        experiment_from_config(
            compose_config(["data=[passages]", keys[0], "data.passages.generated.keep=2"]), Path("x")
        )


def test_alignment_draws_from_the_list_of_the_datas_depth(passages):
    made = GeneratedQueries(queries=10, min_passage_words=20)
    data = ready(passages(random_texts(), made, depth=8), draw_candidates=3, draw_depth=100)
    assert {len(one.item) for one in data.training_lists} == {8}
    for batch in data.train_dataloader():
        for one in batch:
            assert (len(one.item), sorted(one.grades)) == (3, [0, 0, 1])


def test_generated_queries_are_held_out_only_if_others_are_too_few(passages, make_source):
    made, judged = GeneratedQueries(queries=30, min_passage_words=20), make_source("judged", 8)
    generated = passages(random_texts(), made, depth=8)
    for count in (1, 5, 8):
        alone = [] if count == 8 else ids(ready(judged, validation_queries=count).validation_lists)
        mixed = ready([judged, generated], validation_queries=count)
        assert ids(mixed.validation_lists) == (alone or ids(ready(judged, validation_queries=0).training_lists))
        assert (mixed.counts.training_lists, mixed.counts.queries) == (38 - count, 38)
    more = ids(ready([judged, generated], validation_queries=10).validation_lists)
    assert [i.startswith("passages:") for i in more] == [False] * 8 + [True] * 2
    half = ready([judged, generated], validation_queries=4, query_fraction=0.5)
    kept = [i.startswith("passages:") for i in ids(half.training_lists)]
    assert (len(kept), 0 < sum(kept) < 17) == (17, True), "both kinds"


def test_heads_are_selected_and_aligned_on_judged_and_generated_lists(experiment, passages):
    made = GeneratedQueries(queries=6, min_words=3, max_words=6, min_passage_words=20, keep=0.5)
    generated = passages(random_texts(20), made, depth=4, lists_per_epoch=2)
    mixed = replace(experiment, train=(*experiment.train, generated), alignment=replace(ALIGNMENT, epochs=1))
    run_experiment(mixed)
    (row,) = read_epoch_log(mixed.folder / "training/epochs.csv")
    assert 0 < row["train/loss"] < 100
    assert "passages:p" in (mixed.folder / "checkpoint/heads.json").read_text()
