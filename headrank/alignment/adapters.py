"""The parameters that alignment trains: LoRA adapters on chosen matrices, those matrices in full, or head weights only.

The rest of the backbone is frozen. That includes what the readout does not reach (values, output and MLP of the deepest
layer, the final norm): a trainable parameter without a gradient would stop distributed training. `module.py` prepares
the model with these functions, and `export.py` merges the adapters into plain weights.
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
"""The matrices that the readout reaches even in the deepest layer."""
MATRICES: dict[str, str] = {
    **dict.fromkeys((*READ_LAST, "v_proj", "o_proj"), "self_attn"),
    **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), "mlp"),
}
"""The trainable matrices of a decoder layer -> the submodule of the layer that holds them."""


class TrainedPart(StrEnum):
    """What is trained."""

    LORA = "lora"
    FULL = "full"
    HEAD_WEIGHTS = "head_weights"


@settings
class TrainedSettings:
    """What is trained, and the shape of the LoRA adapters (Hu et al., arXiv 2106.09685)."""

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

    LoRA layers start as the identity; `seed` sets their random matrices. Dropout is set to 0: it would only add noise
    to the readout.

    Returns:
        Name in the model -> trainable parameter; empty for `head_weights`.

    Raises `ValueError` if the model has adapters already, if a layer lacks one of the matrices, and for `full` training
    of half-precision weights, whose steps are lost in rounding.
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
    """Recompute the layers' activations in the backward pass while the model is in train mode."""
    # The method was renamed in transformers 5. Reentrant checkpointing would lose the gradients of head scores.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def zero_loss(parameters: Sequence[nn.Parameter]) -> Tensor:
    """0 that depends on the parameters, so that each gets a gradient, which DDP waits for."""
    return torch.stack([p.float().sum() * 0 for p in parameters]).sum() if parameters else torch.zeros(())


def lora_layers(model: nn.Module) -> dict[str, "LoraLayer"]:
    """The model's LoRA layers by the name of the matrix that each adapts."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def decoder_layers(model: PreTrainedModel) -> str:
    """The name of the list of decoder layers within the model (`layers`, or `language_model.layers`).

    Raises `ValueError` if the model has no such list.
    """
    layers = getattr(model.get_decoder(), "layers", None)
    for name, module in model.named_modules():
        if module is layers:
            return name
    raise ValueError(f"{type(model).__name__} has no known list of decoder layers")


def layer_of(name: str, layers: str) -> int | None:
    """The number of the decoder layer that a parameter belongs to, None if it belongs to no layer."""
    found = re.match(rf"{re.escape(layers)}\.(\d+)\.", name)
    return int(found.group(1)) if found else None


class StartModel:
    """The frozen model before training, for reference scores. Create it before the first step.

    `entered` switches adapters off and swaps fully trained matrices for copies of their start values (copied only if
    `keep` is True). Enter it before the forward pass whose gradients are taken, not between that pass and its backward.
    """

    def __init__(self, model: PreTrainedModel, trained: Mapping[str, nn.Parameter], *, keep: bool) -> None:
        self._model = model
        self._adapters = lora_layers(model)
        plain = {} if self._adapters or not keep else trained
        self._pairs = [(parameter, parameter.detach().clone()) for parameter in plain.values()]

    @property
    def sharable(self) -> bool:
        """Whether the model may be sharded: copies of whole matrices cannot be swapped with shards."""
        return not self._pairs

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within this context the model computes with its start weights."""
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
    """The state dict of the model's first `depth` layers, adapters merged, under the plain model's names, on the CPU.

    A merged matrix is W + alpha / rank * B A, summed in fp32 and cast to W's dtype. The model is not changed.
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
    """Whether the readout of the first `depth` layers reaches a matrix: in the deepest layer only q_proj and k_proj."""
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
