"""What the doctor says: one finding for each thing that an experiment needs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Whether a thing is there."""

    THERE = "ok"
    MADE = "made"  # not there; the first run makes it of what is there, which takes time and disk
    NOTE = "note"  # nothing to have; something to know
    MISSING = "missing"  # has to come from elsewhere: installed, downloaded, placed, or another machine


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing, whether it is there, and what to do where it is not."""

    part: str  # packages | machine | memory | model | data | disk
    name: str
    state: State
    detail: str
    remedy: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def exit_code(findings: Sequence[Finding]) -> int:
    """0: all is there or made by the first run; 1: something is missing. (2, a bad configuration, has no findings.)"""
    return int(any(finding.state == State.MISSING for finding in findings))


def as_text(findings: Sequence[Finding]) -> str:
    """The findings as lines under their parts, and a last line that counts what is missing."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines: list[str] = []
    part = ""
    for finding in findings:
        if finding.part != part:
            part = finding.part
            lines += ["", part]
        lines.append(f"  {finding.state:<8} {finding.name:<{width}}  {finding.detail}")
        for number, line in enumerate((finding.remedy or "").splitlines()):
            lines.append(f"  {'':<8} {'':<{width}}  {'   ' if number else '-> '}{line}")
    missing = sum(finding.state == State.MISSING for finding in findings)
    return "\n".join([*lines[1:], "", f"missing: {missing}" if missing else "nothing is missing"])


def gib(size: int) -> str:
    """Bytes as text, in GiB from half of one on."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"
