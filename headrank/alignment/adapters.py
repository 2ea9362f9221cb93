"""Make the parameters that alignment trains trainable: LoRA adapters, whole matrices, or only the head weights.

All other parameters of the backbone are frozen. Head scores are read from attention weights, so in the deepest layer
only the query and key projections affect them. Its value and output projections, its MLP and the final norm are frozen
too, because a trainable parameter without a gradient would stop distributed training. `module.py` prepares the model
with these functions, and `export.py` merges the adapters into plain weights.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from headrank.settings import Ge, Gt, Listed, one_of, settings, wrong

if TYPE_CHECKING:  # needs the extra `train`; alignment settings are read without it
    from peft.tuners.lora import LoraLayer

READ_LAST = ("q_proj", "k_proj")
"""The matrices of the deepest layer that affect its attention weights, and with them the head scores."""
MATRICES: dict[str, str] = {
    **dict.fromkeys((*READ_LAST, "v_proj", "o_proj"), "self_attn"),
    **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), "mlp"),
}
"""The trainable matrices of a decoder layer -> the submodule of the layer that holds them."""


class TrainedPart(StrEnum):
    """What alignment trains: LoRA adapters, the matrices themselves (`full`), or only the weights of the heads."""

    LORA = "lora"
    FULL = "full"
    HEAD_WEIGHTS = "head_weights"


@settings
class TrainedSettings:
    """What alignment trains, and the rank and scale of LoRA adapters (Hu et al., arXiv 2106.09685)."""

    # lora | full: the matrices themselves | head_weights: only w_h, the backbone is frozen
    part: Annotated[str, one_of(TrainedPart)] = "lora"
    matrices: Listed[Annotated[str, one_of(MATRICES)]] = tuple(MATRICES)  # adapted or trained in each layer [ours]
    rank: Annotated[int, Ge(1)] = 16  # of the adapters [ours]
    lora_alpha: Annotated[float, Gt(0)] = 32.0  # an adapter's product is scaled by lora_alpha / rank [ours]

    def __post_init__(self) -> None:
        if not self.matrices or len(set(self.matrices)) != len(self.matrices):
            raise wrong("matrices", list(self.matrices), "at least one and none twice")


def prepare_trained(
    model: PreTrainedModel, depth: int, settings: TrainedSettings, *, seed: int = 0
) -> dict[str, nn.Parameter]:
    """Freeze the model and make the chosen matrices of its first `depth` layers trainable, in place.

    LoRA adapters start as the identity: before training they do not change the output. Dropout is set to 0, because it
    would only add noise to the head scores.

    Args:
        model: the model, without adapters.
        depth: the number of layers, counted from the first, that get trainable matrices.
        settings: what is trained.
        seed: the seed of the adapters' random matrices.

    Returns:
        Name of the parameter in the model -> trainable parameter, for example `layers.0.self_attn.q_proj.weight`; empty
        for `head_weights`.

    Raises:
        ValueError: the model already has adapters, a layer lacks one of the matrices, or the part is `full` and the
            weights are in half precision, whose rounding would lose small steps.
    """
    if lora_layers(model):
        raise ValueError("the backbone has adapters already: load it again, or export them first")
    model.requires_grad_(False)
    _remove_dropout(model)
    if settings.part == TrainedPart.HEAD_WEIGHTS:
        return {}
    targets = _targets(model, depth, settings.matrices)
    if settings.part == TrainedPart.FULL:
        parameters = {f"{name}.weight": _parameter(module) for name, module in targets.items()}
        half = sorted({str(p.dtype) for p in parameters.values() if p.dtype != torch.float32})
        if half:
            raise ValueError(
                f"trained.part 'full' on weights of {', '.join(half)}: small steps would be rounded away. Load the "
                "model in float32 and train with precision='bf16-mixed', or use 'lora'"
            )
    else:
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(r=settings.rank, lora_alpha=settings.lora_alpha, target_modules=list(targets))  # type: ignore[arg-type]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, model)
        # Adapters are in fp32 whatever the dtype of the frozen weights.
        parameters = {name: p for name, p in model.named_parameters() if ".lora_" in name}
        for parameter in parameters.values():
            parameter.data = parameter.data.float()
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    return parameters


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Enable activation checkpointing: in train mode, the backward pass recomputes the layers' activations."""
    # The method was renamed in transformers 5. Reentrant checkpointing would lose the gradients of head scores.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def zero_loss(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return a loss of 0 that depends on all these parameters.

    Each parameter then gets a gradient of zeros, for which distributed training (DDP) waits. Without parameters the
    loss is a constant 0.
    """
    return torch.stack([p.float().sum() * 0 for p in parameters]).sum() if parameters else torch.zeros(())


def lora_layers(model: nn.Module) -> dict[str, "LoraLayer"]:
    """Return the LoRA layers of the model by the name of the adapted matrix, for example `layers.0.self_attn.q_proj`.

    The result is empty if the model has no adapters.
    """
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def decoder_layers(model: PreTrainedModel) -> str:
    """Return the name of the module list of decoder layers within the model: `layers`, or `language_model.layers`.

    Raises `ValueError` if the model has no such module list.
    """
    layers = getattr(model.get_decoder(), "layers", None)
    for name, module in model.named_modules():
        if module is layers:
            return name
    raise ValueError(f"{type(model).__name__} has no known list of decoder layers")


def layer_of(name: str, layers: str) -> int | None:
    """Return the index, from 0, of the decoder layer that a parameter belongs to, or None if it belongs to no layer.

    Args:
        name: the name of the parameter in the model.
        layers: the name of the module list of decoder layers, see `decoder_layers`.
    """
    found = re.match(rf"{re.escape(layers)}\.(\d+)\.", name)
    return int(found.group(1)) if found else None


class StartModel:
    """Lets the model compute with its weights from before training, for reference scores.

    Create this object before the first training step. Within the context `entered`, adapters are switched off, and
    fully trained matrices are swapped for copies of their start values. Do not enter the context between a forward pass
    and its backward pass.

    Args:
        model: the model.
        trained: name -> trained parameter, the result of `prepare_trained`.
        keep: whether to copy the start values of fully trained matrices. If False, `entered` does not restore them.
    """

    def __init__(self, model: PreTrainedModel, trained: Mapping[str, nn.Parameter], *, keep: bool) -> None:
        self._model = model
        self._adapters = lora_layers(model)
        plain = {} if self._adapters or not keep else trained
        self._pairs = [(parameter, parameter.detach().clone()) for parameter in plain.values()]

    @property
    def sharable(self) -> bool:
        """Whether the model may be sharded (FSDP).

        It may not if matrices were copied, because whole copies cannot replace shards.
        """
        return not self._pairs

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make the model compute with its start weights within this context."""
        self._scale(0.0)  # peft's enable_adapters() would change requires_grad, on which distributed training relies
        self._swap()
        try:
            yield
        finally:
            self._swap()
            self._scale(1.0)

    def _scale(self, factor: float) -> None:
        for layer in self._adapters.values():
            layer.set_scale(_adapter(layer), factor)

    def _swap(self) -> None:
        for number, (parameter, other) in enumerate(self._pairs):
            held, parameter.data = parameter.data, other.to(parameter.device)
            self._pairs[number] = (parameter, held)


