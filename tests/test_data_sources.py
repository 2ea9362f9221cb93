"""Several collections for one entry, and requests by pattern."""

from pathlib import Path

import pytest

from headrank.errors import ConfigError
from headrank.run import compose_config, experiment_from_config


def experiment(*overrides):
    return experiment_from_config(compose_config(overrides), Path("unused"))


def test_each_of_several_collections_is_a_benchmark(tmp_path):
    found = experiment(
        "benchmarks=[local,sample]",
        "benchmarks.local.collection=[/data/a,/data/b:dev,/data/c.jsonl,beir/scifact/test]",
        "benchmarks.local.relevance_threshold=2",
        "depth=7",
        "max_queries=5",
        "first_stage_runs='/runs/{name}.trec'",
        "+benchmarks.sample.run_path=/runs/mine.trec",
        "benchmarks.sample.first_stage=run",
    ).benchmarks
    assert [one.name for one in found] == ["a", "b-dev", "c", "beir-scifact-test", "sample-test"]
    assert [one.collection for one in found[:2]] == ["/data/a", "/data/b:dev"]
    assert {(one.depth, one.max_queries, one.relevance_threshold) for one in found[:4]} == {(7, 5, 2)}
    assert [one.run_path for one in found[1:3]] == ["/runs/b-dev.trec", "/runs/c.trec"]


def test_training_sets_too_and_one_in_a_list_is_named_after_itself():
    found = experiment("data=[local]", "data.local.collection=[/data/a]", "+instructions.a=x")
    assert [(one.name, one.collection) for one in found.train] == [("a", "/data/a")]


@pytest.mark.parametrize(
    ("value", "named"), [("[]", r"\[\]"), ("[1]", r"\[1\]"), ("[/x/a,/y/a]", "benchmarks is .*'a', 'a'")]
)
def test_what_is_no_list_of_collections_with_names_is_refused(value, named):
    with pytest.raises(ConfigError, match=named):
        experiment("benchmarks=[local]", f"benchmarks.local.collection={value}")


TREC_DL = ("data=[trec_dl_2021,trec_dl_2022]", "benchmarks=[trec_dl_2019]")


def test_requests_replace_collections_by_pattern(tmp_path, caplog):
    caplog.set_level("INFO", logger="headrank")
    for name in ("trec-dl-2021", "trec-dl-2019"):
        (tmp_path / f"{name}.jsonl").write_text("")
    found = experiment(*TREC_DL, f"requests='{tmp_path}/{{name}}.jsonl'")
    first, second = found.train
    assert (first.collection, first.first_stage) == (f"{tmp_path}/trec-dl-2021.jsonl", "auto")
    assert (first.qrels, first.relevance_threshold) == ("msmarco-passage-v2/trec-dl-2021/judged", 2)
    assert second.collection == "msmarco-passage-v2/trec-dl-2022/judged"
    assert "trec-dl-2022.jsonl" in caplog.text
    assert found.benchmarks[0].collection == f"{tmp_path}/trec-dl-2019.jsonl"


def test_requests_do_not_replace_passages_from_which_queries_are_made(tmp_path):
    for name in ("passages", "sample-test"):
        (tmp_path / f"{name}.jsonl").write_text("")
    passages = ("data=[passages]", "data.passages.collection=/data/mine")
    found = experiment(*passages, f"requests='{tmp_path}/{{name}}.jsonl'")
    assert (found.train[0].collection, found.train[0].qrels) == ("/data/mine", None)
    assert found.benchmarks[0].collection == f"{tmp_path}/sample-test.jsonl"


@pytest.mark.parametrize("pattern", ["'/none/{name}.jsonl'", "/none/one.jsonl"])
def test_a_pattern_that_fits_no_file_or_no_names_is_refused(pattern):
    with pytest.raises(ConfigError, match="requests is '/none"):
        experiment(*TREC_DL, f"requests={pattern}")


def test_two_data_sets_never_share_a_requests_file(tmp_path):
    (tmp_path / "nf.jsonl").write_text("")
    names = ["data=[local]", "data.local.collection=beir/nfcorpus/train", "data.local.name=nf"]
    names += ["benchmarks=[local]", "benchmarks.local.collection=beir/nfcorpus/test", "benchmarks.local.name=nf"]
    with pytest.raises(ConfigError, match=r"nf\b"):
        experiment(*names, f"requests='{tmp_path}/{{name}}.jsonl'")
