"""Renders an explanation as HTML, without scripts or external files. It follows the reader's light or dark scheme."""

import functools
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from headrank.explanation.segments import split_segments, strongest, strongest_heads, visible

if TYPE_CHECKING:
    from jinja2 import Template

SUMS = {
    "score": "The contributions of a passage's tokens{rest} add up to its score.",
    "score_shares": (
        "The score of each head is spread over the tokens in proportion to their attention; the contributions{rest} "
        "add up to the passage's score."
    ),
    "attention": (
        "The contributions of a passage's tokens are parts of its attention mass. The score{rest} is the mass's "
        "logarithm."
    ),
}
"""For each value of `Explanation.adds_up_to` a sentence for the reader."""


def render_html(content: Mapping[str, Any], *, page: bool = True, style: bool = True) -> str:
    """Render the plain data of an explanation.

    Args:
        content: what `Explanation.to_dict` returns.
        page: whether a whole page is returned, or an element to put into a page.
        style: whether the element holds its style sheet; false for all but the first of a page.
    """
    passages = content["passages"]
    by_head = strongest(value for one in passages for values in one.get("heads", {}).values() for value in values)
    peaks = {
        "passage": strongest(token["contribution"] for one in passages for token in one["tokens"]),
        "query": strongest(token["contribution"] for one in [content, *passages] for token in one["query_tokens"]),
        "head": by_head,
    }
    rest = " without the rest" if content["adds_up_to"] == "attention" else " and the rest"
    return _template().render(
        content=content,
        caption=SUMS[content["adds_up_to"]].format(rest=rest if any(one["rest"] for one in passages) else ""),
        page=page,
        style=style,
        peaks=peaks,
        segments=split_segments,
        strongest_heads=strongest_heads,
        number=signed,
        visible=lambda value: visible(str(value)),
    )


def signed(value: float) -> str:
    """A contribution with its sign and three significant digits: +0.0123."""
    if value == 0:
        return "0"
    return f"{value:+.2e}" if abs(value) < 1e-3 or abs(value) >= 1e4 else f"{value:+#.3g}"


@functools.cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined  # late: plain data needs no templates

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    source = resources.files("headrank.explanation").joinpath("explanation.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source)
