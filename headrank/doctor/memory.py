"""The memory that an experiment's stages need, the largest prompts assumed, against what the device has.

The formulas are those of `headrank.model.cost`.
"""

from dataclasses import replace

import torch

from headrank.doctor.findings import Finding, State, gib
from headrank.doctor.machine import device_of
from headrank.doctor.model_files import model_files
from headrank.experiment import MAIN_SYSTEM, DataSettings, Experiment, SelectionSettings
from headrank.heads import HeadsFile
from headrank.io.memory import device_memory
from headrank.model import ModelShape, ScorerSettings, model_shape
from headrank.model.backbone import DTYPES

_LABEL = 8  # tokens of a separator and a passage's label, at most: CoRe's "[document 40]"
_TAIL = 64  # tokens of a tail beside its query: instruction, labels, the end of the turn
_UNCUT = 512  # tokens of a text where the prompt cuts none [ours: a long passage of BEIR]


def memory_findings(experiment: Experiment) -> list[Finding]:
    """A finding for each stage; one that says that nothing is known where the model's configuration is not there."""
    files = model_files(experiment.model)
    if files.makes or "config.json" in files.missing:
        return [Finding("memory", "needed", State.NOTE, "not known without the model's config.json")]
    device = device_of(experiment.model.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        return [Finding("memory", "needed", State.NOTE, "not compared: there is no such device")]
    shape = model_shape(experiment.model)
    total, free = device_memory(device)
    findings = []
    for stage, (need, made_of) in needs(experiment, shape).items():
        state, remedy = State.THERE, None
        if need > total:
            state, remedy = State.MISSING, f"the device has {gib(total)}; fewer candidates, smaller batches or model"
        elif need > free:
            state, remedy = State.NOTE, f"{gib(free)} are free now"
        findings.append(Finding("memory", stage, state, f"about {gib(need)}: {made_of}", remedy))
    longest = longest_prompt(experiment, (*experiment.train, *experiment.benchmarks))
    if shape.max_tokens is not None and longest > shape.max_tokens:
        said = f"{shape.max_tokens:,} tokens; {longest:,} would be needed if every passage were as long as allowed"
        remedy = "lower depth or prompt.max_passage_tokens: a longer prompt stops the run"
        findings.append(Finding("memory", "context", State.NOTE, said, remedy))
    return findings


def needs(experiment: Experiment, shape: ModelShape) -> dict[str, tuple[int, str]]:
    """Stage -> the bytes it needs at most, and what they are made of."""
    e = experiment
    competing = min(shape.layers, e.selection.max_layer or shape.layers)
    labelled = _tokens(e, e.train, shape)
    found: dict[str, tuple[int, str]] = {}
    if e.train:
        found["selection"] = _reading(shape, competing, _at_once(labelled, e.selection))
    if e.alignment is not None:
        found["alignment"] = _training(e.alignment, shape, competing, labelled * e.alignment.lists_per_batch)
    depth = selected_depth(e)
    tokens = _tokens(e, e.benchmarks, shape)
    most = max(_at_once(tokens, system.scorer) for system in e.systems.values())
    size, made_of = _reading(shape, min(depth or competing, shape.layers), most)
    found["reranking"] = (size, made_of if depth else f"{made_of}; less once heads are selected")
    return found


def _at_once(tokens: int, batches: SelectionSettings | ScorerSettings) -> int:
    """Tokens of one pass where a list has `tokens`: as many lists as the settings allow, and at least one."""
    return max(tokens, min(batches.batch_size * tokens, batches.tokens_per_batch))


def _reading(shape: ModelShape, depth: int, tokens: int) -> tuple[int, str]:
    weights, beside = shape.weight_bytes(depth), shape.reading_bytes(tokens)
    return (
        weights + beside,
        f"{gib(weights)} weights of {depth} layers, {gib(beside)} to read {tokens:,} tokens at once",
    )


def _training(alignment, shape: ModelShape, depth: int, tokens: int) -> tuple[int, str]:
    if alignment.part == "head_weights":  # nothing is computed backwards through the model
        return _reading(shape, depth, tokens)
    if alignment.part == "full":
        shape = replace(shape, number_bytes=DTYPES["float32"].itemsize)  # in which matrices are trained
    trained = shape.matrix_parameters(alignment.matrices, depth, alignment.rank if alignment.part == "lora" else None)
    weights = shape.weight_bytes(depth)
    beside = shape.training_bytes(depth, tokens, trained, checkpointing=alignment.trainer.gradient_checkpointing)
    made_of = f"{gib(weights)} weights, {gib(beside)} to train {trained / 1e6:.1f} M parameters on {tokens:,} tokens"
    return weights + beside, made_of


def selected_depth(experiment: Experiment) -> int | None:
    """The layers that the heads of an earlier start of this run need, where those of all systems are there."""
    names = ["heads.json" if name == MAIN_SYSTEM else f"heads/{name}.json" for name in experiment.systems]
    paths = [experiment.folder / name for name in names]
    return max(HeadsFile.load(path).depth for path in paths) if all(path.is_file() for path in paths) else None


def longest_prompt(experiment: Experiment, data: tuple[DataSettings, ...]) -> int:
    """Tokens of the longest prompt that the data could give: every passage and query as long as they may be."""
    candidates = max((one.depth for one in data), default=0)
    return max(
        candidates * ((prompt.max_passage_tokens or _UNCUT) + _LABEL) + (prompt.max_query_tokens or _UNCUT) + 2 * _TAIL
        for prompt in (system.prompt for system in experiment.systems.values())
    )


def _tokens(experiment: Experiment, data: tuple[DataSettings, ...], shape: ModelShape) -> int:
    longest = longest_prompt(experiment, data)
    return min(longest, shape.max_tokens or longest)
