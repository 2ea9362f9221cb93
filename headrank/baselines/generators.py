"""Greedy decoding of many prompts: by transformers, or by vLLM if it is installed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from headrank.baselines.language_model import LanguageModel, load_language_model
from headrank.extras import require_extra
from headrank.model import BackboneSettings, load_tokenizer
from headrank.model.loading.checks import check_weight_files, read_config

BACKENDS = ("transformers", "vllm")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote: its text without special tokens, its tokens, and whether the limit of tokens cut it."""

    text: str
    tokens: int
    cut: bool


@runtime_checkable
class Generator(Protocol):
    """A loaded model that writes."""

    tokenizer: PreTrainedTokenizerBase
    max_tokens: int | None  # prompt and reply together, where the model says
    device: torch.device
    schedules: bool  # whether it makes batches of its own, so that prompts should come all at once

    def complete(self, prompts: Sequence[Sequence[int]], max_new_tokens: Sequence[int]) -> list[Reply]:
        """The greedy continuation of each prompt (token ids), of at most the given number of tokens, in their order."""
        ...


def load_generator(settings: BackboneSettings, backend: str) -> Generator:
    """The model behind one of `BACKENDS`. Raises what loading raises, and `ImportError` where vLLM is not installed."""
    if backend == "vllm":
        return VllmGenerator(settings)
    return TransformersGenerator(load_language_model(settings))


class TransformersGenerator:
    """transformers' `generate`, prompts padded on their left. The checkpoint's own sampling settings and penalties do
    not count: a repetition penalty would change which identifiers are written."""

    schedules = False

    def __init__(self, loaded: LanguageModel) -> None:
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.max_tokens, self.device = loaded.max_tokens, loaded.device
        own = getattr(self.model.generation_config, "eos_token_id", None)
        ends = [*(own if isinstance(own, list) else [own]), self.tokenizer.eos_token_id]
        self._ends = sorted({int(end) for end in ends if isinstance(end, int)})
        pad = self.tokenizer.pad_token_id
        self._pad = int(pad) if isinstance(pad, int) else (self._ends or [0])[0]
        self.model.generation_config = GenerationConfig(eos_token_id=self._ends or None, pad_token_id=self._pad)

    def complete(self, prompts: Sequence[Sequence[int]], max_new_tokens: Sequence[int]) -> list[Reply]:
        """See `Generator.complete`. One batch; it runs until its longest reply ends."""
        longest, limit = max(map(len, prompts)), max(max_new_tokens)
        ids = torch.tensor([[self._pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.inference_mode():
            written = self.model.generate(  # pyright: ignore[reportCallIssue]
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                do_sample=False,
                num_beams=1,
                max_new_tokens=limit,
            )
        rows = written[:, longest:].tolist()
        return [self._reply(row[:most]) for row, most in zip(rows, max_new_tokens, strict=True)]

    def _reply(self, ids: list[int]) -> Reply:
        end = next((i for i, token in enumerate(ids) if token in self._ends), None)
        kept = ids if end is None else ids[:end]
        return Reply(str(self.tokenizer.decode(kept, skip_special_tokens=True)), len(kept), cut=end is None)


class VllmGenerator:
    """vLLM's offline engine, which schedules prompts by itself.

    Raises `MissingExtraError` if vLLM is not installed, and `ValueError` for random weights, which vLLM does not make.
    """

    schedules = True

    def __init__(self, settings: BackboneSettings) -> None:
        if settings.random_weights:
            raise ValueError("backend vllm reads a checkpoint: model.random_weights goes with backend transformers")
        require_extra("vllm", "backend vllm")
        import vllm  # pyright: ignore[reportMissingImports]  # an extra, for machines with a GPU

        folder = settings.folder()
        config = read_config(folder)  # refuses what needs the model's own code
        check_weight_files(folder, config)
        self._vllm: Any = vllm
        self._engine: Any = vllm.LLM(
            model=str(folder),
            dtype=settings.dtype,
            load_format="safetensors",  # never a pickle, which can run code
            trust_remote_code=False,
            generation_config="vllm",  # not the checkpoint's sampling settings
        )
        self.tokenizer = load_tokenizer(settings)
        self.max_tokens: int | None = int(self._engine.llm_engine.model_config.max_model_len)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def complete(self, prompts: Sequence[Sequence[int]], max_new_tokens: Sequence[int]) -> list[Reply]:
        """See `Generator.complete`."""
        greedy = [self._vllm.SamplingParams(temperature=0.0, max_tokens=most) for most in max_new_tokens]
        outputs = self._engine.generate(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts], greedy, use_tqdm=False
        )
        replies = [output.outputs[0] for output in outputs]
        return [Reply(one.text, len(one.token_ids), cut=one.finish_reason == "length") for one in replies]
