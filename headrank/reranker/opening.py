"""Opens a model with its heads, for `Reranker.from_pretrained`."""

from pathlib import Path
from typing import Any

from headrank.heads import HeadsFile
from headrank.model import Backbone, BackboneSettings, PromptSettings, StateSettings, load_backbone
from headrank.model.loading.devices import check_device, check_kernel
from headrank.reranker.heads import fit_heads, read_heads, set_fusion
from headrank.reranker.options import Overrides, check_prompt, dtype_name, read_states
from headrank.reranker.run_model import find_run_model
from headrank.reranker.values import expect_type


def open_model(
    model: object,
    heads: Any,
    overrides: Overrides,
    *,
    revision: Any,
    dtype: Any,
    device: object,
    kernel: Any,
    states: object,
    fuse: object,
) -> tuple[Backbone, HeadsFile, StateSettings | None]:
    """Load a model, its heads with the overrides, and the settings of its stored states.

    The arguments (as the user gave them) and errors are those of `Reranker.from_pretrained`. Everything except missing
    weights is checked before weights are read.
    """
    expect_type(model, (str, Path), "model")
    run = find_run_model(str(model), revision)
    settings = BackboneSettings(run.model, run.revision, dtype_name(dtype), str(device), kernel)
    check_device(settings.device)
    check_kernel(settings.kernel)
    given, own = read_heads(settings.model, run.heads if heads is None else heads)
    used = overrides.apply_to_prompt(given.prompt if isinstance(given, HeadsFile) else PromptSettings())
    opened_states = read_states(states, used)
    file = fit_heads(settings, given, own=own)
    file = overrides.apply(set_fusion(file, fuse) if overrides.scorer is None else file)  # a given scorer decides
    check_prompt(settings, file.prompt)
    return load_backbone(settings, depth=file.depth), file, opened_states
