"""Check memory: compare what each stage needs for the longest prompts with what the device has.

`headrank.model.cost` holds the formulas.
"""

from dataclasses import replace

import torch

from headrank.doctor.findings import Finding, State, gib
from headrank.doctor.machine import device_of
from headrank.doctor.model_files import model_files
from headrank.experiment import MAIN_SYSTEM, DataSettings, Experiment, ReadingSettings
from headrank.heads import HeadsFile
from headrank.io.memory import device_memory
from headrank.model import ModelShape, ScorerSettings, model_shape
from headrank.model.backbone import DTYPES

_LABEL = 8  # maximum tokens of a separator and a passage's label: CoRe's "[document 40]"
_TAIL = 64  # tokens of a tail without its query: instruction, labels, end of the turn
_UNCUT = 512  # tokens of a text that the prompt does not truncate [ours: a long passage of BEIR]


def memory_findings(experiment: Experiment) -> list[Finding]:
    """Compare the memory that each stage needs with the device, and the longest prompt with the model's context.

    Only a note is returned if the model's configuration or the configured device is not available.
    """
    files = model_files(experiment.model)
    if files.preparation or "config.json" in files.missing:
        return [Finding("memory", "needed", State.NOTE, "unknown without the model's config.json")]
    device = device_of(experiment.model.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        return [Finding("memory", "needed", State.NOTE, "not compared: the configured device is not available")]
    shape = model_shape(experiment.model)
    total, free = device_memory(device)
    findings = []
    for stage, (need, breakdown) in needs(experiment, shape).items():
        state, remedy = State.OK, None
        if need > total:
            state, remedy = State.MISSING, f"the device has {gib(total)}; fewer candidates, smaller batches or model"
        elif need > free:
            state, remedy = State.NOTE, f"{gib(free)} are free now"
        findings.append(Finding("memory", stage, state, f"about {gib(need)}: {breakdown}", remedy))
    longest = longest_prompt(experiment, (*experiment.train, *experiment.benchmarks))
    if shape.max_tokens is not None and longest > shape.max_tokens:
        detail = f"{shape.max_tokens:,} tokens; {longest:,} would be needed if every passage were as long as allowed"
        remedy = "lower depth or prompt.max_passage_tokens: a longer prompt stops the run"
        findings.append(Finding("memory", "context", State.NOTE, detail, remedy))
    return findings


def needs(experiment: Experiment, shape: ModelShape) -> dict[str, tuple[int, str]]:
    """Estimate the peak memory of each stage for the longest prompts.

    Args:
        experiment: the experiment.
        shape: the sizes of its model.

    Returns:
        The name of each stage, such as `reranking` -> (bytes, a description of their parts).
    """
    e = experiment
    competing = min(shape.layers, e.reading.max_layer or shape.layers)
    labelled = _tokens(e, e.train, shape)
    found: dict[str, tuple[int, str]] = {}
    if e.train:
        found["selection"] = _reading(shape, competing, _at_once(labelled, e.reading))
    if e.alignment is not None:
        found["alignment"] = _training(e.alignment, shape, competing, labelled * e.alignment.lists_per_batch)
    depth = selected_depth(e)
    tokens = _tokens(e, e.benchmarks, shape)
    most = max(_at_once(tokens, system.scorer) for system in e.systems.values())
    size, breakdown = _reading(shape, min(depth or competing, shape.layers), most)
    found["reranking"] = (size, breakdown if depth else f"{breakdown}; less once heads are selected")
    return found


def _at_once(tokens: int, batches: ReadingSettings | ScorerSettings) -> int:
    """Tokens per pass for lists of `tokens` tokens: the number of lists that the settings allow, at least one list."""
    return max(tokens, min(batches.batch_size * tokens, batches.tokens_per_batch))


def _reading(shape: ModelShape, depth: int, tokens: int) -> tuple[int, str]:
    weights, activations = shape.weight_bytes(depth), shape.reading_bytes(tokens)
    return (
        weights + activations,
        f"{gib(weights)} weights of {depth} layers, {gib(activations)} to read {tokens:,} tokens at once",
    )


def _training(alignment, shape: ModelShape, depth: int, tokens: int) -> tuple[int, str]:
    part = alignment.trained.part
    if part == "head_weights":  # no backward pass through the model
        return _reading(shape, depth, tokens)
    if part == "full":
        shape = replace(shape, number_bytes=DTYPES["float32"].itemsize)  # full training is in float32
    rank = alignment.trained.rank if part == "lora" else None
    trained = shape.matrix_parameters(alignment.trained.matrices, depth, rank)
    weights = shape.weight_bytes(depth)
    activations = shape.training_bytes(depth, tokens, trained, checkpointing=alignment.trainer.gradient_checkpointing)
    breakdown = (
        f"{gib(weights)} weights, {gib(activations)} to train {trained / 1e6:.1f} M parameters on {tokens:,} tokens"
    )
    return weights + activations, breakdown


def selected_depth(experiment: Experiment) -> int | None:
    """Return the number of layers needed by the heads that an earlier run selected in the experiment's folder.

    None if the folder lacks the heads of a system.
    """
    names = ["heads.json" if name == MAIN_SYSTEM else f"heads/{name}.json" for name in experiment.systems]
    paths = [experiment.folder / name for name in names]
    return max(HeadsFile.load(path).depth for path in paths) if all(path.is_file() for path in paths) else None


def longest_prompt(experiment: Experiment, data: tuple[DataSettings, ...]) -> int:
    """Return the number of tokens of the longest possible prompt for these data sets, of any system.

    Every passage and query is counted with its maximum length, or with `_UNCUT` tokens if the prompt sets no limit.
    """
    candidates = max((one.depth for one in data), default=0)
    return max(
        candidates * ((prompt.max_passage_tokens or _UNCUT) + _LABEL) + (prompt.max_query_tokens or _UNCUT) + 2 * _TAIL
        for prompt in (system.prompt for system in experiment.systems.values())
    )


def _tokens(experiment: Experiment, data: tuple[DataSettings, ...], shape: ModelShape) -> int:
    longest = longest_prompt(experiment, data)
    return min(longest, shape.max_tokens or longest)
