"""Measure seconds and peak memory of interleaved calls, and describe the machine.

With a single thread on the CPU, seconds are the CPU seconds of the process, which exclude other jobs on the same core;
otherwise wall-clock seconds. `results.json` contains both.
"""

import ctypes
import gc
import platform
import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from headrank.model.backbone import DTYPES


@dataclass
class Samples:
    """Seconds and peak memory of one kind of call, one value per round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)  # bytes above those before the call; empty if unknown
    result: Any = None  # result of the last call

    @property
    def seconds(self) -> float:
        """The median seconds, by this module's clock."""
        return statistics.median(self.cpu if one_core() else self.wall)

    @property
    def peak_mib(self) -> float | None:
        """The median peak memory in MiB; None if the system does not report it."""
        return statistics.median(self.peak) / 2**20 if self.peak else None

    def to_dict(self) -> dict[str, Any]:
        """Return the samples as plain values, without the result."""
        return {"wall_seconds": self.wall, "cpu_seconds": self.cpu, "peak_bytes": self.peak}


def one_core() -> bool:
    """Return whether to measure CPU seconds instead of wall-clock seconds."""
    return torch.get_num_threads() == 1 and not torch.cuda.is_available()


def clock() -> float:
    """Return the current time in seconds, by this module's clock."""
    return time.process_time() if one_core() else time.perf_counter()


def take_turns(
    calls: Mapping[str, Callable[[], Any]], rounds: int, *, once: Collection[str] = ()
) -> dict[str, Samples]:
    """Run every call once per round, interleaved, so that a slow phase of the machine affects all calls.

    Args:
        calls: name -> call.
        rounds: the number of rounds.
        once: the names of calls that run only in the first round.

    Returns:
        Name -> samples.
    """
    samples = {name: Samples() for name in calls}
    for number in range(rounds):
        for name, call in calls.items():
            if number == 0 or name not in once:
                _measure(call, samples[name])
    return samples


def _measure(call: Callable[[], Any], samples: Samples) -> None:
    samples.result = None
    before = _reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    samples.result = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    samples.wall.append(time.perf_counter() - wall)
    samples.cpu.append(time.process_time() - cpu)
    if before is not None:
        samples.peak.append(_peak() - before)


def _reset_peak() -> int | None:
    """Reset the peak memory and return the bytes in use, or None if the system does not report them."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if sys.platform != "linux":
        return None
    try:
        ctypes.CDLL(None).malloc_trim(0)  # memory that glibc keeps after a free would hide the next call's use
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak of the resident set
    except (OSError, AttributeError):
        return None
    return _status("VmRSS")


def _peak() -> int:
    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@dataclass(frozen=True)
class Machine:
    """The machine of the measurements."""

    processor: str
    cores: int  # cores of the machine
    threads: int  # threads used by PyTorch
    gpu: str | None
    torch: str
    transformers: str
    python: str
    clock: str

    def to_dict(self) -> dict[str, Any]:
        """Return the description as plain values."""
        return asdict(self)


def machine() -> Machine:
    """Describe this machine."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return Machine(
        processor=name or platform.processor() or platform.machine(),
        cores=sum(line.startswith("processor") for line in lines) or 0,
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        torch=torch.__version__,
        transformers=transformers.__version__,
        python=platform.python_version(),
        clock="CPU seconds" if one_core() else "wall seconds",
    )


def matmul_rate(
    dtype: str,
    device: str = "cpu",
    *,
    size: int | None = None,
    repeats: int = 5,
) -> float:
    """Return the median rate of a large square matrix product on this device, in floating-point operations per second.

    Threads and settings are PyTorch's defaults (on CUDA float32 without TF32, unless it was switched on).

    Args:
        dtype: one of `DTYPES`.
        device: the torch device.
        size: the side of the matrices; None: 2048, on CUDA 8192.
        repeats: the number of measured products.

    Raises:
        ValueError: an unknown dtype.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    cuda = torch.device(device).type == "cuda"
    side = size or (8192 if cuda else 2048)
    a, b = (torch.randn(side, side, device=device).to(DTYPES[dtype]) for _ in range(2))
    out, seconds = torch.empty_like(a), []
    for _ in range(repeats + 1):
        if cuda:
            torch.cuda.synchronize(device)
        begin = clock()
        torch.mm(a, b, out=out)
        if cuda:
            torch.cuda.synchronize(device)
        seconds.append(clock() - begin)
    return 2 * side**3 / statistics.median(seconds[1:])  # the first one prepares


class Rate:
    """The machine's rate of large matrix products, measured repeatedly during the benchmark."""

    def __init__(self, dtype: str, device: str, size: int | None = None) -> None:
        self.dtype, self.device, self.size = dtype, device, size
        self.measured: list[float] = []

    def measure(self) -> None:
        """Measure the rate once more."""
        self.measured.append(matmul_rate(self.dtype, self.device, size=self.size, repeats=3))

    @property
    def median(self) -> float:
        """The median rate in floating-point operations per second."""
        return statistics.median(self.measured)