@torch.no_grad()
def plain_weights(model: PreTrainedModel, depth: int) -> dict[str, Tensor]:
    """Return the weights of the first `depth` layers on the CPU, with adapters merged into them.

    A merged matrix is W + lora_alpha / rank * B A, summed in fp32 and cast to the dtype of W. The model is not changed.

    Args:
        model: the model, with or without adapters.
        depth: the number of layers to keep, counted from the first.

    Returns:
        A state dict with the parameter names of a model without adapters. Embeddings and the final norm are included.
    """
    layers, adapters = decoder_layers(model), lora_layers(model)
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        layer = layer_of(name, layers)
        if (layer is not None and layer >= depth) or ".lora_" in name:
            continue
        matrix, base, rest = name.partition(".base_layer.")
        value = tensor
        if base and rest == "weight":
            value = (tensor.float() + _delta(adapters[matrix])).to(tensor.dtype)
        state[f"{matrix}.{rest}" if base else name] = value.detach().cpu()
    return state


def _delta(layer: "LoraLayer") -> Tensor:
    adapter = _adapter(layer)
    a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    assert isinstance(a, Tensor)
    assert isinstance(b, Tensor)
    return b.float() @ a.float() * layer.scaling[adapter]


def _adapter(layer: "LoraLayer") -> str:
    (name,) = layer.lora_A.keys()
    return name


def _parameter(module: nn.Linear) -> nn.Parameter:
    assert isinstance(module.weight, nn.Parameter)
    return module.weight


def reached(name: str, layer: int, depth: int) -> bool:
    """Return whether a matrix affects the head scores of the first `depth` layers.

    In the last of these layers only q_proj and k_proj do.

    Args:
        name: the matrix, a key of `MATRICES`.
        layer: the index of its layer, from 0.
        depth: the number of computed layers.
    """
    return layer < depth - 1 or (layer == depth - 1 and name in READ_LAST)


def _targets(model: PreTrainedModel, depth: int, matrices: Sequence[str]) -> dict[str, nn.Linear]:
    layers = decoder_layers(model)
    modules = dict(model.named_modules())
    names = [
        f"{layers}.{layer}.{MATRICES[matrix]}.{matrix}"
        for layer in range(depth)
        for matrix in matrices
        if reached(matrix, layer, depth)
    ]
    missing = [name for name in names if not isinstance(modules.get(name), nn.Linear)]
    if missing:
        raise ValueError(
            f"{type(model).__name__} has no module {missing[0]}: choose other matrices, from " + ", ".join(MATRICES)
        )
    return {name: module for name in names if isinstance(module := modules[name], nn.Linear)}


def _remove_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0  # pyright: ignore[reportArgumentType]
