"""Peak memory of this process, on the processor or on a GPU."""

import resource
import sys

import torch


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory held at once so far: on CUDA what PyTorch allocated there, else the resident set."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
