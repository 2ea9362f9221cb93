"""Check the machine: device, trainer, attention kernel, compiler."""

import importlib.util

import torch

from headrank.doctor.findings import Finding, State, gib
from headrank.experiment import Experiment
from headrank.io.launch import Launch
from headrank.io.memory import device_memory
from headrank.model.loading.compiled import can_compile


def device_of(name: str) -> torch.device:
    """Return the device with this name (`auto`, `cpu`, `cuda`, ...) on this machine."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def machine_findings(experiment: Experiment) -> list[Finding]:
    """Check that the device, trainer, attention kernel and compiler of the experiment are available on this machine."""
    name = experiment.model.device
    device = device_of(name)
    findings = []
    if device.type == "cuda" and not torch.cuda.is_available():
        findings.append(
            Finding(
                "machine", "device", State.MISSING, f"{name} is configured, but torch sees no GPU", "model.device=auto"
            )
        )
    else:
        total, free = device_memory(device)
        what = (
            torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else f"processor, {torch.get_num_threads()} threads"
        )
        findings.append(Finding("machine", "device", State.OK, f"{what}, {gib(total)}, {gib(free)} free"))
    trainer = getattr(experiment.alignment, "trainer", None)
    if trainer is not None:
        try:
            trainer.check(Launch.from_environment())
        except ValueError as error:
            findings.append(Finding("machine", "trainer", State.MISSING, str(error), "trainer=default"))
    kernel = experiment.model.kernel
    if kernel.startswith("flash_attention"):
        module = "flash_attn" if kernel == "flash_attention_2" else "flash_attn_interface"
        available = importlib.util.find_spec(module) is not None and torch.cuda.is_available()
        detail = f"{kernel} needs the package {module} and a GPU"
        findings.append(_needed("kernel", available, detail, "model.kernel=sdpa"))
    if experiment.model.compile:
        what = "Triton" if device.type == "cuda" else "a C++ compiler (g++, or the value of CXX)"
        detail = f"model.compile=true: needs {what}"
        findings.append(_needed("compiler", can_compile(device), detail, "model.compile=false"))
    return findings


def _needed(name: str, available: bool, detail: str, fix: str) -> Finding:
    return Finding("machine", name, State.OK if available else State.MISSING, detail, None if available else fix)
