import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from headrank.evaluation import ReportSettings, write_report
from headrank.evaluation.report.figures import HeadMaps, QueryChanges
from headrank.evaluation.report.report import LAYOUT

FIGURES = ("queries", "heads")  # of the reports below, for which two suffice
TABLES = ("main", "changes", "metrics", "middle_zone", "positions")

EVIL = "<script>alert('x')</script>|"


class Page(HTMLParser):
    """Collects a page's tags with their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def write(make_run, heads, tmp_path):
    """Writes a report of a run (by default unaligned, with measured heads) and gives both its texts."""

    two = ReportSettings(figures={"queries": QueryChanges(), "heads": HeadMaps()})

    def call(run=None, settings=two, **changes):
        options = {"facts": {"model": "tiny", "notice": "random weights"}, "config_yaml": "a: 1\n"}
        path = write_report(tmp_path, run or make_run(heads=heads), settings, **{**options, **changes})
        assert path == tmp_path / "report.html"
        return (tmp_path / "report.md").read_text(encoding="utf-8"), path.read_text(encoding="utf-8")

    return call


def test_what_is_printed_holds_headline_notice_and_main_table(write, make_benchmark):
    markdown, _ = write()
    printed = markdown.split("\n\n## ")[0]
    assert printed.startswith("# headrank: reranking report\n\nheadrank reaches nDCG@10 ")
    assert "**Notice:** random weights" in printed
    value = make_benchmark().systems["headrank"].means["ndcg@10"]
    (row,) = re.findall(r"^\| headrank +\| +\*\*(\.\d{4})\*\* \|$", printed, flags=re.MULTILINE)
    assert float(row) == pytest.approx(value, abs=5.1e-5)
    assert "- dl20: first stage ." in printed


def test_the_files(write, tmp_path):
    markdown, _ = write()
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {f"{name}.svg" for name in FIGURES}
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        f"{n}.{e}" for n in TABLES for e in ("csv", "tex")
    }
    for path in re.findall(r"\]\((figures/\w+\.svg)\)", markdown):
        assert (tmp_path / path).is_file()
    assert markdown.endswith("## Configuration\n\n```yaml\na: 1\n```\n")


def test_a_report_is_the_same_bytes_twice_and_leaves_nothing_of_an_earlier_one(write, make_run, tmp_path):
    first = write()
    figures = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert write() == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()} == figures
    markdown, _ = write(make_run())
    assert not (tmp_path / "figures" / "heads.svg").exists()
    assert "heads.svg" not in markdown


def test_the_page_loads_nothing_and_holds_every_figure(write, tmp_path):
    _, html = write()
    page = Page(html)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "base"})
    loaded = [value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "srcset", "href")]
    assert len(loaded) == len(FIGURES)
    assert all(address.startswith("data:image/svg+xml;base64,") for address in loaded)
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html
    inside = {base64.b64decode(address.split(",")[1]) for address in loaded}
    assert inside == {path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    for svg in inside:
        for element in ElementTree.fromstring(svg).iter():
            links = [value for key, value in element.attrib.items() if key.endswith("href")]
            assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)


def test_every_string_is_escaped(write, make_benchmark, make_run, tmp_path):
    systems = ("first stage", EVIL, "random")
    run = make_run([make_benchmark(EVIL, systems=systems)], main=EVIL)
    markdown, html = write(run, facts={EVIL: EVIL, "notice": EVIL}, config_yaml=f"a: {EVIL}\n```\n</pre>")
    assert "<script" not in html
    assert "".join(Page(html).text).count("alert('x')") > 8
    before = markdown.split("## Configuration")[0]
    assert re.search(r"(?<!\\)<script", before) is None
    assert markdown.endswith("\n```\n</pre>\n````\n")
    for line in before.split("\n"):
        if line.startswith("| ") and "alert" in line:
            assert len(re.split(r"(?<!\\)\|", line)) == len(re.split(r"(?<!\\)\|", line.replace("alert", "")))


def test_the_page_works_in_the_dark_and_wide_tables_scroll(write):
    _, html = write()
    assert "prefers-color-scheme: dark" in html
    assert html.count('<div class="scroll">') == html.count("<table>") == len(TABLES)


def test_the_page_is_well_formed(write):
    _, html = write()
    body = html[html.index("<main>") : html.index("</main>") + len("</main>")]
    body = re.sub(r"(<img[^>]*)>", r"\1/>", body)
    assert ElementTree.fromstring(body).tag == "main"


def test_a_report_of_very_little(write, make_benchmark, make_run, tmp_path):
    result = make_benchmark(queries=1, systems=("first stage",), metrics=("mrr@10",))
    markdown, _ = write(make_run([result], main="first stage", metric="mrr@10"), facts=None, config_yaml="")
    assert "reaches MRR@10" in markdown
    assert "Facts" not in markdown
    assert not (tmp_path / "tables" / "changes.csv").exists()


def test_positions_in_the_context_are_a_table_of_the_page(write, make_benchmark, tmp_path):
    markdown, html = write()
    header, *rows = (tmp_path / "tables/positions.csv").read_text().splitlines()
    assert header.endswith("Relevant %,Irrelevant %,Selectivity,95 % from,to")
    assert len(rows) == 3 * 8
    zone = make_benchmark().systems["headrank"].middle_zone
    third = rows[8 + 2].split(",")
    assert third[:4] == ["dl20", "headrank", "25.0", "37.5"]
    expected = [100 * zone.positions[2].difference, *(100 * bound for bound in zone.position_intervals[2])]
    assert [float(value) for value in third[6:]] == pytest.approx(expected)
    assert "tables/positions.csv" in markdown
    assert "<details><summary>Selectivity by position in the context</summary>" in html


def test_another_metric_and_system_can_lead(write, make_run):
    markdown, _ = write(make_run(metric="mrr@10", main="random"))
    assert "\n\nrandom reaches MRR@10" in markdown


def test_a_full_report_has_its_sections_in_order_and_every_picture_a_text(write, full_run, make_benchmark):
    two = replace(full_run, benchmarks=(*full_run.benchmarks, make_benchmark("dl19", systems=tuple(full_run.systems))))
    markdown, html = write(two, None)
    titles = re.findall(r"^## (.*)$", markdown, flags=re.MULTILINE)
    known = [section.title for section in LAYOUT]
    assert titles == [title for title in known if title not in ("Context order", "Cost")] + ["Facts", "Configuration"]
    assert "zero-shot → headrank:" in markdown
    images = [attrs for tag, attrs in Page(html).tags if tag == "img"]
    assert len(images) == 9
    for image in images:
        assert len(image["alt"]) > 60
    assert re.search(r"selectivity [+-]?\d+\.\d → \+\d+\.\d points", html)


class Mine:
    name, title = "mine", "My figure"

    def make(self, runs):
        return f'<svg xmlns="http://www.w3.org/2000/svg"><title>{runs[0].main}</title></svg>'


def test_figures_are_those_of_the_settings_and_strange_ones_come_last(write, tmp_path):
    settings = ReportSettings(figures={"mine": Mine(), "off": None})
    markdown, html = write(settings=settings)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"mine.svg"}
    assert "## More figures\n\n![My figure](figures/mine.svg)\n\n## Facts" in markdown
    assert "<b>My figure.</b>" in html


def test_the_baseline_is_that_of_the_settings(write):
    markdown, _ = write(settings=ReportSettings(figures={}, baseline="random"))
    assert re.search(r"random → headrank:\n\n\| Benchmark +\| +Queries \|", markdown)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"columns": {"changes": ["benchmark"]}},
            "columns: unknown; expected one of figures, baseline, examples, compared_runs",
        ),
        ({"figures": {"a": object()}}, "figures.a is <object"),
        ({"figures": {"a": Mine(), "b": Mine()}}, "figures.b.name is 'mine'"),
    ],
)
def test_settings_check_themselves(changes, message):
    with pytest.raises(ValueError, match=message):
        ReportSettings(**changes)


def test_faults_are_named(write, make_run):
    with pytest.raises(ValueError, match=r"report.baseline 'x' was not measured: expected one of first stage"):
        write(settings=ReportSettings(figures={}, baseline="x"))
    with pytest.raises(ValueError, match="metric 'ndcg@5' was not measured"):
        make_run(metric="ndcg@5")
    with pytest.raises(ValueError, match="system 'x' is not in the results"):
        make_run(main="x")
