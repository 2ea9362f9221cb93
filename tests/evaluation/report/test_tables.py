"""What the tables of results hold: systems, changes, baselines, suites, the middle zone."""

import csv
import io
import math
import re

import pytest

from headrank.evaluation import (
    BenchmarkResult,
    SuiteComparison,
    baseline_table,
    changes_table,
    compare_systems,
    main_table,
    metrics_table,
    middle_zone_table,
    pooled_selectivity,
    probabilities_table,
    suite_table,
)
from headrank.evaluation.measures.results import check_results
from headrank.evaluation.report.formatting import Form, format_value
from headrank.evaluation.report.summary import change_lines, headline
from headrank.evaluation.report.table import Column, Table
from headrank.evaluation.report.tables import training_table


def parsed(markdown):
    """A Markdown table's cells, split at borders that are not escaped."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in markdown.split("\n")]
    assert len({len(line) for line in lines}) == 1
    return [[cell.strip() for cell in line] for line in lines if not set(line[0]) <= {"-", ":", " "}]


def test_the_main_table_parses_back_to_the_numbers(make_benchmark):
    results = [make_benchmark("dl|19", seed=1), make_benchmark("dl20", seed=2)]
    head, *rows = parsed(main_table(results, "ndcg@10").to_markdown())
    assert head == ["System", r"dl\|19", "dl20", "Mean of 2"]
    assert [row[0] for row in rows] == ["first stage", "headrank", "random"]
    for row in rows:
        means = [result.systems[row[0]].means["ndcg@10"] for result in results]
        assert [float(cell.strip("*")) for cell in row[1:]] == pytest.approx([*means, sum(means) / 2], abs=5.1e-5)


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


def column(table, heading):
    (index,) = [i for i, column in enumerate(table.columns) if column.heading == heading]
    return [row[index] for row in table.rows]


def test_changes_show_before_and_after_and_the_mean_over_benchmarks(make_benchmark):
    results = [make_benchmark("a", seed=1), make_benchmark("b", queries=10, seed=2)]
    table = changes_table(results, "ndcg@10")
    assert table.title == "First stage → reranked"
    assert list(zip(column(table, "System"), column(table, "Benchmark"), column(table, "Queries"), strict=True)) == [
        ("headrank", "a", 30), ("headrank", "b", 10), ("headrank", "mean of 2", 40),
        ("random", "a", 30), ("random", "b", 10), ("random", "mean of 2", 40),
    ]  # fmt: skip
    means = {s: [r.systems[s].means for r in results] for s in ("first stage", "headrank")}
    for heading, metric in (("nDCG@10", "ndcg@10"), ("Judged@10", "judged@10")):
        pairs = column(table, heading)
        before, after = ([of[metric] for of in means[s]] for s in ("first stage", "headrank"))
        assert pairs[0] == (before[0], after[0])
        # every benchmark counts the same, though one has three times the queries
        assert pairs[2] == pytest.approx((sum(before) / 2, sum(after) / 2))
    won = column(table, "Won")
    assert won[2] == won[0] + won[1]
    rows = parsed(table.to_markdown())
    first = [format_value(of["ndcg@10"], Form.METRIC) for of in (means["first stage"][0], means["headrank"][0])]
    assert rows[1][3] == " → ".join(first)


def test_judged_is_left_out_where_it_was_not_measured(make_benchmark):
    table = changes_table([make_benchmark(metrics=("ndcg@10", "judged@5"))], "ndcg@10")
    assert not any("Judged" in column.heading for column in table.columns)
    assert "judgement" not in table.note


def test_the_baseline_table_tests_the_main_system_against_a_named_one(make_benchmark):
    results = [make_benchmark("a", seed=1), make_benchmark("b", seed=2)]
    table = baseline_table(results, "ndcg@10", "headrank", "random")
    assert table.title == "random → headrank"
    assert column(table, "nDCG@10")[0] == tuple(results[0].systems[s].means["ndcg@10"] for s in ("random", "headrank"))
    compared = compare_systems(results, "ndcg@10", "headrank", "random")
    assert column(table, "p (Holm)") == [*(part.p_holm for part in compared.parts), None]
    assert baseline_table(results, "ndcg@10", "headrank", "headrank") is None


def test_the_suite_table_counts_benchmarks_and_queries(make_benchmark):
    results = [make_benchmark(name, seed=seed) for seed, name in enumerate("abc")]
    table = suite_table(results, "ndcg@10", "headrank", "random")
    assert list(zip(column(table, "System"), column(table, "Against"), strict=True)) == [
        ("headrank", "first stage"), ("random", "first stage"), ("headrank", "random"),
    ]  # fmt: skip
    main: SuiteComparison = compare_systems(results, "ndcg@10", "headrank", "first stage")
    assert table.rows[0][2:] == (
        3, (main.before, main.after), main.after - main.before, main.benchmarks, main.significant, main.queries,
    )  # fmt: skip
    assert table.cells()[0][5:7] == ["3 / 0 / 0", f"{main.significant.won} / {main.significant.tied} / 0"]
    assert "Queries w/t/l won,Queries w/t/l tied,Queries w/t/l lost" in table.to_csv()
    assert sum(main.queries) == 90
    assert suite_table(results[:1], "ndcg@10", "headrank") is None


def test_a_training_table_shows_what_was_recorded():
    epochs = [
        {"epoch": 0.0, "train/loss": 2.5, "train/preference": 2.0, "val/ndcg@10": 0.5, "heads/depth": 20.0},
        {"epoch": 1.0, "train/loss": 1.5, "train/preference": 1.0, "val/ndcg@10": 0.6, "heads/depth": 18.0},
    ]
    table = training_table(epochs)
    assert [c.heading for c in table.columns] == ["Epoch", "Loss", "preference", "Held-out nDCG@10", "Depth"]
    assert table.rows == ((1, 2.5, 2.0, 0.5, 20), (2, 1.5, 1.0, 0.6, 18))
    more = training_table([{"epoch": 0.0, "train/loss": 1.0, "val/mrr@10": 0.5, "heads/depth_change": -1.0}])
    assert [c.heading for c in more.columns] == ["Epoch", "Loss", "val/mrr@10"]
    assert training_table([]) is None


def test_there_are_no_changes_without_a_second_system(make_benchmark):
    results = [make_benchmark(systems=("first stage",))]
    assert changes_table(results, "ndcg@10") is None
    assert change_lines(results, "ndcg@10", "first stage") == []
    assert headline(results, "ndcg@10", "first stage").endswith("no other system was measured.")


def test_sentences_say_what_the_numbers_say(make_benchmark):
    one, two = make_benchmark("a", seed=1), make_benchmark("b", seed=2)
    means = [format_value(one.systems[s].means["ndcg@10"], Form.METRIC) for s in ("first stage", "headrank")]
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
    value, low, high = rows[-2][4]
    assert low < value == pooled.difference < high
    assert len(middle_zone_table(results[:1]).rows) == 3


def test_results_that_do_not_fit_together_are_refused(make_benchmark):
    one = make_benchmark("a")
    for results, message in [
        ([], "found none"),
        ([one, one], "a, a"),
        ([one, make_benchmark("b", metrics=("mrr@10",))], "benchmark 'b' has metrics mrr@10"),
        ([one, make_benchmark("b", systems=("bm25", "headrank"))], "reference 'bm25'"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_results(results)


def test_no_number_is_shown_as_nan(make_benchmark):
    for table in (metrics_table([make_benchmark()]), middle_zone_table([make_benchmark()])):
        for row in table.rows:
            assert not any(isinstance(value, float) and math.isnan(value) for value in row)


def test_the_best_is_bold_in_markdown_and_latex_too():
    columns = (Column("System"), Column("x", Form.METRIC, best=True))
    table = Table("t", "T", columns, (("a", 0.5), ("b", 0.25)))
    assert parsed(table.to_markdown())[1:] == [["a", "**.5000**"], ["b", ".2500"]]
    assert r"a & \textbf{.5000} \\" in table.to_latex()


def test_the_probabilities_table_has_systems_with_a_map_and_names_its_data(make_benchmark):
    result = make_benchmark(probable=("headrank",))
    table = probabilities_table([result, make_benchmark("other")])
    assert table is not None
    quality = result.systems["headrank"].probability
    (row,) = table.rows
    assert row[:3] == ("dl20", "headrank", 600)
    assert row[3:] == (quality.relevant, quality.predicted, quality.brier, quality.constant_brier, quality.error)
    assert "headrank: labels of headrank" in table.note
    assert probabilities_table([make_benchmark()]) is None
