"""The reranker for use from Python: a model with its heads, a query, passages, a ranking.

from headrank import Reranker
reranker = Reranker.from_pretrained("outputs/nano/checkpoint")
for result in reranker.rank("why is the sky blue?", passages, top_k=5):
    print(result.rank, result.id, result.score)
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from headrank.files import atomic_folder
from headrank.heads import HeadsFile
from headrank.model import (
    EMBEDDED_MODEL,
    Backbone,
    BackboneSettings,
    CutCounts,
    Head,
    PromptSettings,
    Scorer,
    ScorerSettings,
    StateSettings,
    all_heads,
    count_layers,
    load_backbone,
    save_backbone,
)
from headrank.model.head_scores import check_heads
from headrank.ranking import CandidateList, Passage, Query

logger = logging.getLogger(__name__)

HEADS_FILE = "heads.json"

Passages: TypeAlias = Sequence[str] | Sequence[Passage] | Mapping[str, str]
"""Texts (their ids are their positions "0", "1", ...), passages with ids, or a mapping id -> text."""


@dataclass(frozen=True, slots=True)
class RerankResult:
    """One passage of a ranking: its id, its score (higher is better), its rank (from 1) and its text.

    `truncated`: the passage is longer than `prompt.max_passage_tokens`, and only its beginning was read.
    """

    id: str
    score: float
    rank: int
    text: str
    truncated: bool = False


class Reranker:
    """Ranks passages by the attention that chosen heads pay them from the query."""

    def __init__(self, backbone: Backbone, heads: HeadsFile, states: StateSettings | None = None) -> None:
        self.backbone = backbone
        self.heads = heads
        self._warned = False
        self._scorer = self._make_scorer(states)

    def _make_scorer(self, states: StateSettings | None) -> Scorer:
        h = self.heads
        return Scorer(self.backbone, h.heads, weights=h.weights, prompt=h.prompt, settings=h.scorer, states=states)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = EMBEDDED_MODEL,
        heads: str | Path | HeadsFile | Sequence[tuple[int, int]] | None = None,
        *,
        revision: str | None = None,
        dtype: str = "float32",
        device: str = "auto",
        kernel: str = "sdpa",
        scorer: ScorerSettings | None = None,
        prompt: PromptSettings | None = None,
        states: str | Path | StateSettings | None = None,
    ) -> "Reranker":
        """Open a model and its heads, only as deep as the heads reach.

        model: a folder that `save` wrote (it holds its heads), any local model folder, a hub id, or the embedded
            model's name.
        heads: a `heads.json`, (layer, head) pairs, `"all"` for every head of every layer (ICR's way), or None for the
            heads in the model's own folder.
        scorer, prompt: replace what the heads file says, or the defaults where heads come as pairs.
        states: a folder that `index` filled, for prompts in blocks.

        Raises `ValueError` where there are no heads to be had or they do not fit the model, and what loading raises.
        """
        settings = BackboneSettings(str(model), revision, dtype, device, kernel)
        file = _find_heads(settings, heads)
        file = replace(file, scorer=scorer or file.scorer, prompt=prompt or file.prompt)
        if isinstance(states, str | Path):
            states = StateSettings(str(states), keep=False)
        return cls(load_backbone(settings, depth=file.depth), file, states)

    def index(self, passages: Passages, folder: str | Path, *, dtype: str | None = None) -> int:
        """Compute the states of passages once and keep them in a folder; how many were new to it.

        `rank` reads them from then on instead of computing them, this reranker and any that is opened with
        `from_pretrained(..., states=folder)`; passages that are not there are computed as ever and not kept. dtype:
        float32, float16, bfloat16 or int8, None for the model's own; `StateSettings(folder, dtype)` opens another one.

        Raises `ValueError` where the prompt is not in blocks (`PromptSettings(attention="blocks")`), and for a model of
        which no states are kept.
        """
        self._scorer = self._make_scorer(StateSettings(str(folder), dtype, keep=False))
        states = self._scorer.reader.states
        assert states is not None
        return states.add(passage.text for passage in _passages(passages))

    def rank(self, query: str, passages: Passages, top_k: int | None = None) -> list[RerankResult]:
        """The passages by score, best first, at most `top_k`; equal scores keep the order given.

        Raises `ValueError` on repeated ids. No passages give an empty list.
        """
        return self.rank_many([(query, passages)], top_k=top_k)[0]

    def rank_many(self, lists: Sequence[tuple[str, Passages]], top_k: int | None = None) -> list[list[RerankResult]]:
        """`rank` for several queries, each with its own passages, in batches of `scorer.batch_size`.

        Queries over the same passages in the same order are read together: the passages go through the model once.
        """
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k is {top_k}, wanted at least 1 or None")
        candidates = [
            CandidateList(Query(str(number), query), _passages(passages))
            for number, (query, passages) in enumerate(lists)
        ]
        results, cuts = [], CutCounts()
        for item, scored in zip(candidates, self._scorer.score(candidates), strict=True):
            cuts.add(len(item), len(scored.cut), query_cut=scored.query_cut)
            texts = {passage.id: passage.text for passage in item.passages}
            ranked = scored.ranking.results[:top_k]
            results.append([RerankResult(r.id, r.score, r.rank, texts[r.id], r.id in scored.cut) for r in ranked])
        self._warn_of(cuts)
        return results

    def _warn_of(self, cuts: CutCounts) -> None:
        """Warn of the first texts that are cut; results mark the passages of every call."""
        if self._warned or not (cuts.cut_passages or cuts.cut_queries):
            return
        self._warned = True
        prompt = self.heads.prompt
        logger.warning(
            "cut %s: passages end after %s tokens, queries after %s (prompt.max_passage_tokens, max_query_tokens). "
            "RerankResult.truncated marks the passages; later calls do not warn",
            *(cuts, prompt.max_passage_tokens, prompt.max_query_tokens),
        )

    def save(self, folder: str | Path) -> None:
        """Write the cut model, its tokenizer and its heads as one new folder, whole or not at all.

        `from_pretrained` opens it, and plain `AutoModel.from_pretrained` too. Raises `FileExistsError` where the folder
        is there already: files of two models would mix.
        """
        folder = Path(folder)
        if folder.exists():
            raise FileExistsError(f"{folder} is there already: remove it or choose another")
        with atomic_folder(folder) as scratch:
            save_backbone(self.backbone, scratch)
            self.heads.save(scratch / HEADS_FILE)


def _passages(passages: Passages) -> tuple[Passage, ...]:
    if isinstance(passages, str):
        raise ValueError("passages are one text; wanted a sequence of texts, passages, or a mapping of ids to texts")
    if isinstance(passages, Mapping):
        return tuple(Passage(str(key), text) for key, text in passages.items())
    return tuple(p if isinstance(p, Passage) else Passage(str(i), p) for i, p in enumerate(passages))


def _find_heads(
    settings: BackboneSettings, heads: str | Path | HeadsFile | Sequence[tuple[int, int]] | None
) -> HeadsFile:
    if isinstance(heads, HeadsFile):
        return heads
    if heads is None:
        own = Path(settings.model).expanduser() / HEADS_FILE
        if not own.is_file():
            raise ValueError(
                f"{settings.model} has no {HEADS_FILE}: give heads=, a heads.json of this model (the select stage of "
                "`python -m headrank.run` writes one), (layer, head) pairs, or 'all'"
            )
        return HeadsFile.load(own)
    if isinstance(heads, str | Path) and str(heads) != "all":
        return HeadsFile.load(Path(heads))
    layers, width = count_layers(settings)
    chosen = all_heads(layers, width) if isinstance(heads, str | Path) else tuple(Head(*pair) for pair in heads)
    check_heads(chosen, layers=layers, heads_per_layer=width)
    model = {"id": settings.model, "revision": settings.revision, "layers": layers, "heads_per_layer": width}
    return HeadsFile(model, chosen, (1.0,) * len(chosen), {"name": "given"}, PromptSettings(), ScorerSettings())
