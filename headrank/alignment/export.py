"""From a trained module to a folder that is served: adapters merged, layers cut, heads beside the weights.

    export_aligned(module, Path("outputs/aligned"))
    Reranker.from_pretrained("outputs/aligned")

The folder is an ordinary Hugging Face model folder with a `heads.json`: no peft, no trainer is needed to read it.
"""

import importlib.metadata
from pathlib import Path

import torch
from transformers import AutoModel

from headrank.alignment.adapters import plain_weights
from headrank.alignment.module import AlignmentModule
from headrank.heads import HeadsFile
from headrank.io.files import replaced_folder
from headrank.model import Backbone, save_backbone, weights_fingerprint
from headrank.model.backbone import DTYPES, cut_config
from headrank.reranker import HEADS_FILE


def export_aligned(
    module: AlignmentModule, folder: str | Path, *, overwrite: bool = False, dtype: str | None = None
) -> HeadsFile:
    """Write model, tokenizer and heads as one folder, whole or not at all; returns the content of its heads file.

    The model holds the layers up to the deepest head now in use, adapters merged, in `dtype` (None: that of the
    module's weights). The module stays as it is. Under DDP call it in one process; a module that FSDP sharded is not
    exported itself, but its checkpoint, loaded into a fresh one. What a kill leaves half done is completed by the next
    export, or by `finish_replacing(folder)`; at no moment is there neither an old nor a new whole folder.

    Raises `FileExistsError` if the folder is there and `overwrite` is False.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} is there already: remove it, choose another, or export with overwrite=True")
    with replaced_folder(folder) as scratch:
        save_backbone(_plain_backbone(module, dtype), scratch)
        heads = aligned_heads(module)
        heads.model["weights"] = weights_fingerprint(scratch, heads.depth)  # those that were trained
        heads.save(scratch / HEADS_FILE)
    return heads


def aligned_heads(module: AlignmentModule) -> HeadsFile:
    """The heads file of what the module reads now."""
    settings = module.backbone.settings
    return HeadsFile(
        model={
            "id": settings.model,
            "revision": settings.revision,
            "layers": module.backbone.layers,
            "heads_per_layer": module.backbone.heads_per_layer,
            "aligned": module.trained_settings.part,
        },
        heads=module.heads,
        weights=tuple(module.weights.detach().cpu().tolist()),
        criterion=dict(module.origin["criterion"]),
        prompt=module.reader.prompts.settings,
        scorer=module.reader.scorer,
        query_ids=tuple(module.origin["query_ids"]),
        seeds=tuple(module.origin["seeds"]),
        project_version=importlib.metadata.version("headrank"),
        table=module.origin.get("table"),  # where heads were selected again
    )


def _plain_backbone(module: AlignmentModule, dtype: str | None) -> Backbone:
    backbone = module.backbone
    kept = backbone.model.dtype if dtype is None else DTYPES[dtype]
    config = type(backbone.model.config).from_dict(backbone.model.config.to_dict())
    cut_config(config.get_text_config(decoder=True), module.depth)
    with torch.device("meta"):  # no memory: every tensor is assigned
        model = AutoModel.from_config(config, dtype=kept, trust_remote_code=False)
    weights = plain_weights(backbone.model, module.depth)
    model.load_state_dict({name: weight.to(kept) for name, weight in weights.items()}, assign=True)
    return Backbone(model, backbone.tokenizer, backbone.layers, backbone.settings)
