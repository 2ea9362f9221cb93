"""How a table is written: numbers, Markdown, CSV, LaTeX, the best of a column."""

import csv
import io

import pytest

from headrank.evaluation.report.formatting import Form, format_value, one_line
from headrank.evaluation.report.table import Column, Layout, Shape, Table, latex_text, markdown_text


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
    assert format_value(value, form) == text


def test_text_among_numbers_is_refused():
    with pytest.raises(TypeError, match="'x' in a column of form metric"):
        format_value("x", Form.METRIC)


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


def test_the_best_of_a_column_as_shown():
    columns = (Column("System"), Column("x", Form.METRIC, best=True), Column("y", Form.METRIC))
    table = Table("t", "T", columns, (("a", 0.50001, 1.0), ("b", 0.50002, 2.0), ("c", 0.1, 3.0), ("d", None, 4.0)))
    assert table.best_rows(1) == {0, 1}
    assert table.best_rows(2) == set()
    assert table.best_rows(0) == set()


PAIRS = Table(
    "pairs",
    "Pairs",
    (
        Column("a_b"),
        Column("nDCG", Form.METRIC, shape=Shape.PAIR),
        Column("Selectivity", Form.POINTS, shape=Shape.INTERVAL, signed=True),
    ),
    (("x & y", (0.25, 0.5), (0.1, -0.05, 0.2)), ("z", (0.5, None), (-0.1, None, None)), ("w", None, None)),
    "50 % of\nall",
)


def test_pairs_and_intervals_are_one_cell_and_several_csv_columns():
    assert PAIRS.cells() == [
        ["x & y", ".2500 → .5000", "+10.0 [-5.0, +20.0]"], ["z", ".5000 → –", "-10.0"], ["w", "–", "–"],
    ]  # fmt: skip
    rows = list(csv.reader(io.StringIO(PAIRS.to_csv())))
    assert rows[0] == [
        "a_b", "nDCG before", "nDCG after", "Selectivity", "Selectivity 95 % from", "Selectivity 95 % to",
    ]  # fmt: skip
    assert rows[1:] == [
        ["x & y", "0.25", "0.5", "10.0", "-5.0", "20.0"], ["z", "0.5", "", "-10.0", "", ""], ["w", "", "", "", "", ""],
    ]  # fmt: skip
    assert [PAIRS.tone(row, 2) for row in range(3)] == ["up", "down", ""]


def test_latex_has_booktabs_rules_and_escaped_cells():
    assert PAIRS.to_latex().splitlines() == [
        "% Pairs. 50 % of all",
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"a\_b & nDCG & Selectivity \\",
        r"\midrule",
        r"x \& y & .2500 $\rightarrow$ .5000 & +10.0 {[}$-$5.0, +20.0{]} \\",
        r"z & .5000 $\rightarrow$ -- & $-$10.0 \\",
        r"w & -- & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        (r"a\b", r"a\textbackslash{}b"),
        ("100% $5 #1 {x} ~^", r"100\% \$5 \#1 \{x\} \textasciitilde{}\textasciicircum{}"),
        ("<.001 | ≥ 2", r"\textless{}.001 \textbar{} $\geq$ 2"),
        ("trec-dl-2019 -.03", "trec-dl-2019 $-$.03"),
    ],
)
def test_latex_shows_text_as_it_is(text, escaped):
    assert latex_text(text) == escaped


def test_an_optional_column_is_there_where_a_row_has_it():
    layout = Layout("t", "T of {who}", (Column("{who}", key="who"), Column("x", Form.COUNT, key="x", optional=True)))
    assert layout.table([{"who": "a"}], who="all").columns == (Column("all", key="who"),)
    table = layout.table([{"who": "a"}, {"who": "b", "x": 0}], who="all")
    assert (table.title, table.rows) == ("T of all", (("a", None), ("b", 0)))


def test_a_cell_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"table 't': 0.5 in column 'x', expected 2"):
        Table("t", "T", (Column("x", Form.METRIC, shape=Shape.PAIR),), ((0.5,),))


def test_a_row_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="table 't': a row of 2 values for 1 columns"):
        Table("t", "T", (Column("a"),), (("a", "b"),))
