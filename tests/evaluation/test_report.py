import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from headrank.evaluation import write_report
from headrank.evaluation.report import FIGURES, TABLES

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
def write(make_benchmark, heads, tmp_path):
    def call(results=None, **changes):
        epochs = [
            {"epoch": 0, "train/loss": 1.5, "val/ndcg@10": 0.25},
            {"epoch": 1, "train/loss": 1.25, "val/ndcg@10": 0.5, "heads/overlap": 0.75},
        ]
        settings = {
            "training": epochs,
            "heads": heads,
            "facts": {"model": "tiny", "notice": "random weights"},
            "config_yaml": "a: 1\n",
        }
        results = [make_benchmark()] if results is None else results
        path = write_report(tmp_path, results, **{**settings, **changes})
        assert path == tmp_path / "report.html"
        return (tmp_path / "report.md").read_text(encoding="utf-8"), path.read_text(encoding="utf-8")

    return call


def test_what_is_printed_holds_headline_notice_and_main_table(write, make_benchmark):
    markdown, _ = write()
    printed = markdown.split("\n\n## ")[0]
    assert printed.startswith("# headrank: reranking report\n\nheadrank reaches nDCG@10 ")
    assert "**Notice:** random weights" in printed
    value = make_benchmark().systems["headrank"].means["ndcg@10"]
    (row,) = re.findall(r"^\| headrank +\| +(\.\d{4}) \|$", printed, flags=re.MULTILINE)
    assert float(row) == pytest.approx(value, abs=5.1e-5)
    assert "- dl20: first stage ." in printed


def test_the_files(write, tmp_path):
    markdown, _ = write()
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {f"{name}.svg" for name in FIGURES}
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {f"{name}.csv" for name in TABLES}
    for path in re.findall(r"\]\((figures/\w+\.svg)\)", markdown):
        assert (tmp_path / path).is_file()
    assert markdown.endswith("## Configuration\n\n```yaml\na: 1\n```\n")


def test_a_report_is_the_same_bytes_twice_and_leaves_nothing_of_an_earlier_one(write, heads, tmp_path):
    first = write()
    figures = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert write() == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()} == figures
    markdown, _ = write(heads={**heads, "table": None})
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


def test_every_string_is_escaped(write, make_benchmark, heads):
    systems = ("first stage", EVIL, "random")
    result = make_benchmark(EVIL, systems=systems)
    markdown, html = write(
        [result], facts={EVIL: EVIL, "notice": EVIL}, config_yaml=f"a: {EVIL}\n```\n</pre>", main=EVIL
    )
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


def test_a_report_of_very_little(write, make_benchmark, tmp_path):
    result = make_benchmark(queries=1, systems=("first stage",), metrics=("mrr@10",))
    markdown, _ = write([result], heads=None, facts=None, config_yaml="")
    assert "reaches MRR@10" in markdown
    assert "Facts" not in markdown
    assert not (tmp_path / "tables" / "changes.csv").exists()


def test_an_alignment_is_shown_epoch_by_epoch(write, tmp_path):
    markdown, html = write()
    rows = re.findall(r"^\| +(\d) \| +([\d.]+) \| +([\d.]+) \| +([\d.–]+) \|$", markdown, flags=re.MULTILINE)
    assert rows == [("0", "1.5", ".2500", "–"), ("1", "1.25", ".5000", ".7500")]
    assert (tmp_path / "tables/training.csv").read_text().splitlines()[
        0
    ] == "Epoch,train/loss,val/ndcg@10,heads/overlap"
    assert "Alignment by epoch" in html
    markdown, html = write(training=())
    assert not (tmp_path / "figures/training.svg").exists()
    assert not (tmp_path / "tables/training.csv").exists()
    assert "Alignment by epoch" not in html


def test_places_in_the_context_are_a_table_of_the_page(write, make_benchmark, tmp_path):
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
    assert "<details><summary>Selectivity by place in the context</summary>" in html


def test_another_metric_and_system_can_lead(write):
    markdown, _ = write(metric="mrr@10", main="random")
    assert "\n\nrandom reaches MRR@10" in markdown


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"metric": "ndcg@5"}, "metric 'ndcg@5' was not measured"), ({"main": "x"}, "system 'x' is not in the results")],
)
def test_faults_are_named(write, changes, message):
    with pytest.raises(ValueError, match=message):
        write(**changes)
