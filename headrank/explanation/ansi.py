"""Renders an explanation for a terminal, with ANSI colours that can be read on light and dark grounds."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrank.explanation.segments import Segment, split_segments, strongest, strongest_heads, visible

RESET = "\x1b[0m"
BOLD, FAINT = "\x1b[1m", "\x1b[2m"
UP = (195, 117, 39)  # of the 256 colours; backgrounds from weak to strong
DOWN = (223, 215, 208)


def render_ansi(content: Mapping[str, Any]) -> str:
    """Render the plain data of an explanation (`Explanation.to_dict`); ends with a newline.

    Tokens that raise the score are on blue, those that lower it underlined on orange. Of many heads the strongest are
    shown, see `strongest_heads`.
    """
    passages = content["passages"]
    query_peak = strongest(token["contribution"] for token in content["query_tokens"])
    peak = strongest(token["contribution"] for one in passages for token in one["tokens"])
    head_peak = strongest(v for one in passages for values in one.get("heads", {}).values() for v in values)
    query = split_segments(content["query"], content["query_tokens"], query_peak, truncated=content["query_truncated"])
    lines = [f"{BOLD}Query:{RESET} {_coloured(query)}", ""]
    for one in passages:
        rest = f" (tokens {one['contribution']:+.4g}, rest {one['rest']:+.4g})" if one["rest"] else ""
        cut = " (cut)" if one["truncated"] else ""
        lines.append(f"{BOLD}{one['rank']}. {_one_line(one['id'])}{RESET}  {one['score']:.4g}{rest}{cut}")
        lines.append(_coloured(split_segments(one["text"], one["tokens"], peak, truncated=one["truncated"])))
        for name, values in strongest_heads(one.get("heads", {})).items():
            segments = split_segments(
                one["text"], one["tokens"], head_peak, truncated=one["truncated"], contributions=values
            )
            lines.append(f"{FAINT}{name} {sum(values):+.4g}{RESET} {_coloured(segments)}")
        lines.append("")
    return "\n".join(lines)


def _one_line(value: object) -> str:
    return visible(str(value)).replace("\n", "\u240a")


def _coloured(segments: Sequence[Segment]) -> str:
    return "".join(_paint(segment) for segment in segments)


def _paint(segment: Segment) -> str:
    if segment.unread:
        return f"{FAINT}{segment.text}{RESET}"
    if not segment.strength or segment.contribution is None:
        return segment.text
    level = min(2, int(segment.strength * 3))
    if segment.contribution > 0:
        return f"\x1b[38;5;16;48;5;{UP[level]}m{segment.text}{RESET}"
    return f"\x1b[4;38;5;16;48;5;{DOWN[level]}m{segment.text}{RESET}"
