"""Compare the estimates of `headrank.model.cost` with the measured peak memory of a process.

python -m experiments.memory.measure

The model has the embedded model's shape. Each case runs in a separate process; its resident set before loading the
model is subtracted.
"""

import multiprocessing
import resource
import sys
from dataclasses import dataclass

import torch

from headrank.alignment.adapters import READ_LAST, TrainedSettings, checkpoint_activations, prepare_trained
from headrank.model import (
    BackboneSettings,
    PromptBuilder,
    PromptSettings,
    all_heads,
    load_backbone,
    model_shape,
    read_head_scores,
)

PASSAGE = "A passage of some length about one thing and another. " * 6  # 66 tokens


@dataclass(frozen=True)
class Case:
    """A measured case."""

    work: str  # read | train | train, checkpointed
    dtype: str
    depth: int
    passages: int


CASES = [  # fp32, which is fast on every CPU
    Case("read", "float32", 30, 20),
    Case("read", "float32", 30, 80),
    Case("read", "float32", 10, 80),
    Case("train", "float32", 30, 10),
    Case("train", "float32", 30, 20),
    Case("train, checkpointed", "float32", 30, 20),
]


def measure(case: Case) -> str:
    """Return a table row: tokens, estimate, measured memory and their ratio."""
    torch.set_num_threads(1)
    settings = BackboneSettings(dtype=case.dtype, device="cpu")
    shape = model_shape(settings)
    before = _peak_bytes()
    backbone = load_backbone(settings, depth=case.depth)
    builder = PromptBuilder(backbone.tokenizer, PromptSettings())
    prompt = builder.build("what is it about", [f"{i} {PASSAGE}" for i in range(case.passages)], with_null=True)
    heads = all_heads(case.depth, backbone.heads_per_layer)
    weights = shape.weight_bytes(case.depth)
    if case.work == "read":
        with torch.inference_mode():
            read_head_scores(backbone, [prompt], heads)
        estimate = weights + shape.reading_bytes(len(prompt))
    else:
        checkpointing = case.work != "train"
        adapters = prepare_trained(backbone.model, case.depth, TrainedSettings(matrices=READ_LAST))
        trained = sum(p.numel() for p in adapters.values())
        if checkpointing:
            checkpoint_activations(backbone.model)
            backbone.model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=case.dtype == "bfloat16"):
            scores = read_head_scores(backbone, [prompt], heads[-8:])
        scores[0].query.sum().backward()
        estimate = weights + shape.training_bytes(case.depth, len(prompt), trained, checkpointing=checkpointing)
    measured = _peak_bytes() - before
    return (
        f"| {case.work} | {case.dtype} | {case.depth} | {len(prompt):,} | {estimate / 2**20:,.0f} | "
        f"{measured / 2**20:,.0f} | {estimate / measured:.2f} |"
    )


def _peak_bytes() -> int:
    """The peak memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Print the table."""
    print("| work | dtype | layers | tokens | estimate, MiB | measured, MiB | ratio |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    context = multiprocessing.get_context("spawn")  # a fork would inherit the parent's peak memory
    for case in CASES:
        with context.Pool(1) as pool:
            print(pool.apply(measure, (case,)), flush=True)


if __name__ == "__main__":
    main()
