"""What the adapters to other libraries (`headrank.integrations`) share."""

import itertools
import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrank.io.artifacts import artifact_key
from headrank.model.identity import loaded_fingerprint
from headrank.reranker.reranker import Reranker
from headrank.reranker.results import RerankResult
from headrank.reranker.values import expect_type, shown

PROBABILITY = "relevance_probability"  # the metadata field or column of `RerankResult.probability`


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


def expect_neutral(options: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise `TypeError` for an option that has another name than these, or a value other than None and False."""
    for name, value in options.items():
        if name not in names or (value is not None and value is not False):
            raise TypeError(
                f"{name} is {shown(value)}; expected no other options than {', '.join(names)}, None or False"
            )


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `open_reranker` as plain values that can be serialized: paths become text, tuples lists.

    Raises `TypeError`, which names the option, if a value is another object.
    """
    plain = {}
    for name, value in options.items():
        try:
            plain[name] = json.loads(json.dumps(str(value) if isinstance(value, Path) else value))
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{name} is {shown(value)}, which cannot be serialized; expected text, numbers or lists of them (store "
                "settings in the model's heads.json)"
            ) from error
    return plain


def relevance(result: RerankResult, score_field: str | None = None) -> dict[str, float]:
    """The fields that a ranking adds to a passage: `relevance_probability`, if the result has one, and its score.

    score_field: the name of the score; None: the score is stored elsewhere.
    """
    fields = {} if score_field is None else {score_field: result.score}
    return fields if result.probability is None else fields | {PROBABILITY: result.probability}


def with_relevance(metadata: Mapping[str, Any], result: RerankResult, score_field: str | None = None) -> dict[str, Any]:
    """Return a passage's metadata with the fields of `relevance`, without the probability of an earlier ranking."""
    kept = {name: value for name, value in metadata.items() if name != PROBABILITY}
    return kept | relevance(result, score_field)


def reranker_key(reranker: Reranker) -> str:
    """A hash of what scores depend on, for caches: 12 hexadecimal digits.

    These are the loaded weights up to the deepest head, the chat template, the dtypes of the weights and of stored
    states, the heads and their weights, the prompt, and the scorer without its batch sizes.
    """
    heads, dtype = reranker.heads, str(reranker.dtype).removeprefix("torch.")
    stored = reranker.states and reranker.states.dtype
    return artifact_key(
        loaded_fingerprint(reranker.backbone.model, heads.depth),
        reranker.backbone.tokenizer.chat_template,
        [dtype, stored or dtype],
        [(head.layer, head.head) for head in heads.heads],
        heads.weights,
        heads.to_dict()["prompt"],
        heads.scorer.identity,
    )[:12]


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
