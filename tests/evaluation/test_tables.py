import csv
import io
import math
import re

import pytest

from headrank.evaluation import BenchmarkResult, changes_table, main_table, metrics_table, middle_zone_table
from headrank.evaluation.formats import Form, one_line, written
from headrank.evaluation.table import Column, Table, markdown_text
from headrank.evaluation.tables import adjusted_p, change_lines, check_results, headline, pooled_selectivity


def parsed(markdown):
    """A Markdown table's cells, split at borders that are not escaped."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in markdown.split("\n")]
    assert len({len(line) for line in lines}) == 1
    return [[cell.strip() for cell in line] for line in lines if not set(line[0]) <= {"-", ":", " "}]


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0.50119, Form.METRIC, ".5012"),
        (1.0, Form.METRIC, "1.0000"),
        (0.0, Form.METRIC, ".0000"),
        (0.0216, Form.CHANGE, "+.0216"),
        (-0.0216, Form.CHANGE, "-.0216"),
        (-0.000001, Form.CHANGE, ".0000"),
        (-1.0, Form.CHANGE, "-1.0000"),
        (0.0301, Form.P, ".030"),
        (0.0004, Form.P, "<.001"),
        (1.0, Form.P, "1.000"),
        (0.5744, Form.PERCENT, "57.4"),
        (0.432, Form.POINTS, "+43.2"),
        (-0.0001, Form.POINTS, "0.0"),
        (53, Form.COUNT, "53"),
        (0.012345, Form.NUMBER, "0.0123"),
        (None, Form.METRIC, "–"),
        ("a\nb\x00c", Form.TEXT, "a b c"),
    ],
)
def test_numbers_are_written_as_the_field_writes_them(value, form, text):
    assert written(value, form) == text


def test_text_among_numbers_is_refused():
    with pytest.raises(TypeError, match="'x' in a column of form metric"):
        written("x", Form.METRIC)


def test_long_names_end_in_an_ellipsis():
    assert len(one_line("x" * 100)) == 48
    assert one_line("x" * 100).endswith("x…")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("<script>", r"\<script\>"),
        ("trec_dl_2020", "trec_dl_2020"),
        ("_x_", r"\_x\_"),
        ("*b* [l](u) `c` &lt; \\", r"\*b\* \[l\](u) \`c\` \&lt; \\"),
    ],
)
def test_markdown_shows_text_as_it_is(text, escaped):
    assert markdown_text(text) == escaped


def test_the_main_table_parses_back_to_the_numbers(make_benchmark):
    results = [make_benchmark("dl|19", seed=1), make_benchmark("dl20", seed=2)]
    head, *rows = parsed(main_table(results, "ndcg@10").to_markdown())
    assert head == ["System", r"dl\|19", "dl20", "Mean"]
    assert [row[0] for row in rows] == ["first stage", "headrank", "random"]
    for row in rows:
        means = [result.systems[row[0]].means["ndcg@10"] for result in results]
        assert [float(cell) for cell in row[1:]] == pytest.approx([*means, sum(means) / 2], abs=5.1e-5)


def test_a_system_that_is_missing_somewhere_has_no_mean(make_benchmark):
    results = [make_benchmark("a"), make_benchmark("b", systems=("first stage", "headrank"))]
    assert parsed(main_table(results, "mrr@10").to_markdown())[3][2:] == ["–", "–"]
    assert set(pooled_selectivity(results)) == {"first stage", "headrank"}


def test_one_benchmark_has_no_mean(make_benchmark):
    assert [c.heading for c in main_table([make_benchmark()], "ndcg@10").columns] == ["System", "dl20"]


def test_csv_has_full_precision_and_percentages_where_the_heading_says_so(make_benchmark):
    result = make_benchmark()
    rows = list(csv.DictReader(io.StringIO(metrics_table([result]).to_csv())))
    assert float(rows[1]["MAP@100"]) == result.systems["headrank"].means["map@100"]
    zone = middle_zone_table([result])
    rows = list(csv.DictReader(io.StringIO(zone.to_csv())))
    assert float(rows[0]["Relevant %"]) == pytest.approx(100 * result.systems["first stage"].selectivity.relevant)


def test_changes_are_corrected_over_all_that_are_shown(make_benchmark):
    results = [make_benchmark("a", seed=1), make_benchmark("b", seed=2)]
    adjusted = adjusted_p(results, "ndcg@10")
    assert set(adjusted) == {("a", "headrank"), ("a", "random"), ("b", "headrank"), ("b", "random")}
    raw = {
        key: r.systems[key[1]].comparisons["ndcg@10"].p_randomization
        for r in results
        for key in adjusted
        if key[0] == r.name
    }
    smallest = min(raw, key=lambda key: raw[key])
    assert adjusted[smallest] == pytest.approx(4 * raw[smallest])
    table = changes_table(results, "ndcg@10")
    assert len(table.rows) == 4
    assert "4 comparisons" in table.note


def test_there_are_no_changes_without_a_second_system(make_benchmark):
    results = [make_benchmark(systems=("first stage",))]
    assert changes_table(results, "ndcg@10") is None
    assert change_lines(results, "ndcg@10", "first stage") == []
    assert headline(results, "ndcg@10", "first stage").endswith("no other system was measured.")


def test_sentences_say_what_the_numbers_say(make_benchmark):
    one, two = make_benchmark("a", seed=1), make_benchmark("b", seed=2)
    means = [written(one.systems[s].means["ndcg@10"], Form.METRIC) for s in ("first stage", "headrank")]
    sentence = headline([one], "ndcg@10", "headrank")
    assert sentence.startswith(f"headrank reaches nDCG@10 {means[1]} on a, first stage {means[0]} (+")
    assert ", significant over 30 queries)." in sentence
    (line,) = change_lines([one], "ndcg@10", "headrank")
    assert line.startswith(f"- a: first stage {means[0]} → headrank {means[1]} (+")
    assert "on average over 2 benchmarks" in headline([one, two], "ndcg@10", "headrank")
    assert "): better on 2, significantly on 2." in headline([one, two], "ndcg@10", "headrank")
    assert "): worse on 2, significantly on 2." in headline([one, two], "ndcg@10", "random")


def test_a_difference_that_may_be_chance_is_not_called_significant(make_benchmark):
    results = [make_benchmark(name, queries=2, seed=seed) for seed, name in enumerate("abc")]
    assert "significantly on" not in headline(results, "ndcg@10", "headrank")
    assert "none significantly" in headline(results, "ndcg@10", "headrank")
    assert ", not significant over 2 queries)." in headline(results[:1], "ndcg@10", "headrank")


def test_a_system_that_ranks_in_context_order_is_explained(make_benchmark):
    result = make_benchmark()
    assert "by construction" not in middle_zone_table([result]).note
    content = result.to_dict()
    content["systems"]["first stage"]["selectivity"] |= {"relevant": 0.0, "irrelevant": 0.0, "difference": 0.0}
    assert "by construction" in middle_zone_table([BenchmarkResult.from_dict(content)]).note


def test_the_middle_zone_is_pooled_over_several_benchmarks(make_benchmark):
    results = [make_benchmark("a", seed=1), make_benchmark("b", seed=2)]
    rows = middle_zone_table(results).rows
    assert [row[:2] for row in rows][-3:] == [("all", s) for s in ("first stage", "headrank", "random")]
    pooled = pooled_selectivity(results)["headrank"]
    assert pooled.relevant_passages == sum(r.systems["headrank"].selectivity.relevant_passages for r in results)
    low, high = rows[-2][5:7]
    assert low < pooled.difference < high
    assert len(middle_zone_table(results[:1]).rows) == 3


def test_the_best_of_a_column_as_shown():
    columns = (Column("System"), Column("x", Form.METRIC, best=True), Column("y", Form.METRIC))
    table = Table("t", "T", columns, (("a", 0.50001, 1.0), ("b", 0.50002, 2.0), ("c", 0.1, 3.0), ("d", None, 4.0)))
    assert table.best_rows(1) == {0, 1}
    assert table.best_rows(2) == set()
    assert table.best_rows(0) == set()


def test_a_row_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="table 't': a row of 2 values for 1 columns"):
        Table("t", "T", (Column("a"),), (("a", "b"),))


def test_results_that_do_not_fit_together_are_refused(make_benchmark):
    one = make_benchmark("a")
    for results, message in [
        ([], "at least one"),
        ([one, one], "names must differ, these are a, a"),
        ([one, make_benchmark("b", metrics=("mrr@10",))], "benchmark 'b' has metrics mrr@10"),
        ([one, make_benchmark("b", systems=("bm25", "headrank"))], "reference 'bm25'"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_results(results)


def test_no_number_is_shown_as_nan(make_benchmark):
    for table in (metrics_table([make_benchmark()]), middle_zone_table([make_benchmark()])):
        for row in table.rows:
            assert not any(isinstance(value, float) and math.isnan(value) for value in row)
