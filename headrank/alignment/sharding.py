"""FSDP (torch's FSDP2): each process holds a shard of every layer, for models too large for one GPU.

It uses Lightning's `ModelParallelStrategy` with data parallelism only. `AlignmentModule.configure_model` shards the
model. A checkpoint is one file, as with other strategies: rank 0 gathers the trained tensors and leaves out frozen
ones.
"""

from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.autograd import Function
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from transformers import PreTrainedModel

from headrank.alignment.adapters import decoder_layers


class ShardedStrategy(ModelParallelStrategy):
    """A Lightning strategy for FSDP2 that writes checkpoints as single files without frozen weights.

    Args:
        processes: the number of processes; each holds a shard of the model.
    """

    def __init__(self, processes: int) -> None:
        super().__init__(data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Gather the trained tensors. Every rank must call this method.

        Returns:
            Parameter name -> whole tensor on the CPU on rank 0, and an empty dict on other ranks.
        """
        options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
        assert self.model is not None
        return get_model_state_dict(self.model, options=options)


class ShardedModel:
    """Shards a model layer by layer, and connects the loss to the model's last hidden states (`tie`).

    In the backward pass, FSDP fetches a layer's weights when the gradient of the layer's output arrives. The loss is
    computed from head scores, so the output of the deepest layer would get no gradient; `tie` gives it a gradient of
    zeros.

    Args:
        model: the model, sharded in place.
        mesh: the processes that hold the shards.
    """

    def __init__(self, model: PreTrainedModel, mesh: DeviceMesh) -> None:
        self._hidden: Tensor | None = None
        for layer in model.get_submodule(decoder_layers(model)).children():
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        model.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, args: Any, output: Any) -> None:
        self._hidden = output.last_hidden_state if torch.is_grad_enabled() else None

    def tie(self, loss: Tensor) -> Tensor:
        """Return the loss unchanged, but connected to the output of the last forward pass.

        The backward pass then also starts at that output. Call this method once after each forward pass with gradients,
        before any other forward pass of the model, because only the output of the last one is kept.
        """
        assert self._hidden is not None
        hidden, self._hidden = self._hidden, None
        return _Tie.apply(loss, hidden)  # type: ignore[no-any-return]


class _Tie(Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, hidden: Tensor) -> Tensor:
        ctx.like = {"size": hidden.shape, "dtype": hidden.dtype, "device": hidden.device}
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return gradients[0], torch.zeros(**ctx.like)
