"""The compared rerankers, each as a call from texts to rankings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.benchmarks.eager import eager_scores
from experiments.benchmarks.models import Shared, make_lists
from experiments.benchmarks.profiles import MINILM, PASSAGE_TOKENS, Profile
from headrank.baselines import CrossEncoderReranker, Generative, ListReranker, Qwen3Reranker
from headrank.baselines.generative import GenerativeReranker
from headrank.baselines.generators import TransformersGenerator
from headrank.baselines.qwen3_reranker import YesNoReranker
from headrank.model import (
    Backbone,
    BackboneSettings,
    Head,
    PromptBuilder,
    PromptSettings,
    Scorer,
    ScorerSettings,
    StateSettings,
    passage_scores,
    reading_flops,
)
from headrank.model.attention import ATTENTION_NAME
from headrank.ranking import CandidateList, Ranking

OURS, FULL, EAGER, AGAIN = "ours", "ours, every layer", "eager recipe", "eager recipe, passages read again"
FRUGAL = "eager recipe, a layer's matrices at a time"
GENERATIVE, POINTWISE, MINI = "generative, windows of 20", "pointwise, Qwen3-Reranker's way", "MiniLM cross-encoder"


@dataclass(frozen=True)
class Work:
    """The result and the cost of a call."""

    rankings: tuple[Ranking, ...]
    tokens: int  # tokens read and generated
    flops: int  # by `headrank.model.cost`; for other systems only the matrix products of their layers
    masses: tuple[
        dict[str, float], ...
    ] = ()  # per list, passage id -> the query's attention mass, for systems that compute it


Call = Callable[[], Work]


def scorer_call(
    shared: Shared,
    backbone: Backbone,
    heads: Sequence[Head],
    lists: Sequence[CandidateList],
    *,
    settings: ScorerSettings | None = None,
    prompt: PromptSettings | None = None,
    states: StateSettings | None = None,
) -> Call:
    """Make a call of HeadRank with its scorer that reads all candidate lists in one pass.

    Args:
        shared: the model that the systems share.
        backbone: its first layers.
        heads: the heads to score with.
        lists: the candidate lists.
        settings: the scorer; None: the defaults, with no limit of tokens per pass.
        prompt: the prompt; None: the defaults.
        states: the store of passage states; None: states are not stored.
    """
    scorer = Scorer(
        backbone, heads, prompt=prompt, settings=settings or ScorerSettings(tokens_per_batch=10**9), states=states
    )

    def call() -> Work:
        with shared.attention(ATTENTION_NAME):
            scored = scorer.score(lists)
        contexts = [s.context for s in scored]
        return Work(
            tuple(s.ranking for s in scored),
            sum(s.tokens for s in scored),
            sum(s.flops for s in scored),
            tuple(dict(zip(c.passage_ids, c.masses or (), strict=True)) for c in contexts),
        )

    return call


def prepare(shared: Shared, profile: Profile) -> None:
    """Make a short warm-up call, because the first call of a process is slow."""
    scorer_call(shared, shared.backbone(profile.depth), profile.heads(), make_lists(shared.whole.tokenizer, 1, 1))()


def eager_call(
    shared: Shared,
    heads: Sequence[Head],
    lists: Sequence[CandidateList],
    *,
    again: bool = False,
    frugal: bool = False,
    prompt: PromptSettings | None = None,
) -> Call:
    """Make a call of the eager recipe, list by list, with the scorer's calibration.

    See `eager_scores` for `again` and `frugal`.
    """
    builder, shape, settings = PromptBuilder(shared.whole.tokenizer, prompt), shared.shape, ScorerSettings()

    def call() -> Work:
        rankings, masses, tokens, flops = [], [], 0, 0
        with shared.attention("eager"):
            for item in lists:
                built = builder.build(item.query.text, [p.text for p in item.passages], with_null=True)
                scores = eager_scores(shared.decoder, built, heads, again=again, frugal=frugal)
                z = passage_scores(scores, settings).tolist()
                rankings.append(Ranking.from_scores(item.query.id, item.passage_ids, z))
                masses.append(dict(zip(item.passage_ids, scores.query.sum(0).tolist(), strict=True)))
                tokens += len(built) + again * len(built.prefix)
                # Complete layers, without what the recipe computes above the diagonal or twice.
                flops += reading_flops(shape, built, heads, depth=shape.layers).total
        return Work(tuple(rankings), tokens, flops, tuple(masses))

    return call


def reranker_call(shared: Shared, reranker: ListReranker, lists: Sequence[CandidateList]) -> Call:
    """Make a call of a baseline with the complete model."""
    parameters = sum(shared.shape.layer_parameters)

    def call() -> Work:
        with shared.attention("sdpa"):
            output = reranker.rerank(lists)
        tokens = output.facts["tokens"] + output.facts.get("generated_tokens", 0)
        return Work(output.rankings, tokens, 2 * parameters * tokens)

    return call


def generative(shared: Shared, lists: int) -> ListReranker:
    """Make a listwise generative reranker that reads `lists` candidate lists at once.

    With random weights every reply reaches its limit: the length of a complete answer plus 64 tokens.
    """
    settings = Generative(passage_cut="tokens", passage_limit=PASSAGE_TOKENS, batch_size=lists)
    return GenerativeReranker(TransformersGenerator(shared.whole), settings)


def pointwise(shared: Shared) -> ListReranker:
    """Make a reranker that reads one yes-or-no prompt per passage."""
    return YesNoReranker(shared.whole, Qwen3Reranker(model=None))


def cross_encoder_call(profile: Profile, lists: Sequence[CandidateList]) -> Call:
    """Make a call of a cross-encoder of MiniLM-L6's shape with random weights."""
    model = BackboneSettings(
        random_weights=True, family="bert", overrides=MINILM, dtype=profile.dtype, device=profile.device
    )
    loaded = CrossEncoderReranker(model, max_length=MINILM["max_position_embeddings"]).load(model)
    encoder: Any = loaded.encoder
    parameters = sum(p.numel() for name, p in encoder.model.named_parameters() if "encoder.layer" in name)
    pairs = [(item.query.text, passage.text) for item in lists for passage in item.passages]
    tokens = sum(map(len, encoder.tokenizer([q for q, _ in pairs], [p for _, p in pairs])["input_ids"]))

    def call() -> Work:
        return Work(loaded.rerank(lists).rankings, tokens, 2 * parameters * tokens)

    return call
