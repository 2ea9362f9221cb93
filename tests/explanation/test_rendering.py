"""Explanations as HTML and for terminals: structure, colours, hostile texts."""

import html
import html.parser
import re

import pytest

from headrank.explanation import Explanation, PassageExplanation, TokenContribution
from headrank.explanation.ansi import DOWN, UP
from headrank.explanation.html import render_html, signed
from headrank.explanation.segments import MOST_HEADS, OUTSIDE, split_segments, visible

HOSTILE = '<script>alert("x")</script> & \x1b[31mred\x00 \ud83d \x9b2J'


def tokens(*values: tuple[int, int, float]) -> tuple[TokenContribution, ...]:
    return tuple(TokenContribution(*value) for value in values)


def explanation(text="sky blue", query="why blue", **changes) -> Explanation:
    first = PassageExplanation(
        id="a", index=1, rank=1, score=0.75, text=text, tokens=tokens((0, 3, 1.0), (3, 8, -0.25)),
        query_tokens=tokens((0, 3, 0.125), (3, 8, 0.625)), **changes,
    )  # fmt: skip
    return Explanation(query, (first,), "score", "residual")


class Elements(html.parser.HTMLParser):
    """The elements of a page, with their attributes and texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict, str]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), ""))
        self.open = True

    def handle_data(self, data):
        if self.found and self.open:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)

    def handle_endtag(self, tag):
        self.open = False


def test_the_structure_of_a_page():
    page = explanation().html()
    assert page.startswith("<!DOCTYPE html>")
    found = Elements(page).found
    tags = [tag for tag, *_ in found]
    assert tags.count("li") == 1
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert "http" not in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    spans = [(one["class"], one["style"], one["title"], text) for tag, one, text in found if "style" in one]
    assert spans == [
        ("up", "--a:0.45", "+0.125", "why"),  # the query: the mean over one passage
        ("up", "--a:1.00", "+0.625", "blue"),
        ("up", "--a:1.00", "+1.00", "sky"),
        ("down", "--a:0.50", "-0.250", "blue"),
        ("up", "--a:0.45", "+0.125", "why"),
        ("up", "--a:1.00", "+0.625", "blue"),
    ]


def test_an_element_for_notebooks():
    shown = explanation()._repr_html_()
    assert shown.startswith('<div class="headrank-explanation">')
    assert "<!DOCTYPE" not in shown
    assert "<style>" in shown
    assert "<style>" not in render_html(explanation().to_dict(), page=False, style=False)


def test_the_terminal_to_the_byte():
    assert explanation().ansi() == (
        "\x1b[1mQuery:\x1b[0m \x1b[38;5;16;48;5;117mwhy\x1b[0m \x1b[38;5;16;48;5;39mblue\x1b[0m\n\n"
        "\x1b[1m1. a\x1b[0m  0.75\n"
        "\x1b[38;5;16;48;5;39msky\x1b[0m \x1b[4;38;5;16;48;5;215mblue\x1b[0m\n"
    )


def test_hostile_texts_are_escaped():
    hostile = explanation(HOSTILE, query=HOSTILE)
    for page in (hostile.html(), hostile._repr_html_()):
        assert "<script" not in page
        assert "&lt;s" in page
        assert not {"\x00", "\x1b", "\x9b"} & set(page)
        page.encode("utf-8")
    shown = hostile.ansi()
    shown.encode("utf-8")
    codes = {"\x1b[0m", "\x1b[1m"} | {f"\x1b[{line}38;5;16;48;5;{n}m" for line in ("", "4;") for n in (*UP, *DOWN)}
    assert shown.count("\x1b") == sum(shown.count(code) for code in codes)
    assert "\x1b[31m" not in shown
    assert "\x9b" not in shown
    assert "␛[31mred␀" in re.sub(r"\x1b\[[\d;]*m", "", shown)


def test_hostile_ids_are_escaped():
    one = explanation()
    hostile = Explanation("q", (PassageExplanation("<b>\x1b", 0, 1, 1.0, "x", ()),), "score", "<i>")
    assert "<b>\x1b" not in hostile.html()
    assert "&lt;b&gt;␛" in hostile.html()
    assert "&lt;i&gt;" in hostile.html()
    assert one.html() != hostile.html()


def test_rest_cut_and_heads_are_shown():
    page = explanation(
        "sky blue and more", rest=-0.5, truncated=True, other_rows=0.25, heads={"21-8": (0.5, -0.25), "3-1": (0.5, 0.0)}
    ).html()
    found = Elements(page).found
    assert [text for tag, one, text in found if one.get("class") == "cut"] == [" and more"] * 3  # with two heads
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", "", page[page.index("<ol>") :]))
    parts = (
        "tokens +0.750, rest -0.500",
        "not read",
        "other tokens of the prompt +0.250",
        "21-8: +0.250",
        "3-1: +0.500",
    )
    for part in parts:
        assert part in text
    assert " and the rest" in page
    shown = explanation("sky blue and more", rest=-0.5, truncated=True, heads={"21-8": (0.5, -0.25)}).ansi()
    assert "rest -0.5" in shown
    assert "(cut)" in shown
    assert "\x1b[2m and more\x1b[0m" in shown
    assert "21-8 +0.25" in shown


@pytest.mark.parametrize(
    ("kind", "rest", "said"),
    [
        ("score", 0.0, "tokens add up to its score"),
        ("score", 1.0, "tokens and the rest add up to its score"),
        ("score_shares", 0.0, "the contributions add up to the passage's score"),
        ("attention", 0.0, "The score is the mass's logarithm"),
        ("attention", 1.0, "The score without the rest is the mass's logarithm"),
    ],
)
def test_what_contributions_add_up_to_is_said(kind, rest, said):
    passage = PassageExplanation("a", 0, 1, 1.0, "x", tokens((0, 1, 0.5)), rest=rest)
    assert said in html.unescape(Explanation("q", (passage,), kind, "none").html())


def test_of_many_heads_the_strongest_are_rendered():
    heads = {f"0-{i}": (i / 100, 0.0) for i in range(100)}
    page = explanation(heads=heads).html()
    assert f"the strongest {MOST_HEADS} of 100" in page
    assert "0-99: " in page
    assert "0-50: " not in page
    assert len(explanation(heads=heads).to_dict()["passages"][0]["heads"]) == 100


def test_what_turns_the_direction_of_text_is_taken_out():
    hostile = Explanation("q\u202eq", (PassageExplanation("i\n\u2066d", 0, 1, 1.0, "x\u202ex", ()),), "score", "none")
    for shown in (hostile.ansi(), hostile.html()):
        assert not {"\u202e", "\u2066"} & set(shown)
    assert "1. i\u240a\ufffdd" in hostile.ansi()


def test_segments_cover_the_text():
    text = "  sky blue. more"
    parts = [one.to_dict() for one in tokens((2, 2, 0.5), (2, 5, 1.0), (5, 11, -0.001))]
    segments = split_segments(text, parts, 1.0, truncated=True)
    assert [(one.text, one.contribution, one.unread) for one in segments] == [
        ("  ", None, False), (OUTSIDE, 0.5, False), ("sky", 1.0, False), (" ", None, False), ("blue.", -0.001, False),
        (" more", None, True),
    ]  # fmt: skip
    assert [one.strength for one in segments] == [0, pytest.approx(0.5**0.5), 1, 0, 0, 0]
    assert "".join(one.text for one in segments if one.text != OUTSIDE) == text
    assert [one.strength for one in split_segments(text, parts, 0.0)] == [0] * 6
    assert split_segments("", [], 0.0) == []


def test_control_characters_become_visible():
    assert visible("a\tb\nc\r\x1b\x7f\x85\ud83d\ude00\ud83d") == "a\tb\nc␍␛␡\ufffd😀\ufffd"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.01234, "+0.0123"), (-1.0, "-1.00"), (1e-5, "+1.00e-05"), (123456.0, "+1.23e+05")],
)
def test_numbers(value, text):
    assert signed(value) == text


def test_the_plain_data():
    content = explanation(heads={"21-8": (0.5, -0.25)}).to_dict()
    assert content["passages"][0]["contribution"] == 0.75
    assert content["passages"][0]["heads"] == {"21-8": [0.5, -0.25]}
    assert content["query_tokens"] == [
        {"start": 0, "end": 3, "contribution": 0.125}, {"start": 3, "end": 8, "contribution": 0.625},
    ]  # fmt: skip
    assert Explanation("q", (), "score", "none").to_dict()["query_tokens"] == []
