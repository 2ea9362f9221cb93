"""Define `Reranker`, which opens a model with its heads, ranks passages, stores passage states and saves itself."""

import asyncio
import contextvars
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from headrank.errors import ConfigError
from headrank.explanation import Explanation
from headrank.heads import HeadsFile, check_shape
from headrank.io.files import atomic_folder
from headrank.model import (
    EMBEDDED_MODEL,
    Backbone,
    PromptSettings,
    Scorer,
    ScorerSettings,
    StateSettings,
    save_backbone,
)
from headrank.model.explain import explain_list
from headrank.model.placement import move_backbone
from headrank.ranking import CandidateList
from headrank.reranker.cut_warning import CutWarning
from headrank.reranker.documents import Document, Passages, candidate_list, read_documents, read_lists
from headrank.reranker.folder import complete_folder
from headrank.reranker.opening import open_model
from headrank.reranker.options import Overrides, dtype_name, known_keywords
from headrank.reranker.results import RerankResult, make_results
from headrank.reranker.turns import turns
from headrank.reranker.values import expect_type, parse_count

SHOWN = 8  # maximum number of heads in `repr`


class Reranker:
    """Ranks passages by the attention that chosen heads pay to them from the query.

    Threads may share a reranker, and rerankers may share a backbone: calls use the model one after another, and every
    call returns what it would return alone.
    """

    def __init__(self, backbone: Backbone, heads: HeadsFile, states: StateSettings | None = None) -> None:
        name = backbone.settings.model
        check_shape(heads, layers=backbone.layers, heads_per_layer=backbone.heads_per_layer, name=name)
        self.backbone = backbone
        self.heads = heads
        self._warn_of_cuts = CutWarning(heads.prompt)
        self._make_scorer(states)

    def _make_scorer(self, states: StateSettings | None) -> None:
        h = self.heads
        self._scorer = Scorer(
            self.backbone, h.heads, weights=h.weights, prompt=h.prompt, settings=h.scorer, states=states
        )
        self.states, self._made_for = states, (self.device, self.dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.backbone, self.heads, self.states)  # what the scorer holds cannot be pickled

    def __repr__(self) -> str:
        b, heads = self.backbone, self.heads.heads
        shown = ", ".join(f"{head.layer}-{head.head}" for head in heads[:SHOWN]) + ", ..." * (len(heads) > SHOWN)
        return (
            f"Reranker({b.settings.model!r}, {b.depth} of {b.layers} layers, {len(heads)} heads: {shown}, "
            f"{str(self.dtype).removeprefix('torch.')} on {self.device})"
        )

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.backbone.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.backbone.model.dtype

    def to(
        self, device: str | torch.device | torch.dtype | None = None, dtype: str | torch.dtype | None = None
    ) -> "Reranker":
        """Move the model, and every other reranker of the same backbone with it. Returns this reranker.

        Args:
            device: as in `from_pretrained`, or a `torch.dtype` as in PyTorch's `to`.
            dtype: as in `from_pretrained`. The model then scores as if loaded in this dtype, unless it was in a shorter
                one before.

        Raises `ConfigError` for an unavailable device or an unknown dtype.
        """
        if isinstance(device, torch.dtype):
            if dtype is not None:
                raise ConfigError(f"two dtypes are given, {device} and {dtype}; expected one")
            device, dtype = None, device
        with turns(self.backbone.model).lock:
            move_backbone(
                self.backbone,
                device=None if device is None else str(device),
                dtype=None if dtype is None else dtype_name(dtype),
            )
        return self

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
        fuse: bool | None = False,
    ) -> "Reranker":
        """Load a model's layers up to the deepest head, and its heads.

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
            fuse: whether to use the heads file's fitted fusion weight, for passages in first-stage order; None: if any.

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
        limits = {"max_passage_tokens": max_passage_tokens, "max_query_tokens": max_query_tokens}
        overrides = Overrides(prompt, scorer, **limits, instruction=instruction, batch_size=batch_size)
        loading = {"revision": revision, "dtype": dtype, "device": device, "kernel": kernel}
        return cls(*open_model(model, heads, overrides, **loading, states=states, fuse=fuse))

    def index(self, passages: Passages, folder: str | Path, *, dtype: str | None = None) -> int:
        """Compute the key and value states of passages and store them in a folder; return the number of new passages.

        This reranker, and any loaded with `from_pretrained(..., states=folder)`, then reads the stored states. `rank`
        computes those of other passages and does not store them.

        dtype: float32, float16, bfloat16 or int8; None: the model's. To open a folder with another dtype than the
            model's, give `states=StateSettings(folder, dtype)`.

        Raises `ValueError` if the prompt is not in blocks (`PromptSettings(attention="blocks")`), or if states of this
        model cannot be stored.
        """
        documents = read_documents(passages)
        with turns(self.backbone.model).lock:
            self._make_scorer(StateSettings(str(folder), dtype, keep=False))
            states = self._scorer.reader.states
            assert states is not None
            return states.add(document.text for document in documents)

    def rank(self, query: str, passages: Passages, top_k: int | None = None) -> list[RerankResult]:
        """Rank passages by score, best first. Equal scores keep the given order.

        Args:
            query: the query's text.
            passages: texts, dicts, (id, text) pairs, a mapping of ids to texts, a data frame, or documents of other
                libraries; see `headrank.reranker.documents.read_documents`. If a first stage ranked them, they are in
                its order, best first.
            top_k: the number of results; None: all passages.

        Returns:
            The results; an empty list without passages.

        Raises:
            TypeError: the query, a passage or `top_k` has another type.
            ValueError: a repeated id, a passage without text, or `top_k` below 1.
        """
        documents = read_documents(passages)
        item = candidate_list(expect_type(query, str, "query"), documents)
        return self._rank([(item, documents)], parse_count(top_k, "top_k"))[0]

    def explain(
        self, query: str, passages: Passages, top_k: int | None = None, *, per_head: bool = False
    ) -> Explanation:
        """Explain the scores of `rank`: what each token of the passages and of the query adds to them.

        It takes two passes, one that scores and one that reads the attention of every token. In a notebook the result
        is shown as HTML; `html()`, `ansi()` and `to_dict()` return other forms.

        Args:
            query, passages: as in `rank`.
            top_k: the number of passages that are explained, the best; None: all.
            per_head: whether the contributions of every head are kept.

        Raises:
            TypeError, ValueError: those of `rank`.
        """
        documents = read_documents(passages)
        item, count = candidate_list(expect_type(query, str, "query"), documents), parse_count(top_k, "top_k")
        with turns(self.backbone.model).lock:
            scorer = self._current_scorer()
            (scored,) = scorer.score([item])
            self._warn_of_cuts([scored])
            explanation = explain_list(scorer, item, scored, top_k=count, per_head=per_head)
        named = (replace(passage, id=documents[passage.index].id) for passage in explanation.passages)
        return replace(explanation, passages=tuple(named))

    def rank_many(self, lists: Iterable[tuple[str, Passages]], top_k: int | None = None) -> list[list[RerankResult]]:
        """Rank several (query, passages) pairs as `rank` does; return one list of results per pair.

        Batches have `scorer.batch_size` pairs. Queries over the same passages in the same order share a pass over them.
        """
        return self._rank(list(read_lists(lists)), parse_count(top_k, "top_k"))

    def rank_iter(
        self, lists: Iterable[tuple[str, Passages]], top_k: int | None = None, *, step: int = 32
    ) -> Iterator[list[RerankResult]]:
        """Rank a stream of pairs as `rank_many` does. Yield the results in order; hold `step` pairs in memory.

        Args:
            lists: (query, passages) pairs, read as results are taken.
            top_k: the number of results per list; None: all passages.
            step: the number of lists that are read and ranked together, from 1.

        Raises:
            TypeError, ValueError: those of `rank`, when the list is read; the message has its number from 0.
        """
        reader, count = read_lists(lists), parse_count(top_k, "top_k")
        return self._steps(reader, count, parse_count(step, "step") or 1)

    def _steps(
        self, reader: Iterator[tuple[CandidateList, tuple[Document, ...]]], top_k: int | None, step: int
    ) -> Iterator[list[RerankResult]]:
        while part := list(itertools.islice(reader, step)):
            yield from self._rank(part, top_k)

    async def arank(self, query: str, passages: Passages, top_k: int | None = None) -> list[RerankResult]:
        """Run `rank` in a worker thread and await it. Calls are run one at a time, in the order of the calls.

        The event loop stays free. A call that is cancelled before it starts is never computed.
        """
        context, worker = contextvars.copy_context(), turns(self.backbone.model).worker
        return await asyncio.get_running_loop().run_in_executor(
            worker, lambda: context.run(self.rank, query, passages, top_k)
        )

    def _rank(
        self, lists: Sequence[tuple[CandidateList, tuple[Document, ...]]], top_k: int | None
    ) -> list[list[RerankResult]]:
        with turns(self.backbone.model).lock:
            scored_lists = self._current_scorer().score([item for item, _ in lists])
            self._warn_of_cuts(scored_lists)
        each = zip(lists, scored_lists, strict=True)
        return [make_results(scored, documents, self.heads.used_probability)[:top_k] for (_, documents), scored in each]

    def _current_scorer(self) -> Scorer:
        if self._made_for != (self.device, self.dtype):  # moved since: stored states depend on both
            self._make_scorer(self.states)
        return self._scorer

    def save(self, folder: str | Path) -> None:
        """Write the cut model, its tokenizer, its heads and a model card as a new folder, atomically.

        `from_pretrained` and `AutoModel.from_pretrained` load it. The model has no head: `CrossEncoder` of
        sentence-transformers refuses it, and `AutoModelFor...` classes add random weights.

        Raises `FileExistsError` if the folder exists.
        """
        folder = Path(folder)
        if folder.exists():
            raise FileExistsError(f"{folder} exists: remove it or choose another folder")
        with turns(self.backbone.model).lock, atomic_folder(folder) as scratch:
            save_backbone(self.backbone, scratch)
            complete_folder(scratch, self.heads)
