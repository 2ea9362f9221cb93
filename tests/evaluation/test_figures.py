"""What each figure shows, what it needs, and that it is drawn for readers of both schemes."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import matplotlib as mpl
import pytest

from headrank.evaluation import BenchmarkResult, Drawing
from headrank.evaluation.measures.suite import zone_changes, zone_estimates
from headrank.evaluation.report.figure import draw_figures
from headrank.evaluation.report.figures import (
    AlignmentEffect,
    HeadCurves,
    HeadMaps,
    LatencyQuality,
    OrderSensitivity,
    PositionShares,
    PositionSpread,
    QueryChanges,
    Reliability,
    RunSelectivity,
    SystemSelectivity,
    TrainingCurves,
    default_figures,
)
from headrank.evaluation.report.figures.canvas import BLUE, DARK, GREY, ORANGE, system_colours
from headrank.evaluation.report.figures.latency import seconds_per_list
from headrank.evaluation.report.formatting import Form, format_value

ALWAYS = ["queries", "selectivity", "positions", "homogenization"]


def words(drawing):
    """The texts of an SVG: matplotlib leaves each as a comment beside its outlines."""
    return re.findall(r"<!-- (.*?) -->", drawing.image, re.DOTALL)


@pytest.fixture(scope="module")
def drawn(full_run):
    """All figures of a run that has everything, beside another."""
    return draw_figures(default_figures(), [full_run, replace(full_run, name="other")])


def test_what_is_there_is_drawn_and_is_valid_xml(make_run, drawn):
    assert [figure.name for figure in draw_figures(default_figures(), [make_run()])] == ALWAYS
    assert [figure.name for figure in drawn] == [
        "alignment", "queries", "selectivity", "selectivity_runs", "positions", "homogenization", "reliability",
        "training", "heads", "head_curves", "latency",
    ]  # fmt: skip
    for figure in drawn:
        assert ElementTree.fromstring(figure.image.decode()).tag.endswith("svg")
        assert figure.title
        assert figure.caption.endswith(".")


def test_the_same_input_gives_the_same_bytes(full_run, drawn):
    again = draw_figures([AlignmentEffect(), HeadMaps()], [full_run])
    assert again == [figure for figure in drawn if figure.name in ("alignment", "heads")]
    assert not any(b"<dc:date>" in figure.image for figure in drawn)


def test_figures_follow_the_readers_scheme(drawn):
    for figure in drawn:
        svg = figure.image.decode()
        sheet, rest = svg.split("</style>", 1)
        assert "prefers-color-scheme: dark" in sheet
        drawn = {colour.lower() for colour in re.findall(r"(?:fill|stroke): (#[0-9a-fA-F]{6})", rest)}
        # what is drawn over the maps keeps its colour, all else has one for the dark
        assert drawn - set(DARK) <= {"#c00000", "#fefefe"}
        # text that had no colour of its own would be black on the dark ground
        for group in re.findall(r'<g id="text_\d+">\s*<!--.*?-->\s*<g([^>]*)>', rest, re.DOTALL):
            assert "fill: #" in group


def test_the_users_settings_neither_matter_nor_change(make_run):
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 30.0}):
        changed = SystemSelectivity().make([make_run()])
        assert mpl.rcParams["font.size"] == 30.0
    assert changed == SystemSelectivity().make([make_run()])


def test_alignment_shows_three_systems_with_their_numbers(full_run):
    made = AlignmentEffect().make([full_run])
    found = {name: zone_estimates(full_run.benchmarks, name) for name in full_run.systems}
    shown = words(made)
    assert [w for w in shown if w in ("first stage", "zero-shot heads", "aligned heads")] == [
        "first stage", "zero-shot heads", "aligned heads",
    ]  # fmt: skip
    for name in ("first stage", "zero-shot", "headrank"):
        assert format_value(found[name]["selectivity"].value, Form.POINTS) in shown
    assert "other unit" in shown, "a first stage's scores have no place on the axis of z"
    title = next(word for word in shown if word.startswith("Alignment raises selectivity"))
    values = [format_value(found[name]["selectivity"].value, Form.POINTS) for name in ("zero-shot", "headrank")]
    assert title.endswith(f"from {values[0]} to {values[1]} points")
    change = zone_changes(full_run.benchmarks, "zero-shot", "headrank")["selectivity"]
    assert change.interval[0] > 0
    assert f"change {format_value(change.value, Form.POINTS)}, 95 % interval" in made.caption


def test_the_title_claims_no_more_than_the_interval(make_run):
    run = make_run(systems=("first stage", "headrank", "zero-shot"), before="zero-shot")
    same = AlignmentEffect().make([replace(run, before="headrank", main="headrank")])
    assert any(word.endswith("a change within chance") for word in words(same))
    worse = AlignmentEffect().make([replace(run, main="zero-shot", before="headrank")])
    assert any(word.startswith("Alignment lowers selectivity") for word in words(worse))
    assert AlignmentEffect().make([replace(run, before=None)]) is None


def test_training_has_a_panel_for_each_value_that_was_recorded(full_run):
    shown = words(TrainingCurves().make([full_run]))
    panels = [
        "Training loss",
        "Held-out ranking",
        "Held-out selectivity",
        "Heads kept when selected again",
        "Depth in use",
    ]
    assert [word for word in shown if word in panels] == panels
    assert {"loss", "preference", "graded_kl"} <= set(shown)
    bare = replace(full_run, epochs=({"epoch": 0.0, "train/loss": 1.0, "train/preference": 1.0},))
    made = TrainingCurves().make([bare])
    assert [word for word in words(made) if word in panels] == panels[:1]
    assert "preference" not in words(made), "a single part is the loss itself"
    assert "Dotted" not in made.caption
    assert "Dotted: epoch 2," in TrainingCurves().make([full_run]).caption
    assert TrainingCurves().make([replace(full_run, epochs=())]) is None


def test_head_maps_before_and_after(full_run, heads):
    made = HeadMaps().make([full_run])
    shown = words(made)
    assert {"Discriminability, before alignment", "Score, after alignment", "kept", "new", "given up"} <= set(shown)
    assert made.caption.count("2 of the 3 heads in use after alignment were in use before") == 1
    unmeasured = replace(full_run, heads={**full_run.heads, "table": None})
    assert not any("after alignment" in word for word in words(HeadMaps().make([unmeasured])))
    alone = HeadMaps().make([replace(full_run, before=None, heads=heads)])
    assert "Entropy" in words(alone)
    assert "ringed" in alone.caption


@pytest.mark.parametrize("table", [None, {}, {"discriminability": [[None, None]], "entropy": [[None, None]]}])
def test_no_head_table_no_head_maps(make_run, heads, table):
    assert HeadMaps().make([make_run(heads={**heads, "table": table})]) is None
    assert HeadMaps().make([make_run()]) is None


def test_head_maps_of_part_of_the_measures(make_run, heads):
    table = {**heads["table"], "entropy": [[None] * 4] * 6}
    shown = words(HeadMaps().make([make_run(heads={**heads, "table": table})]))
    assert "Entropy" not in shown
    assert "Score" in shown


def test_head_curves_say_what_they_are_of(full_run):
    made = HeadCurves().make([full_run])
    assert made.caption.startswith("On the 12 labelled training lists, not on a benchmark")
    assert "5-fold cross-validation" in made.caption
    assert "layers that 3 heads may come from" in words(made)
    empty = {**full_run.head_curves, "heads": [], "depth": []}
    assert HeadCurves().make([replace(full_run, head_curves=empty)]) is None


def test_runs_are_told_apart_by_their_models_or_names(full_run):
    other = replace(full_run, name="b", heads={**full_run.heads, "model": {"id": "Qwen/Qwen3-4B"}})
    assert {"Qwen3-0.6B", "Qwen3-4B"} <= set(words(RunSelectivity().make([full_run, other])))
    assert {"a", "c"} <= set(words(RunSelectivity().make([full_run, replace(full_run, name="c")])))
    assert RunSelectivity().make([full_run]) is None


def order_run(run, order, seed=0, **changes):
    scorer = {"order": order, "seed": seed, "calibration": "residual", **changes}
    return replace(run, heads={**run.heads, "scorer": scorer}, config={"name": order, "scorer": scorer, "seed": 0})


def test_orders_are_compared_between_runs_that_differ_in_nothing_else(full_run):
    first, reverse, shuffled = (order_run(full_run, o) for o in ("first_stage", "reversed", "shuffled"))
    made = OrderSensitivity().make([first, reverse, shuffled])
    shown = words(made)
    assert [word for word in shown if word in ("first stage", "reversed", "shuffled 0")][:3] == [
        "first stage", "reversed", "shuffled 0",
    ]  # fmt: skip
    assert format_value(full_run.benchmarks[0].systems["headrank"].means["ndcg@10"], Form.METRIC) in shown
    assert OrderSensitivity().make([first]) is None
    assert OrderSensitivity().make([first, order_run(full_run, "reversed", calibration="none")]) is None
    assert OrderSensitivity().make([first, replace(reverse, config={**reverse.config, "seed": 1})]) is None


def test_latency_needs_times_of_every_benchmark(full_run, make_benchmark):
    assert seconds_per_list(full_run, "headrank") == 3.0
    made = LatencyQuality().make([full_run])
    assert "headrank 3 s" in made.caption
    assert "first stage" in words(made)
    two = replace(full_run, benchmarks=(*full_run.benchmarks, make_benchmark("dl19", systems=tuple(full_run.systems))))
    assert seconds_per_list(two, "headrank") is None
    assert LatencyQuality().make([two]) is None


def test_names_that_look_like_markup_or_formulas_are_drawn(make_benchmark, make_run):
    names = ("first & <stage>", "$x^2$ $", "猫\n\x01 " + "long " * 40)
    run = make_run([make_benchmark("<b> $\\frac", systems=names)], main=names[1], before=names[2])
    made = draw_figures(default_figures(), [run])
    assert [figure.name for figure in made] == ["alignment", *ALWAYS]
    for figure in made:
        ElementTree.fromstring(figure.image.decode())


def test_nothing_to_draw_figures(make_benchmark, make_run):
    result = make_benchmark(systems=("first stage",))
    assert QueryChanges().make([make_run([result], main="first stage")]) is None
    content = result.to_dict()
    system = {**content["systems"]["first stage"], "middle_zone": None, "selectivity": None}
    bare = BenchmarkResult.from_dict({**content, "systems": {"first stage": system}})
    for figure in (SystemSelectivity(), PositionShares(), PositionSpread()):
        assert figure.make([make_run([bare], main="first stage")]) is None


def test_many_benchmarks_and_systems(make_benchmark, make_run):
    systems = ("first stage", *(f"system {i}" for i in range(9)))
    results = [make_benchmark(f"benchmark {i}", queries=3, seed=i, systems=systems) for i in range(6)]
    run = make_run(results, main="system 0")
    assert [figure.name for figure in draw_figures([QueryChanges(), SystemSelectivity()], [run])] == [
        "queries",
        "selectivity",
    ]


def test_a_systems_colour_says_what_it_is(full_run):
    colours = system_colours(full_run)
    assert (colours["first stage"], colours["zero-shot"], colours["headrank"]) == (GREY, ORANGE, BLUE)
    assert len(set(colours.values())) == len(colours)


class Broken:
    name, title = "broken", "Broken"

    def __init__(self, image):
        self.image = image

    def make(self, runs):
        if isinstance(self.image, Exception):
            raise self.image
        return self.image


def test_a_figure_gives_svg_or_png_or_nothing(make_run):
    svg = '<svg xmlns="http://www.w3.org/2000/svg"/>'
    png = b"\x89PNG\r\n\x1a\n"
    for image, ending, kind in ((svg, ".svg", "svg+xml"), (svg.encode(), ".svg", "svg+xml"), (png, ".png", "png")):
        (figure,) = draw_figures([Broken(image)], [make_run()])
        assert (figure.ending, figure.caption, figure.alternative) == (ending, "", "Broken")
        assert figure.address.startswith(f"data:image/{kind};base64,")
    assert draw_figures([Broken(Drawing(svg, "Seen."))], [make_run()])[0].alternative == "Broken: Seen."
    assert draw_figures([Broken(None)], [make_run()]) == []
    with pytest.raises(ValueError, match="figure 'broken' made b'text'…, expected an SVG or a PNG"):
        draw_figures([Broken("text")], [make_run()])
    with pytest.raises(RuntimeError) as raised:
        draw_figures([Broken(RuntimeError("no"))], [make_run()])
    assert raised.value.__notes__ == ["while drawing the report's figure 'broken'"]


def test_reliability_has_a_panel_per_benchmark_with_probabilities(make_run, make_benchmark):
    some = [make_benchmark(name, seed=n, probable=("headrank",)) for n, name in enumerate(("a", "b", "c", "d"))]
    drawing = Reliability().make([make_run([*some, make_benchmark("none", seed=9)])])
    assert drawing is not None
    shown = words(drawing)
    assert {"a", "b", "c", "d", "headrank"} <= set(shown)
    assert not {"none", "random"} & set(shown)
    error = some[0].systems["headrank"].probability.error
    assert f"a, headrank {format_value(error, Form.METRIC)}" in drawing.caption
    assert Reliability().make([make_run()]) is None
