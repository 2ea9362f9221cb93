"""Store passage states in a folder: they are computed once per passage, then memory-mapped for any query.

    states = PassageStates(backbone, heads, prompts, StateSettings("states"))
    states.add(texts)                                # optional: missing states are added while lists are read
    scorer = Scorer(backbone, heads, prompt=prompt, states=states)

One folder may hold the states of several models: each combination of weights, depth of the heads, opening and dtype has
a separate subfolder `<key>/`. It contains the values that the key is a hash of (`about.json`) and safetensors files of
many passages each. Files are added, never changed, so several processes may write to the same folder.
"""

import hashlib
import itertools
import json
import logging
import uuid
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from headrank.io.artifacts import artifact_key
from headrank.io.cache import LEFTOVER_AGE
from headrank.io.checksums import checked_write, is_whole
from headrank.io.files import atomic_write, remove_leftovers
from headrank.model.backbone import Backbone
from headrank.model.blocks.states import STORED, BlockStates, StateShape, compute_states
from headrank.model.head_scores import Head
from headrank.model.identity import loaded_fingerprint
from headrank.model.prompt import Prompt, PromptBuilder
from headrank.settings import one_of, settings

logger = logging.getLogger(__name__)

FORMAT = 1  # of the files; part of every key

ADDED_TOGETHER = 10_000  # passages that `add` tokenises at a time

PASS_TOKENS = 8192  # tokens whose states are computed in one pass and written as one file


@settings
class StateSettings:
    """The settings of stored passage states."""

    folder: str  # created if it does not exist
    # float32 | float16 | bfloat16 | int8; None: the dtype of the model
    dtype: Annotated[str, one_of(STORED)] | None = None
    keep: bool = True  # store the states of passages in lists; if false, only `add` stores


