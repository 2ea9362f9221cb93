"""Memory of this process and of the machine: the processor's, or a GPU's."""

import os
import resource
import sys
from pathlib import Path
from typing import NamedTuple

import torch


class DeviceMemory(NamedTuple):
    """Bytes that a device has, and how many of them are free now."""

    total: int
    free: int


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory held at once so far: on CUDA what PyTorch allocated there, else the resident set."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_memory(device: torch.device) -> DeviceMemory:
    """A device's memory; the processor's within the limit that a container sets (cgroup 2)."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return DeviceMemory(total, free)
    total = free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")  # Linux; elsewhere what is free is not known
    if meminfo.is_file():
        lines = (line.split() for line in meminfo.read_text().splitlines())
        free = next((int(line[1]) * 1024 for line in lines if line[0] == "MemAvailable:"), total)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and limit.read_text().strip().isdigit():
        total = min(total, int(limit.read_text()))
        free = min(free, total - int(used.read_text()) if used.is_file() else total)
    return DeviceMemory(total, free)
