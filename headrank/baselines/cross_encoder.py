"""Rerank with a sentence-transformers cross-encoder (Nogueira and Cho 2019, arXiv 1901.04085).

The model gives one logit per pair of query and passage. The library (extra `baselines`) builds, truncates and batches
the pairs.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from headrank.baselines.protocol import Reranked
from headrank.errors import ModelError
from headrank.extras import require_extra
from headrank.logs import quiet_model_loading
from headrank.model import BackboneSettings, CutCounts, load_tokenizer, model_identity, plain_text_tokenizer
from headrank.model.backbone import DTYPES, load_config
from headrank.model.loading.checks import check_loaded, check_weight_files, read_config
from headrank.model.loading.devices import check_device, check_kernel
from headrank.model.plain_text import encode_first, first_characters
from headrank.ranking import CandidateList, Ranking
from headrank.settings import Ge, settings
from headrank.surrogates import encodable

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

MODEL = "cross-encoder/ms-marco-MiniLM-L6-v2"
_NO_LIMIT = 10**6  # tokens; a tokenizer without a limit reports 10**30, which its backend rejects


@settings
class CrossEncoderReranker:
    """The settings of a cross-encoder with one output.

    Scores are its logits, because a sigmoid would round extreme scores to equal values.
    """

    model: BackboneSettings = field(default_factory=lambda: BackboneSettings(MODEL))  # opened by sentence-transformers
    max_length: Annotated[int, Ge(1)] | None = None  # tokens of a pair; None: the model's limit
    batch_size: Annotated[int, Ge(1)] = 32  # pairs of a list per forward pass

    def identity(self, backbone: BackboneSettings) -> Mapping[str, Any]:
        """See `RerankerSettings.identity`. It does not depend on `backbone`, the experiment's model."""
        return {"settings": replace(self, model=BackboneSettings(), batch_size=1), "model": model_identity(self.model)}

    def check_model(self, backbone: BackboneSettings) -> None:
        """See `RerankerSettings.check_model`."""
        _check_machine(self.model)
        if not self.model.random_weights:
            _check_files(self.model, self.model.folder())

    def load(self, backbone: BackboneSettings) -> "LoadedCrossEncoder":
        """See `RerankerSettings.load`.

        Raises `MissingExtraError` if sentence-transformers is not installed, and the errors of `open_cross_encoder`.
        """
        return LoadedCrossEncoder(open_cross_encoder(self.model, self.max_length), self)

    def show_prompt(self, backbone: BackboneSettings, item: CandidateList) -> str:
        """Return the tokens of the query and the first passage, as text. See `RerankerSettings.show_prompt`.

        The model reads each passage in a separate pair.
        """
        if not len(item):
            return "(no prompt: the list has no passages)"
        tokenizer: Any = load_tokenizer(self.model)
        tokenizer.split_special_tokens = True
        query, passage = _pair(item, 0)
        longest = min(self.max_length or tokenizer.model_max_length, tokenizer.model_max_length)
        longest = min(longest, _NO_LIMIT)
        # as lists, because an empty string would be treated as a missing second text
        ids = tokenizer([query], [passage], truncation="longest_first", max_length=longest)["input_ids"][0]
        return str(tokenizer.decode(ids))


