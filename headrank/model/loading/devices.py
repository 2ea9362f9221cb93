"""Check that a device and an attention kernel are available, before a model is loaded."""

import torch
from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

from headrank.errors import ConfigError
from headrank.settings import meant

DEVICES = ("cpu", "cuda", "mps", "xpu")
FLASH = {"flash_attention_2": is_flash_attn_2_available, "flash_attention_3": is_flash_attn_3_available}
"""Kernels that need a package -> the check that the package and a supported GPU are available."""


def parse_device(name: str) -> torch.device:
    """Return the device with this name; `auto` is cuda if torch finds a GPU, else cpu.

    Raises `ConfigError` for an unknown name. Does not check that the device is available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in DEVICES:
        kind = name.lower().partition(":")[0]
        hint = meant("cuda" if kind in ("gpu", "nvidia") else kind, ("auto", *DEVICES))
        raise ConfigError(
            f"model.device is {name!r}; expected auto, {', '.join(DEVICES)}, or one with a number such as cuda:1{hint}"
        )
    return device


def check_device(name: str) -> None:
    """Raise `ConfigError` unless the device is available."""
    device = parse_device(name)
    if device.type == "cpu":
        return
    backend = getattr(torch, device.type)
    number = backend.device_count() if backend.is_available() else 0
    if (device.index or 0) >= number:
        found = f"torch finds {number} {device.type} devices"
        raise ConfigError(f"model.device is {name!r}, but {found}; expected auto or cpu")


def check_kernel(kernel: str) -> None:
    """Raise `ConfigError` if a kernel's package is not installed or no GPU supports it."""
    if kernel in FLASH and not FLASH[kernel]():
        raise ConfigError(
            f"model.kernel is {kernel!r}, which needs the package flash-attn and a GPU; at least one is missing; "
            "expected sdpa"
        )
