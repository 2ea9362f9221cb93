"""The data of the stages: candidate lists and first-stage runs, loaded once per process."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrank.data import BenchmarkData, Collection, DataSettings, load_data
from headrank.data.labelled import LabelledList, distinct_ids

__all__ = ["BenchmarkData", "DataLoader", "LabelledData"]


@dataclass(frozen=True, slots=True)
class LabelledData:
    """The labelled lists of one or more collections, for selection and alignment.

    lists: the lists of all parts, in order, with distinct query ids (see `distinct_ids`); each has the relevance
        threshold of its data set.
    """

    parts: tuple[BenchmarkData, ...]
    lists: tuple[LabelledList, ...]

    @property
    def name(self) -> str:
        """The names of the parts."""
        return " + ".join(part.settings.name for part in self.parts)

    @property
    def thresholds(self) -> dict[str, int]:
        """The name of each part, with the lowest grade that counts as relevant."""
        return {part.settings.name: part.settings.relevance_threshold for part in self.parts}


class DataLoader:
    """Loads benchmarks and labelled lists by their settings and keeps them."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._loaded: dict[DataSettings, BenchmarkData] = {}
        self._collections: dict[tuple[str, bool, str | None], Collection] = {}

    def load(self, settings: DataSettings) -> BenchmarkData:
        """The data of these settings. Raises errors of the data package: missing files, unknown ids, bad lines."""
        if settings not in self._loaded:
            source = (settings.collection, settings.title, settings.qrels)
            data = load_data(settings, self.cache, self._collections.get(source))
            self._loaded[settings], self._collections[source] = data, data.collection
        return self._loaded[settings]

    def labelled(self, settings: Sequence[DataSettings]) -> LabelledData:
        """The labelled lists of all these settings. Raises `ConfigError` if two of them hold the same query."""
        parts = tuple(self.load(one) for one in settings)
        return LabelledData(
            parts, distinct_ids([(part.settings.name, one) for part in parts for one in part.labelled()])
        )
