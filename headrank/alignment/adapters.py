"""Which parameters alignment trains: LoRA adapters on chosen matrices (q_proj and k_proj unless said otherwise), those
matrices in full, or head weights only.

The rest of the backbone is frozen, above all what the readout does not reach (values, output and MLP of the deepest
layer, the final norm): a parameter without a gradient would stop distributed training. Called by `module.py`, which
owns the model, and by `export.py`, which wants plain weights back.
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

if TYPE_CHECKING:  # of the extra `train`; the settings of alignment are read without it
    from peft.tuners.lora import LoraLayer

READ_LAST = ("q_proj", "k_proj")
"""The matrices that the readout reaches in the deepest layer too."""
MATRICES: dict[str, str] = {
    **dict.fromkeys((*READ_LAST, "v_proj", "o_proj"), "self_attn"),
    **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), "mlp"),
}
"""The matrices of a decoder layer that can be trained, and the part of the layer that each lies in."""


class TrainedPart(StrEnum):
    """What is trained."""

    LORA = "lora"
    FULL = "full"
    HEAD_WEIGHTS = "head_weights"


@settings
class TrainedSettings:
    """What is trained, and the shape of the adapters (LoRA: Hu et al., arXiv 2106.09685)."""

    # lora | full: the matrices themselves | head_weights: w_h alone, the backbone stays as it is
    part: Annotated[str, one_of(TrainedPart)] = "lora"
    matrices: Listed[Annotated[str, one_of(MATRICES)]] = READ_LAST  # of each layer; see MATRICES
    rank: Annotated[int, Ge(1)] = 16  # of the adapters [ours]
    alpha: Annotated[float, Gt(0)] = 32.0  # an adapter's product is scaled by alpha / rank [ours]
    seed: int = 0  # of the adapters' start values

    def __post_init__(self) -> None:
        if not self.matrices or len(set(self.matrices)) != len(self.matrices):
            raise wrong("matrices", list(self.matrices), "at least one and none twice")


def prepare_trained(model: PreTrainedModel, depth: int, settings: TrainedSettings) -> dict[str, nn.Parameter]:
    """Freeze the model, make what is trained of its first `depth` layers trainable; name in the model -> parameter.

    LoRA layers are put into the model in place; they start as a change of nothing. Nothing for `head_weights`. All
    dropout of the model is set to 0: the readout would not see it, only be disturbed by it.

    Raises `ValueError` if the model has adapters already, where a layer lacks one of the matrices, and for `full`
    training of half-precision weights, whose steps are lost in rounding.
    """
    if lora_layers(model):
        raise ValueError("the backbone has adapters already: load it anew, or export what they learned first")
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

        config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=list(targets))  # type: ignore[arg-type]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            inject_adapter_in_model(config, model)
        # Adapters learn in fp32 whatever the frozen weights are in.
        parameters = {name: p for name, p in model.named_parameters() if ".lora_" in name}
        for parameter in parameters.values():
            parameter.data = parameter.data.float()
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    return parameters


def lora_layers(model: nn.Module) -> dict[str, "LoraLayer"]:
    """The model's LoRA layers by the name of the matrix that each adapts."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def decoder_layers(model: PreTrainedModel) -> str:
    """The name of the list of decoder layers within the model (`layers`, or `language_model.layers`).

    Raises `ValueError` if it cannot be told.
    """
    layers = getattr(model.get_decoder(), "layers", None)
    for name, module in model.named_modules():
        if module is layers:
            return name
    raise ValueError(f"{type(model).__name__} has no list of decoder layers that is known here")


def layer_of(name: str, layers: str) -> int | None:
    """The number of the decoder layer that a parameter belongs to, None for one outside of all layers."""
    found = re.match(rf"{re.escape(layers)}\.(\d+)\.", name)
    return int(found.group(1)) if found else None


class StartModel:
    """The frozen model that training started from: made before the first step, entered for reference scores.

    Adapters are switched off; matrices that are trained in full are swapped for copies of what they were (kept only
    where `keep` says that they will be needed). Enter it before the pass whose gradients are taken, not between that
    pass and its backward.
    """

    def __init__(self, model: PreTrainedModel, trained: Mapping[str, nn.Parameter], *, keep: bool) -> None:
        self._model = model
        self._adapters = lora_layers(model)
        plain = {} if self._adapters or not keep else trained
        self._pairs = [(parameter, parameter.detach().clone()) for parameter in plain.values()]

    @property
    def sharable(self) -> bool:
        """Whether the model may be sharded: copies of whole matrices cannot be swapped for shards of them."""
        return not self._pairs

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The model computes as it did at the start."""
        self._scale(0.0)  # peft's enable_adapters() would change requires_grad, which distributed training counts on
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
    """The state of the model's first `depth` layers with adapters merged, by the plain model's names, on the CPU.

    A merged matrix is W + alpha / rank * B A, summed in fp32 and kept in W's dtype. The model itself stays as it is.
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
    """Whether a matrix of a layer bears on heads of the first `depth` layers: in the deepest only q_proj and k_proj."""
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
            f"{type(model).__name__} has no {missing[0]}: name matrices that are modules of their own there, some of "
            + ", ".join(MATRICES)
        )
    return {name: module for name in names if isinstance(module := modules[name], nn.Linear)}


def _remove_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0  # pyright: ignore[reportArgumentType]
