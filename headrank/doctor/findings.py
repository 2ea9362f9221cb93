"""Define the doctor's findings, one per requirement of an experiment, and format them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """The state of a requirement."""

    OK = "ok"
    PENDING = "pending"  # missing, but the first run creates it from available files; takes time and disk space
    NOTE = "note"  # information only
    MISSING = "missing"  # needs an installation, a download, a file or another machine


@dataclass(frozen=True, slots=True)
class Finding:
    """One requirement, its state, and how to fix it if it is missing."""

    part: str  # packages | machine | memory | model | data | disk
    name: str
    state: State
    detail: str
    remedy: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values for JSON."""
        return asdict(self)


def exit_code(findings: Sequence[Finding]) -> int:
    """Return the doctor's exit code: 1 if something is missing, else 0 (available, or created by the first run)."""
    return int(any(finding.state == State.MISSING for finding in findings))


def as_text(findings: Sequence[Finding]) -> str:
    """Format the findings as lines grouped by part, with the number of missing requirements in the last line."""
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
    """Format a number of bytes as text: in GiB from half a GiB, else in MiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"
