"""The reranker: opens a model with its heads, ranks passages, stores passage states, saves."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from headrank.errors import ConfigError
from headrank.heads import HeadsFile, check_shape
from headrank.io.files import atomic_folder
from headrank.model import (
    EMBEDDED_MODEL,
    Backbone,
    BackboneSettings,
    CutCounts,
    PromptSettings,
    Scorer,
    ScorerSettings,
    StateSettings,
    load_backbone,
    save_backbone,
)
from headrank.model.loading.devices import check_device, check_kernel
from headrank.ranking import CandidateList
from headrank.reranker.documents import Document, Passages, candidate_list, read_documents, read_lists
from headrank.reranker.folder import complete_folder
from headrank.reranker.heads import fit_heads, read_heads
from headrank.reranker.options import Overrides, check_prompt, known_keywords, read_dtype
from headrank.reranker.results import RerankResult, make_results
from headrank.reranker.run_model import find_run_model
from headrank.reranker.values import expect_type, read_count

logger = logging.getLogger(__name__)


class Reranker:
    """Ranks passages by the attention that chosen heads pay them from the query."""

    def __init__(self, backbone: Backbone, heads: HeadsFile, states: StateSettings | None = None) -> None:
        name = backbone.settings.model
        check_shape(heads, layers=backbone.layers, heads_per_layer=backbone.heads_per_layer, name=name)
        self.backbone = backbone
        self.heads = heads
        self._warned = False
        self._scorer = self._make_scorer(states)

    def _make_scorer(self, states: StateSettings | None) -> Scorer:
        h = self.heads
        return Scorer(self.backbone, h.heads, weights=h.weights, prompt=h.prompt, settings=h.scorer, states=states)

    @classmethod
    @known_keywords
    def from_pretrained(
        cls,
        model: str | Path = EMBEDDED_MODEL,
        heads: str | Path | HeadsFile | Iterable[Any] | None = None,
        *,
        revision: str | None = None,
        dtype: str | torch.dtype = "float32",
        device: str | torch.device = "auto",
        kernel: str = "sdpa",
        scorer: ScorerSettings | None = None,
        prompt: PromptSettings | None = None,
        max_passage_tokens: int | None = None,
        max_query_tokens: int | None = None,
        instruction: str | None = None,
        batch_size: int | None = None,
        states: str | Path | StateSettings | None = None,
    ) -> "Reranker":
        """Load a model and its heads, up to the deepest head.

        Args:
            model: a run folder (its aligned checkpoint, or the model that its `heads.json` names), a folder that `save`
                wrote (it holds its heads), another local model folder, a hub id, or the name of the embedded model.
            heads: a `heads.json` or a folder that holds one, (layer, head) pairs, the same as text ("21-8",
                "21-8, 20-3" or a list of such texts), `"all"` for every head of every layer (as in ICR), or None for
                the heads in the model's folder.
            revision: of a hub id; a commit hash pins the model. None: the hub's main branch.
            dtype: float32, bfloat16 or float16, as text or as `torch.dtype`.
            device: auto (cuda if there is one, else cpu), cpu, cuda, cuda:1, ...
            kernel: sdpa, flash_attention_2 or flash_attention_3.
            scorer, prompt: replace the settings of the heads file, or the defaults if heads are pairs.
            max_passage_tokens, max_query_tokens, instruction: replace these fields of the prompt settings alone.
            batch_size: replaces this field of the scorer settings, the number of lists per forward pass.
            states: a folder that `index` filled, for prompts in blocks.

        Warns if the heads were chosen in another model.

        Raises:
            ModelError: the heads do not fit the model, or it cannot be used.
            ConfigError: no heads are given, a setting is wrong, or two arguments contradict each other.
            TypeError: an unknown argument, or one of another type.
            FileNotFoundError: a file or folder does not exist.
            OSError: the model cannot be downloaded.

        The arguments are checked before the model is looked for, and everything except missing weights before weights
        are read.
        """
        expect_type(model, (str, Path), "model")
        overrides = Overrides(
            prompt,
            scorer,
            max_passage_tokens=max_passage_tokens,
            max_query_tokens=max_query_tokens,
            instruction=instruction,
            batch_size=batch_size,
        )
        run = find_run_model(str(model), revision)
        settings = BackboneSettings(run.model, run.revision, read_dtype(dtype), str(device), kernel)
        check_device(settings.device)
        check_kernel(settings.kernel)
        if isinstance(states, str | Path):
            if not Path(states).expanduser().is_dir():
                raise FileNotFoundError(f"states is {str(states)!r}, expected a folder that `index` filled")
            states = StateSettings(str(states), keep=False)
        expect_type(states, (StateSettings, type(None)), "states")
        given, own = read_heads(settings.model, run.heads if heads is None else heads)
        found = overrides.apply_to_prompt(given.prompt if isinstance(given, HeadsFile) else PromptSettings())
        if states is not None and not found.in_blocks:
            raise ConfigError(
                "states are given, and prompt.attention is full; expected PromptSettings(attention='blocks')"
            )
        file = overrides.apply(fit_heads(settings, given, own=own))
        check_prompt(settings, file.prompt)
        return cls(load_backbone(settings, depth=file.depth), file, states)

    def index(self, passages: Passages, folder: str | Path, *, dtype: str | None = None) -> int:
        """Compute the states of passages and store them in a folder; returns the number of new ones.

        From then on `rank` reads them instead of computing them, in this reranker and in any loaded with
        `from_pretrained(..., states=folder)`. Other passages are computed and not stored.

        dtype: float32, float16, bfloat16 or int8; None: the model's. `StateSettings(folder, dtype)` opens a folder with
            another dtype than the model's.

        Raises `ValueError` if the prompt is not in blocks (`PromptSettings(attention="blocks")`), or if states of this
        model cannot be stored.
        """
        documents = read_documents(passages)
        self._scorer = self._make_scorer(StateSettings(str(folder), dtype, keep=False))
        states = self._scorer.reader.states
        assert states is not None
        return states.add(document.text for document in documents)

    def rank(self, query: str, passages: Passages, top_k: int | None = None) -> list[RerankResult]:
        """The passages by score, best first, at most `top_k`. Equal scores keep the given order.

        Args:
            query: the query's text.
            passages: texts, dicts, (id, text) pairs, a mapping of ids to texts, a data frame, or documents of other
                libraries; see `headrank.reranker.documents.read_documents`. They are in first-stage order, best first,
                if there is one.
            top_k: the number of results; None: all passages.

        Returns:
            The results; an empty list without passages.

        Raises:
            TypeError: the query, a passage or `top_k` has another type.
            ValueError: a repeated id, a passage without text, or `top_k` below 1.
        """
        documents = read_documents(passages)
        item = candidate_list(expect_type(query, str, "query"), documents)
        return self._rank([(item, documents)], read_count(top_k, "top_k"))[0]

    def rank_many(self, lists: Iterable[tuple[str, Passages]], top_k: int | None = None) -> list[list[RerankResult]]:
        """`rank` for several queries, each with its own passages, in batches of `scorer.batch_size`.

        Queries over the same passages in the same order share one forward pass over the passages.
        """
        return self._rank(list(read_lists(lists)), read_count(top_k, "top_k"))

    def _rank(
        self, lists: Sequence[tuple[CandidateList, tuple[Document, ...]]], top_k: int | None
    ) -> list[list[RerankResult]]:
        results, cuts = [], CutCounts()
        scored_lists = self._scorer.score([item for item, _ in lists])
        for (item, documents), scored in zip(lists, scored_lists, strict=True):
            cuts.add(len(item), len(scored.cut), query_cut=scored.query_cut)
            results.append(make_results(scored, documents)[:top_k])
        self._warn_of(cuts)
        return results

    def _warn_of(self, cuts: CutCounts) -> None:
        """Warn once of cut texts; the results of every call mark the cut passages."""
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
        """Write the cut model, its tokenizer, its heads and a model card as a new folder, atomically.

        `from_pretrained` and `AutoModel.from_pretrained` load it. The model has no head: `CrossEncoder` of
        sentence-transformers refuses it, and `AutoModelFor...` classes add random weights.

        Raises `FileExistsError` if the folder exists.
        """
        folder = Path(folder)
        if folder.exists():
            raise FileExistsError(f"{folder} exists: remove it or choose another folder")
        with atomic_folder(folder) as scratch:
            save_backbone(self.backbone, scratch)
            complete_folder(scratch, self.heads)
