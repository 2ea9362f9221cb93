"""Greedy generation for batches of prompts, with transformers or vLLM."""

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
    """A generated reply."""

    text: str  # without special tokens
    tokens: int  # number of generated tokens
    cut: bool  # whether the reply ended at the token limit


@runtime_checkable
class Generator(Protocol):
    """The interface of a loaded generative model."""

    tokenizer: PreTrainedTokenizerBase
    max_tokens: int | None  # of prompt and reply together; None: unknown
    device: torch.device
    schedules: bool  # whether it batches prompts itself; then `complete` should get all prompts at once

    def complete(self, prompts: Sequence[Sequence[int]], max_new_tokens: Sequence[int]) -> list[Reply]:
        """Generate a greedy continuation of each prompt.

        Args:
            prompts: token ids of each prompt.
            max_new_tokens: the token limit of each reply.

        Returns:
            One reply per prompt.
        """
        ...


def load_generator(settings: BackboneSettings, backend: str) -> Generator:
    """Load a model for generation.

    Args:
        settings: the model.
        backend: one of `BACKENDS`.

    Raises:
        MissingExtraError: the backend is vLLM, which is not installed.
        ValueError: the model cannot be used, or the backend is vLLM and the weights are random.
    """
    if backend == "vllm":
        return VllmGenerator(settings)
    return TransformersGenerator(load_language_model(settings))


class TransformersGenerator:
    """A `Generator` on transformers. It pads the prompts on the left and generates all of them in one batch, greedily.

    The checkpoint's own generation settings are ignored. Its repetition penalty, for example, would distort listwise
    replies such as `[2] > [1]`, in which brackets and digits recur.
    """

    schedules = False

    def __init__(self, loaded: LanguageModel) -> None:
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.max_tokens, self.device = loaded.max_tokens, loaded.device
        eos = getattr(self.model.generation_config, "eos_token_id", None)
        ends = [*(eos if isinstance(eos, list) else [eos]), self.tokenizer.eos_token_id]
        self._ends = sorted({int(end) for end in ends if isinstance(end, int)})
        pad = self.tokenizer.pad_token_id
        self._pad = int(pad) if isinstance(pad, int) else (self._ends or [0])[0]
        self.model.generation_config = GenerationConfig(eos_token_id=self._ends or None, pad_token_id=self._pad)

    def complete(self, prompts: Sequence[Sequence[int]], max_new_tokens: Sequence[int]) -> list[Reply]:
        """See `Generator.complete`. All prompts form one batch, which runs until its longest reply ends."""
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
    """Generates with vLLM's offline engine, which forms batches itself.

    Raises `MissingExtraError` if vLLM is not installed, and `ValueError` for random weights, which vLLM cannot create.
    """

    schedules = True

    def __init__(self, settings: BackboneSettings) -> None:
        if settings.random_weights:
            raise ValueError("backend is vllm, but model.random_weights is true; expected backend transformers")
        require_extra("vllm", "backend vllm")
        import vllm  # pyright: ignore[reportMissingImports]  # an extra, for machines with a GPU

        folder = settings.folder()
        config = read_config(folder)  # rejects models that need custom code
        check_weight_files(folder, config)
        self._vllm: Any = vllm
        self._engine: Any = vllm.LLM(
            model=str(folder),
            dtype=settings.dtype,
            load_format="safetensors",  # never a pickle, which can execute code
            trust_remote_code=False,
            generation_config="vllm",  # ignore the checkpoint's sampling settings
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
        return [Reply(reply.text, len(reply.token_ids), cut=reply.finish_reason == "length") for reply in replies]
