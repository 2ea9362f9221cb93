"""The data a stage works on: a collection's candidate lists and first-stage run, loaded once per process."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrank.data import BenchmarkData, Collection, DataSettings, load_data
from headrank.ranking import CandidateList, Qrels

__all__ = ["BenchmarkData", "DataLoader", "LabelledData"]


@dataclass(frozen=True, slots=True)
class LabelledData:
    """The labelled lists of one or more collections, for selection and alignment."""

    parts: tuple[BenchmarkData, ...]

    @property
    def name(self) -> str:
        """The parts' names."""
        return " + ".join(part.settings.name for part in self.parts)

    @property
    def lists(self) -> list[CandidateList]:
        """All candidate lists, part by part."""
        return [item for part in self.parts for item in part.candidates.lists]

    @property
    def qrels(self) -> Qrels:
        """The judgements of the parts' queries."""
        return {q: part.collection.qrels[q] for part in self.parts for q in part.query_ids}


class DataLoader:
    """Loads benchmarks and training lists by their settings; what was loaded is kept."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._loaded: dict[DataSettings, BenchmarkData] = {}
        self._collections: dict[tuple[str, bool], Collection] = {}

    def load(self, settings: DataSettings) -> BenchmarkData:
        """The data of these settings. Raises what the data package raises: missing files, unknown ids, bad lines."""
        if settings not in self._loaded:
            source = (settings.collection, settings.title)
            data = load_data(settings, self.cache, self._collections.get(source))
            self._loaded[settings], self._collections[source] = data, data.collection
        return self._loaded[settings]

    def labelled(self, settings: Sequence[DataSettings]) -> LabelledData:
        """The labelled lists of all these settings. Raises `ValueError` where two parts have a query id in common."""
        parts = tuple(self.load(one) for one in settings)
        seen: dict[str, str] = {}
        for part in parts:
            for query_id in part.query_ids:
                other = seen.setdefault(query_id, part.settings.name)
                if other != part.settings.name:
                    raise ValueError(f"query id {query_id!r} stands in {other} and in {part.settings.name}")
        return LabelledData(parts)
