"""A toy collection of judged queries, and what the tests of training data ask of it."""

from types import SimpleNamespace

from headrank.data import DataSettings, GeneratedQueries, NegativeShares
from headrank.data.datamodule import ListwiseDataModule
from headrank.data.labelled import label
from headrank.ranking import CandidateList, Passage, Query

DOCS = 6  # candidates a list

BEST = NegativeShares(bm25=1.0, middle=0.0, random=0.0)
MOON = {
    "a": "Tides follow the moon. So it is said by all.",
    "b": "The moon has no tides of water.",
    "c": "Follow the road by the moon.",
    "d": "Bread needs yeast and time to rise.",
    "e": "TIDES follow  the moon. so it is said by all.",
    "f": " ",
    "g": "Short.",
}
SENTENCE = GeneratedQueries(queries=2, unit="sentence", min_words=4, max_words=4, min_passage_words=6, negatives=BEST)


def candidates(query_id, *, docs=DOCS, text=None, size=10):
    passages = tuple(Passage(f"{query_id}-d{i}", "x" * size) for i in range(docs))
    return CandidateList(Query(query_id, f"what is {query_id}" if text is None else text), passages)


def labelled(n, *, sizes=(10,)):
    """Lists q00, q01, ... of two grades; `sizes` are the passages' lengths, in turn."""
    names = [f"q{i:02}" for i in range(n)]
    return [label(candidates(q, size=sizes[i % len(sizes)]), {f"{q}-d1": 2}) for i, q in enumerate(names)]


def ready(sources, *, shard=None, **options):
    """A data module after setup, at the shard of a trainer if one is given."""
    sources = [sources] if isinstance(sources, DataSettings) else sources
    data = ListwiseDataModule(sources, **{"validation_queries": 3} | options)
    if shard is not None:
        data.trainer = SimpleNamespace(current_epoch=shard.epoch, global_rank=shard.rank, world_size=shard.world_size)
    data.setup("fit")
    return data


def ids(lists):
    return [one.item.query.id for one in lists]


def seen(loader):
    """Query id -> context order, over one pass; every id once."""
    lists = [one for batch in loader for one in batch]
    assert len(set(ids(lists))) == len(lists)
    return {one.item.query.id: one.order for one in lists}