class LoadedCrossEncoder:
    """A cross-encoder in memory, which reranks candidate lists.

    Args:
        encoder: the model, see `open_cross_encoder`.
        settings: its settings.
    """

    def __init__(self, encoder: "CrossEncoder", settings: CrossEncoderReranker) -> None:
        self.encoder = encoder
        self.settings = settings
        fast = isinstance(encoder.tokenizer, PreTrainedTokenizerFast)
        self._plain = plain_text_tokenizer(encoder.tokenizer) if fast else None  # None: truncation is not counted

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return torch.device(self.encoder.device)

    def rerank(self, lists: Sequence[CandidateList], on_list: Callable[[], object] | None = None) -> Reranked:
        """See `ListReranker.rerank`.

        The facts count truncated passages and queries; they are empty if the tokenizer is not a fast one.
        """
        rankings, counts = [], CutCounts()
        for item in lists:
            pairs = [_pair(item, position) for position in range(len(item))]
            cuts = [self._cuts(pair) for pair in pairs]
            pairs = [pair for pair, _, _ in cuts]
            counts.add(len(item), sum(cut for _, _, cut in cuts), query_cut=any(cut for _, cut, _ in cuts))
            scores = self.score(pairs) if pairs else []
            rankings.append(Ranking.from_scores(item.query.id, item.passage_ids, scores))
            if on_list is not None:
                on_list()
        return Reranked(tuple(rankings), facts={} if self._plain is None else counts.facts)

    def _cuts(self, pair: tuple[str, str]) -> tuple[tuple[str, str], bool, bool]:
        """The pair, shortened if it is far longer than the model's limit, and whether the library truncates the query
        and the passage. It removes tokens from the longer of the two, then from both."""
        tokenizer = self.encoder.tokenizer
        longest = tokenizer.model_max_length
        if longest > _NO_LIMIT or self._plain is None:
            return pair, False, False
        room = longest - tokenizer.num_special_tokens_to_add(pair=True)
        query, passage = (len(ids) for ids in encode_first(self._plain, pair, room))
        kept = (first_characters(self._plain, pair[0], room), first_characters(self._plain, pair[1], room))
        if query + passage <= room:
            return kept, False, False
        return kept, query > max(room // 2, room - passage), passage > max(room // 2, room - query)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return the logit of each (query, passage) pair of texts."""
        return self.encoder.predict(
            list(pairs),
            batch_size=self.settings.batch_size,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
        ).tolist()


def open_cross_encoder(settings: BackboneSettings, max_length: int | None = None) -> "CrossEncoder":
    """Open a cross-encoder that treats special tokens in texts as plain text.

    The library opens only folders, so a model with random weights is first written to a temporary folder.

    Args:
        settings: the model.
        max_length: the token limit of a pair; None: the model's limit.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: weights are missing (for instance those of the classification head), the model has more than one
            output, or it cannot be opened without running its code.
    """
    require_extra("baselines", "cross_encoder")
    from sentence_transformers import CrossEncoder

    _check_machine(settings)

    def opened(folder: Path) -> "CrossEncoder":
        _check_files(settings, folder)
        encoder = CrossEncoder(
            str(folder),
            device=settings.torch_device,
            max_length=max_length,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={
                "dtype": DTYPES[settings.dtype],
                "attn_implementation": settings.kernel,
                "use_safetensors": True,  # never a pickle, which can execute code
            },
            processor_kwargs={"split_special_tokens": True},
        )
        inner = encoder.transformers_model
        if _has_modules(folder) and inner is not None:
            _check_weights(settings, Path(str(inner.name_or_path)), type(inner), inner.config)
        return encoder

    if settings.random_weights:
        with tempfile.TemporaryDirectory() as folder:
            _write_random(settings, folder)
            encoder = opened(Path(folder))
    else:
        encoder = opened(settings.folder())
    if encoder.num_labels != 1:
        raise ModelError(f"{settings.model} has {encoder.num_labels} outputs; expected a cross-encoder with one output")
    return encoder


def _check_machine(settings: BackboneSettings) -> None:
    check_device(settings.device)
    check_kernel(settings.kernel)


def _has_modules(folder: Path) -> bool:
    """Whether the folder has a modules.json, in which the library finds the model's classes."""
    return (folder / "modules.json").is_file()


def _check_files(settings: BackboneSettings, folder: Path) -> None:
    """Raise `ModelError` for a model that is not a complete cross-encoder. Only its files are checked."""
    config = read_config(folder)
    if hasattr(config, "headrank_full_layers"):
        raise ModelError(
            f"expected a cross-encoder, found {settings.model}, an attention reranker without classification head that "
            "`Reranker.save` or alignment wrote; open it with headrank's Reranker.from_pretrained"
        )
    check_weight_files(folder, config)
    if not _has_modules(folder):  # then the library uses one of two classes
        generates = (config.architectures or [""])[0].endswith("ForCausalLM")
        kind = AutoModelForCausalLM if generates else AutoModelForSequenceClassification
        _check_weights(settings, folder, kind, config)


def _check_weights(settings: BackboneSettings, folder: Path, kind: Any, config: PreTrainedConfig) -> None:
    """Raise `ModelError` if weights are missing, which sentence-transformers would initialise randomly.

    Only shapes are read, with the model class that the library uses, `kind`.
    """
    with quiet_model_loading():
        try:
            _, info = kind.from_pretrained(
                folder,
                config=config,
                device_map="meta",  # allocates no memory, reads no weights
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # `check_loaded` rejects them
            )
        except ValueError as error:
            raise ModelError(f"expected a cross-encoder, found {settings.model}: {error}") from error
    check_loaded(info, settings.model)


def _write_random(settings: BackboneSettings, folder: str) -> None:
    config = load_config(settings)
    config.num_labels = 1
    tokenizer = load_tokenizer(settings)
    config.pad_token_id = tokenizer.pad_token_id
    tokenizer.chat_template = None  # otherwise newer releases of the library format pairs as chats
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(config, trust_remote_code=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _pair(item: CandidateList, position: int) -> tuple[str, str]:
    return encodable(item.query.text).strip(), encodable(item.passages[position].text).strip()