class PassageStates:
    """Stored keys and values of passages, which can be reused for any query and list.

    With `prompt.attention=blocks` a passage attends only to itself and to the opening (the text before the first
    passage), so its states depend on nothing else. They are valid for one model, set of heads, opening and dtype.

    Args:
        backbone: the model that computes the states.
        heads: the heads that will be read; they determine which states are stored.
        prompts: builds the prompts; expected the attention `blocks`.
        settings: the folder and dtype.

    Raises:
        ValueError: the prompt's attention is not `blocks`, or the model is not supported (see `StateShape.of`).
    """

    def __init__(
        self, backbone: Backbone, heads: Sequence[Head], prompts: PromptBuilder, settings: StateSettings
    ) -> None:
        if not prompts.settings.in_blocks:
            raise ValueError(
                "passage states need prompt.attention: blocks (full attention makes them depend on the list)"
            )
        self.backbone, self.prompts, self.settings = backbone, prompts, settings
        self.shape = StateShape.of(backbone, heads)
        self.dtype = settings.dtype or str(backbone.model.dtype).removeprefix("torch.")
        about = {
            "format": FORMAT,
            "model": backbone.settings.model,
            "weights": loaded_fingerprint(backbone.model, self.shape.depth),
            "shape": asdict(self.shape),
            "opening": list(prompts.opening),
            "dtype": self.dtype,
        }
        key = artifact_key({name: value for name, value in about.items() if name != "model"})
        self.path = Path(settings.folder).expanduser() / key
        remove_leftovers(self.path, age=LEFTOVER_AGE)
        if not (self.path / "about.json").is_file():
            with atomic_write(self.path / "about.json") as file:
                json.dump(about, file, indent=1)
        self._opening: BlockStates | None = None
        self._blocks: dict[str, BlockStates] = {}
        self._files: set[str] = set()
        self.refresh()

    def __len__(self) -> int:
        """Return the number of passages with stored states."""
        return len(self._blocks)

    @property
    def tokens(self) -> int:
        """The number of tokens of the stored passages."""
        return sum(block.tokens for block in self._blocks.values())

    def size(self, tokens: int = 1_000_000) -> int:
        """Return the size in bytes of the states of `tokens` passage tokens."""
        return self.shape.size(tokens, self.dtype)

    def refresh(self) -> None:
        """Index the files that were added to the folder since the last call.

        Their tensors stay on disk until they are used. A damaged file is ignored with a warning, and deleted if
        `settings.keep` is true.
        """
        for path in sorted(self.path.glob("*.safetensors")):
            if path.name in self._files:
                continue
            if not is_whole(path):
                logger.warning("%s was edited or is damaged; its states are recomputed", path)
                self._files.add(path.name)
                if self.settings.keep:
                    path.unlink(missing_ok=True)
                continue
            with safe_open(path, framework="pt") as file:
                index = [(str(key), int(tokens)) for key, tokens in json.loads(file.metadata()["blocks"])]
                rows = file.get_tensor("rows")  # mapped, not read
                scales = file.get_tensor("scales") if "scales" in file.keys() else None  # noqa: SIM118 (not a dict)
            self._take(index, rows, scales)
            self._files.add(path.name)

    def add(self, texts: Iterable[str]) -> int:
        """Compute and store the states of the given passages that are not stored yet; return the number of new ones."""
        texts, added = iter(texts), 0
        while part := list(itertools.islice(texts, ADDED_TOGETHER)):
            prompt = self.prompts.build("", part, with_null=False)
            if prompt.cut:
                logger.warning("states: %d of %d passages are cut to max_passage_tokens", len(prompt.cut), len(part))
            missing = self._missing([prompt])
            for made in self._compute(missing):
                self._write(made)
            added += len(missing)
        return added

    def of_lists(self, prompts: Sequence[Prompt]) -> list[list[BlockStates]]:
        """Return for each prompt the states of the opening, then those of its passages in context order.

        Missing states of passages are computed, and stored in the folder if `settings.keep` is true.
        """
        own: dict[str, BlockStates] = {}
        for made in self._compute(self._missing(prompts)):
            if self.settings.keep:
                self._write(made)
            else:
                own |= made
        opening = self._opening_states()
        keys = [[_block_key(prompt.block_ids(n)) for n in range(len(prompt.blocks))] for prompt in prompts]
        return [[opening, *(own.get(key) or self._blocks[key] for key in blocks)] for blocks in keys]

    def _missing(self, prompts: Sequence[Prompt]) -> dict[str, tuple[int, ...]]:
        blocks = (prompt.block_ids(n) for prompt in prompts for n in range(len(prompt.blocks)))
        keyed = {_block_key(ids): ids for ids in blocks}
        return {key: ids for key, ids in keyed.items() if key not in self._blocks}

    def _compute(self, missing: dict[str, tuple[int, ...]]) -> Iterator[dict[str, BlockStates]]:
        """Compute the blocks' states pass by pass, those of similar length together."""
        parts: list[list[str]] = []
        tokens = 0
        for key in sorted(missing, key=lambda key: len(missing[key])):
            tokens += len(missing[key])
            if not parts or tokens > PASS_TOKENS:
                parts.append([])
                tokens = len(missing[key])
            parts[-1].append(key)
        for part in parts:
            _, *states = compute_states(self.backbone, self.shape, self.prompts.opening, [missing[k] for k in part])
            yield {key: one.stored(self.dtype) for key, one in zip(part, states, strict=True)}

    def _opening_states(self) -> BlockStates:
        if self._opening is None:
            (self._opening,) = compute_states(self.backbone, self.shape, self.prompts.opening, [])
        return self._opening

    def _write(self, made: dict[str, BlockStates]) -> None:
        tensors = {"rows": torch.cat([block.rows for block in made.values()])}
        scales = [block.scales for block in made.values() if block.scales is not None]
        if scales:
            tensors["scales"] = torch.cat(scales)
        index = [(key, block.tokens) for key, block in made.items()]
        name = f"{uuid.uuid4().hex}.safetensors"
        with checked_write(self.path / name) as file:
            save_file(tensors, file.name, metadata={"blocks": json.dumps(index)})
        self.refresh()

    def _take(self, index: Sequence[tuple[str, int]], rows: Tensor, scales: Tensor | None) -> None:
        at = 0
        for key, tokens in index:
            part = slice(at, at + tokens * self.shape.rows)
            self._blocks[key] = BlockStates(tokens, rows[part], None if scales is None else scales[part])
            at = part.stop


def _block_key(ids: Sequence[int]) -> str:
    return hashlib.blake2b(array("i", ids).tobytes(), digest_size=16).hexdigest()
