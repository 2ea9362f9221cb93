"""Load the data of the stages (benchmarks and labelled lists), each once per process."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrank.data import BenchmarkData, Collection, DataSettings, load_data
from headrank.data.labelled import LabelledList, distinct_ids

__all__ = ["BenchmarkData", "DataLoader", "LabelledData"]


@dataclass(frozen=True, slots=True)
class LabelledData:
    """The labelled lists of one or more data sets, for selection and alignment.

    parts: the data sets.
    lists: the labelled lists of all parts, in order, with distinct query ids (see `distinct_ids`); each has the
        relevance threshold of its data set.
    """

    parts: tuple[BenchmarkData, ...]
    lists: tuple[LabelledList, ...]

    @property
    def name(self) -> str:
        """The names of the data sets, joined by ` + `."""
        return " + ".join(part.settings.name for part in self.parts)

    @property
    def origins(self) -> tuple[int, ...]:
        """For each of `lists` the index of its data set in `parts`."""
        return tuple(i for i, part in enumerate(self.parts) for _ in part.candidates.lists)

    @property
    def unjudged(self) -> set[str]:
        """The ids of the queries without human judgements: generated ones, and those with a teacher's grades."""
        return {
            one.item.query.id
            for one, i in zip(self.lists, self.origins, strict=True)
            if not self.parts[i].settings.judged
        }

    @property
    def thresholds(self) -> dict[str, int]:
        """Name of the data set -> the lowest grade that counts as relevant."""
        return {part.settings.name: part.settings.relevance_threshold for part in self.parts}


class DataLoader:
    """Loads benchmarks and labelled lists, and keeps what it has loaded in memory.

    cache: the cache folder, for instance for BM25 indexes.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._loaded: dict[DataSettings, BenchmarkData] = {}
        self._collections: dict[tuple[str, bool, str | None, bool], Collection] = {}

    def load(self, settings: DataSettings) -> BenchmarkData:
        """Load a data set, or return it if these settings were loaded before.

        Raises the errors of `headrank.data`, such as missing files, unknown ids and malformed lines.
        """
        if settings not in self._loaded:
            source = (settings.collection, settings.title, settings.qrels, settings.label_source.judged)
            data = load_data(settings, self.cache, self._collections.get(source))
            self._loaded[settings] = data
            if settings.generated is None:
                self._collections[source] = data.collection
        return self._loaded[settings]

    def labelled(self, settings: Sequence[DataSettings]) -> LabelledData:
        """Load the labelled lists of several data sets.

        Raises `ConfigError` if two data sets contain the same query, and the errors of `load`.
        """
        parts = tuple(self.load(one) for one in settings)
        return LabelledData(
            parts, distinct_ids([(part.settings.name, one) for part in parts for one in part.labelled()])
        )
