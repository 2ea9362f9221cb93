"""Examples of a report: which queries they are, their file, and how they are rendered."""

from dataclasses import replace

import pytest

from headrank.errors import FormatError
from headrank.evaluation import RunResults, write_report
from headrank.evaluation.examples import largest_changes, read_examples, write_examples


def test_the_largest_gains_and_losses(make_benchmark):
    result = make_benchmark()
    values = {name: result.systems[name].per_query["ndcg@10"] for name in ("headrank", "random")}
    changes = {
        query: after - before
        for query, after, before in zip(result.query_ids, values["headrank"], values["random"], strict=True)
    }
    found = largest_changes(result, "ndcg@10", "headrank", "random", 2)
    assert [changes[query] for query in found[:2]] == sorted(changes.values())[:-3:-1]
    assert [changes[query] for query in found[2:]] == sorted(one for one in changes.values() if one < 0)[:2]
    assert largest_changes(result, "ndcg@10", "headrank", "headrank", 2) == []
    assert largest_changes(result, "ndcg@10", "headrank", "random", 0) == []


def test_the_file_holds_examples_without_loss(tmp_path, example):
    write_examples(tmp_path / "one.json", (example,))
    assert read_examples(tmp_path / "one.json") == (example,)
    assert read_examples(tmp_path / "other.json") == ()
    strange = replace(example, query="lone \ud83d x")
    write_examples(tmp_path / "one.json", (strange,))
    assert read_examples(tmp_path / "one.json") == (strange,)
    (tmp_path / "one.json").write_text('[{"query_id": 3}]')
    with pytest.raises(FormatError, match=r"one\.json"):
        read_examples(tmp_path / "one.json")


def test_the_report_shows_them_before_and_after(make_benchmark, tmp_path, example):
    run = RunResults(benchmarks=(make_benchmark(),), metric="ndcg@10", main="headrank", examples={"dl20": (example,)})
    page = write_report(tmp_path, run).read_text()
    assert page.index("zero-shot: nDCG@10 .2500") < page.index("headrank: nDCG@10 .7500")
    assert "d7, grade 2" in page
    assert "<b>sky</b>" not in page
    assert "&lt;b&gt;sky&lt;/b&gt;" in page
    assert page.count(".headrank-explanation .up") == 1, "one style sheet"
    assert "q1" in (tmp_path / "tables/examples.csv").read_text()
    assert "Largest gains and losses" in (tmp_path / "report.md").read_text()
    without = RunResults(benchmarks=(make_benchmark(),), metric="ndcg@10", main="headrank")
    assert "Largest gains" not in write_report(tmp_path, without).read_text()
    assert not (tmp_path / "tables/examples.csv").exists()
