"""Move a loaded backbone to another device or dtype."""

from dataclasses import replace
from typing import cast

from torch import nn

from headrank.model.backbone import DTYPES, Backbone
from headrank.model.loading.devices import check_device


def move_backbone(backbone: Backbone, *, device: str | None = None, dtype: str | None = None) -> None:
    """Move a backbone to another device or dtype, in place; None keeps the device or the dtype.

    The result equals a backbone loaded there from the same weights. Only parameters and persistent buffers change their
    dtype; other buffers, such as rotary frequencies, are float32 in every dtype. Weights that were once in a shorter
    dtype stay rounded.

    Raises `ConfigError` for an unknown dtype or an unavailable device; then nothing is moved.
    """
    old = backbone.settings
    settings = replace(
        old, device=old.device if device is None else device, dtype=old.dtype if dtype is None else dtype
    )
    if device is not None:
        check_device(settings.device)
    model = cast(nn.Module, backbone.model)  # transformers declares its own `to` too narrowly
    if dtype is not None:
        for tensor in model.state_dict(keep_vars=True).values():
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(DTYPES[settings.dtype])
    if device is not None:
        model.to(settings.torch_device)
    backbone.settings = settings
