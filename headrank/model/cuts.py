"""Counts of passages and queries that were cut because they exceed a prompt's limit of tokens or words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class CutCounts:
    """Counts of cut passages and queries over all lists of a job."""

    lists: int = 0
    passages: int = 0
    cut_lists: int = 0  # lists with a cut passage
    cut_passages: int = 0
    cut_queries: int = 0

    def add(self, passages: int, cut_passages: int, *, query_cut: bool = False) -> None:
        """Count one list of `passages` passages."""
        self.lists += 1
        self.passages += passages
        self.cut_lists += cut_passages > 0
        self.cut_passages += cut_passages
        self.cut_queries += query_cut

    def __bool__(self) -> bool:
        return self.cut_passages > 0 or self.cut_queries > 0

    @property
    def facts(self) -> dict[str, int]:
        """The counts by name, as `cuts_text` reads them."""
        names = ("passages", "cut_lists", "cut_passages", "cut_queries")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return cuts_text({"lists": self.lists, **self.facts})


def cuts_text(facts: Mapping[str, Any]) -> str:
    """`12 of 480 passages in 7 of 24 lists, 0 of 24 queries`."""
    lists = facts["lists"]
    passages = f"{facts['cut_passages']} of {facts['passages']} passages in {facts['cut_lists']} of {lists} lists"
    return f"{passages}, {facts['cut_queries']} of {lists} queries"
