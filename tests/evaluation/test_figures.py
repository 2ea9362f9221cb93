import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import pytest

from headrank.evaluation import figures
from headrank.evaluation.figures import head_maps, illustrations, position_chart, query_changes, selectivity_chart


def test_all_figures_are_drawn_and_are_valid_xml(make_benchmark, heads):
    drawn = illustrations([make_benchmark()], heads, metric="ndcg@10", main="headrank")
    assert [figure.name for figure in drawn] == ["queries", "selectivity", "positions", "heads"]
    for figure in drawn:
        assert ElementTree.fromstring(figure.svg).tag.endswith("svg")
        assert figure.title
        assert figure.caption.endswith(".")


def test_the_same_input_gives_the_same_bytes(make_benchmark, heads):
    first, second = (illustrations([make_benchmark()], heads, metric="ndcg@10", main="headrank") for _ in range(2))
    assert first == second
    assert not any("date" in figure.svg.lower() for figure in first)


def test_the_users_settings_neither_matter_nor_change(make_benchmark):
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 30.0}):
        changed = selectivity_chart([make_benchmark()])
        assert mpl.rcParams["font.size"] == 30.0
    assert changed == selectivity_chart([make_benchmark()])


@pytest.mark.parametrize("table", [None, {}, {"discriminability": [[None, None]], "entropy": [[None, None]]}])
def test_no_head_table_no_head_maps(heads, table):
    assert head_maps({**heads, "table": table}) is None
    assert head_maps({}) is None


def test_head_maps_of_part_of_the_measures(heads):
    heads["table"]["entropy"] = [[None] * 4] * 6
    assert head_maps(heads) is not None


def test_names_that_look_like_markup_or_formulas_are_drawn(make_benchmark):
    names = ("first & <stage>", "$x^2$ $", "猫\n\x01 " + "long " * 40)
    result = make_benchmark("<b> $\\frac", systems=names)
    for figure in illustrations([result], None, metric="ndcg@10", main=names[1]):
        ElementTree.fromstring(figure.svg)


def test_nothing_to_draw(make_benchmark):
    result = make_benchmark(systems=("first stage",))
    assert query_changes([result], "ndcg@10", "first stage") is None
    bare = figures.BenchmarkResult.from_dict(result.to_dict())
    system = {**bare.to_dict()["systems"]["first stage"], "middle_zone": None, "selectivity": None}
    bare = figures.BenchmarkResult.from_dict({**bare.to_dict(), "systems": {"first stage": system}})
    assert selectivity_chart([bare]) is None
    assert position_chart([bare]) is None


def test_many_benchmarks_and_systems(make_benchmark):
    systems = ("first stage", *(f"system {i}" for i in range(9)))
    results = [make_benchmark(f"benchmark {i}", queries=3, seed=i, systems=systems) for i in range(6)]
    drawn = illustrations(results, None, metric="ndcg@10", main="system 0")
    assert [figure.name for figure in drawn] == ["queries", "selectivity", "positions"]
