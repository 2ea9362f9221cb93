"""Parts of the layers through `torch.compile`: what is memory traffic between two matrix products becomes one kernel.

Norms and the MLP's gate read and write the hidden states several times each in plain PyTorch, which weighs where
products are fast. Measured: a tenth of a pass on a processor, 13 % on an H200 (experiments/benchmarks). The attention
stays as it is: its kernel is fused already, and the readout beside it takes Python objects that a compiler would
specialise on.
"""

import importlib.util
import os
import shutil
import sys
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

PARTS = ("mlp", "input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm")
"""Modules of a decoder layer, by the names that the families of transformers give them."""


def compile_parts(model: PreTrainedModel) -> int:
    """Compile the MLPs and norms of all layers, in place, for any number of tokens; how many modules that were.

    Layers share what is compiled, so that the first pass waits for a handful of compilations and no later one does.
    Names, parameters and what is saved do not change. Needs Triton on a GPU and a C++ compiler on a processor: PyTorch
    raises where the first pass finds none.
    """
    layers: Any = model.get_decoder().layers
    modules = [module for layer in layers for part in PARTS if (module := _find(layer, part)) is not None]
    for module in modules:
        module.compile(dynamic=True)
    return len(modules)


def can_compile(device: torch.device) -> bool:
    """Whether `torch.compile` finds what it compiles with: Triton, on a processor a C++ compiler (g++, or `CXX`)."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    return shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")) is not None


def _find(layer: Any, path: str) -> nn.Module | None:
    for name in path.split("."):
        layer = getattr(layer, name, None)
    return layer
