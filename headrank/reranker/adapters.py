"""What the adapters to other libraries (`headrank.integrations`) share."""

import hashlib
import itertools
import json
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

from headrank.reranker.reranker import Reranker
from headrank.reranker.results import RerankResult
from headrank.reranker.values import expect_type, shown


def open_reranker(model: Reranker | str | Path, **options: Any) -> Reranker:
    """Return the given reranker, or load one.

    Args:
        model: a reranker, or what `Reranker.from_pretrained` loads.
        options: the other arguments of `Reranker.from_pretrained`.

    Raises:
        TypeError: options are given with a reranker, or `model` has another type.
        The errors of `Reranker.from_pretrained`.
    """
    if isinstance(model, Reranker):
        if options:
            raise TypeError(f"a Reranker is given with {', '.join(options)}; expected options only with a model's name")
        return model
    return Reranker.from_pretrained(expect_type(model, (Reranker, str, Path), "model"), **options)


def relevance(result: RerankResult, score_field: str | None = None) -> dict[str, float]:
    """The metadata that a ranking adds to a passage: `relevance_probability`, if the result has one, and its score.

    score_field: the name of the score; None: the score is stored elsewhere.
    """
    fields = {} if score_field is None else {score_field: result.score}
    return fields if result.probability is None else fields | {"relevance_probability": result.probability}


def reranker_key(reranker: Reranker) -> str:
    """A hash of what scores depend on (model, dtype, heads, prompt, scorer), for caches: 12 hexadecimal digits."""
    parts = [str(reranker.dtype), reranker.heads.to_dict()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def score_pairs(reranker: Reranker, pairs: Iterable[Any], query_ids: Iterable[Hashable] | None = None) -> list[float]:
    """Score (query, passage) pairs. Consecutive pairs of one query are one candidate list.

    A score depends on the other passages of its list, so scores of different lists are not comparable, and one list
    in two parts has other scores.

    Args:
        reranker: ranks the lists.
        pairs: pairs of texts, sorted by query.
        query_ids: the query's id of each pair; None: the queries' texts.

    Returns:
        One score per pair, in the given order.

    Raises:
        TypeError: an item is not a pair of texts; the message names it.
        ValueError: the numbers of pairs and ids differ.
    """
    pairs = list(pairs)
    for number, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise TypeError(f"pairs[{number}] is {shown(pair)}; expected a pair of texts, (query, passage)")
    keyed = zip([query for query, _ in pairs] if query_ids is None else query_ids, pairs, strict=True)
    groups = [[pair for _, pair in group] for _, group in itertools.groupby(keyed, key=lambda item: item[0])]
    scores: list[float] = []
    for results in reranker.rank_many((group[0][0], [text for _, text in group]) for group in groups):
        scores += [result.score for result in sorted(results, key=lambda result: result.index)]
    return scores
