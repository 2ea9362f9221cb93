"""Measure memory: the peak use of this process, and the total and free memory of a GPU or of the machine."""

import gc
import os
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import torch

_CLEAR_PEAK = "5"  # resets the peak resident set when written to /proc/self/clear_refs (Linux 4.0)


class DeviceMemory(NamedTuple):
    """Total and free memory of a device, in bytes."""

    total: int
    free: int


class PeakMemory:
    """Measures the peak memory of this process within a context, including memory that was allocated before.

    It measures PyTorch's allocations on a CUDA device, and this process's resident set elsewhere.

        with PeakMemory(device) as peak:
            ...
        peak.bytes

    `bytes` is None within the context, and after it if the peak is unknown: the system cannot reset it (macOS, some
    containers), or this process allocated nothing on the CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None
        self._reset = False

    def __enter__(self) -> "PeakMemory":
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._reset = _reset_peak()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.device.type == "cuda":
            self.bytes = int(torch.cuda.max_memory_allocated(self.device)) or None
        elif self._reset:
            self.bytes = _status("VmHWM")


def _reset_peak() -> bool:
    """Reset the peak resident set to the current one; returns whether that worked."""
    try:
        Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK)
        peak, now = _status("VmHWM"), _status("VmRSS")
    except OSError:
        return False
    return peak is not None and now is not None and peak <= now + 2**24  # other threads may allocate meanwhile


def _status(name: str) -> int | None:
    """A number of bytes from Linux's status of this process."""
    lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return next((int(line[1]) * 1024 for line in lines if line[0] == f"{name}:"), None)


def device_memory(device: torch.device) -> DeviceMemory:
    """Return the total and free memory of a device, in bytes.

    For the CPU this is the machine's memory, or the limit of the container (cgroup 2) if that is lower. The free memory
    of the CPU is known on Linux only; elsewhere it equals the total.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return DeviceMemory(total, free)
    total = free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")  # Linux; the free memory is unknown elsewhere
    if meminfo.is_file():
        lines = (line.split() for line in meminfo.read_text().splitlines())
        free = next((int(line[1]) * 1024 for line in lines if line[0] == "MemAvailable:"), total)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and limit.read_text().strip().isdigit():
        total = min(total, int(limit.read_text()))
        free = min(free, total - int(used.read_text()) if used.is_file() else total)
    return DeviceMemory(total, free)
