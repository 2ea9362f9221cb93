"""Export a trained module as a model folder: adapters are merged, unused layers cut, and a heads file added.

    export_aligned(module, Path("outputs/aligned"))
    Reranker.from_pretrained("outputs/aligned")

The folder is an ordinary Hugging Face model folder with a `heads.json` (see `headrank.reranker.folder`). Loading it
needs neither peft nor Lightning.
"""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModel

from headrank.alignment.adapters import plain_weights
from headrank.alignment.module import AlignmentModule
from headrank.alignment.validation import HELD_OUT
from headrank.heads import FusionFit, HeadsFile, ProbabilityCalibration, ScoredLabels, fit_fusion
from headrank.heads.cross_fitting import BEFORE_ALIGNMENT
from headrank.heads.cross_fitting import HELD_OUT as PROTOCOL
from headrank.io.files import replaced_folder
from headrank.model import Backbone, save_backbone, weights_fingerprint
from headrank.model.backbone import DTYPES, cut_config
from headrank.reranker.folder import complete_folder


def export_aligned(
    module: AlignmentModule,
    folder: str | Path,
    *,
    overwrite: bool = False,
    dtype: str | None = None,
    thresholds: Mapping[str, int] | None = None,
    fusion: FusionFit | None = None,
) -> HeadsFile:
    """Write model, tokenizer and heads file to one folder, atomically.

    The model holds the layers up to the deepest selected head. The module is not changed. Under DDP call this function
    in one process. Under FSDP load the checkpoint into a new module and export that.

    A complete folder, old or new, exists at any moment. If the process is killed, the next export or
    `headrank.io.files.finish_replacing(folder)` completes the replacement.

    Args:
        module: the trained module.
        folder: the folder to write.
        overwrite: whether to replace an existing folder.
        dtype: the dtype of the written weights; None: that of the module's weights.
        thresholds: data set -> the lowest grade that counts as relevant, stored with the probability calibration
            (`headrank.heads.probability`). None: the heads file gets no probability calibration.
        fusion: the fit of the fusion weight before training, if the weight is to be fitted again; None: the weight of
            the module's scorer is kept.

    Returns:
        The content of the written heads file.

    Raises:
        FileExistsError: the folder exists and `overwrite` is False.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists: remove it, choose another folder, or export with overwrite=True")
    with replaced_folder(folder) as scratch:
        save_backbone(_plain_backbone(module, dtype), scratch)
        heads = aligned_heads(module, thresholds, fusion)
        heads.model["weights"] = weights_fingerprint(scratch, heads.depth)  # the fingerprint of the trained weights
        complete_folder(scratch, heads)
    return heads


def aligned_heads(
    module: AlignmentModule, thresholds: Mapping[str, int] | None = None, fusion: FusionFit | None = None
) -> HeadsFile:
    """Return the content of the heads file for the module's current heads.

    Its fusion weight and probability calibration are fitted on the validation lists, with the scores of the last
    validation. Training lists would give overconfident probabilities, because the model has learned to separate their
    passages (measured in experiments/calibration). Validation reads each list in one context order, the same in all
    epochs.

    Args:
        module: the trained module.
        thresholds: data set -> the lowest grade that counts as relevant; stored with the probability calibration. None:
            no probability calibration.
        fusion: the fit of the fusion weight before training. If there are too few validation lists to fit it again
            (`headrank.heads.fusion.MIN_LISTS`), it is kept. None: the scorer's weight is kept.

    Returns:
        The heads file. Its `probability` is None without validation lists, without `thresholds`, and unless the
        validation lists have relevant and irrelevant passages.
    """
    settings, scorer = module.backbone.settings, module.scorer
    lists = [ScoredLabels(*one) for one in module.origin.get(HELD_OUT, ())]
    if fusion is not None:
        kept = replace(fusion, protocol=BEFORE_ALIGNMENT, probability=None)
        fusion = fit_fusion(lists, PROTOCOL) or kept
        fusion = fusion.with_probability(lists, thresholds, PROTOCOL) if thresholds else fusion
        scorer = replace(scorer, fusion=fusion.weight)
    fitted = [(one.z, one.relevant) for one in lists]
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
        scorer=scorer,
        query_ids=tuple(module.origin["query_ids"]),
        seeds=tuple(module.origin["seeds"]),
        project_version=importlib.metadata.version("headrank"),
        table=module.origin.get("table"),  # present if heads were reselected
        probability=ProbabilityCalibration.fit(fitted, thresholds, protocol=PROTOCOL) if thresholds else None,
        fusion=fusion,
    )


def _plain_backbone(module: AlignmentModule, dtype: str | None) -> Backbone:
    backbone = module.backbone
    kept = backbone.model.dtype if dtype is None else DTYPES[dtype]
    config = type(backbone.model.config).from_dict(backbone.model.config.to_dict())
    cut_config(config.get_text_config(decoder=True), module.depth)
    with torch.device("meta"):  # allocates nothing: every tensor is assigned below
        model = AutoModel.from_config(config, dtype=kept, trust_remote_code=False)
    weights = plain_weights(backbone.model, module.depth)
    model.load_state_dict({name: weight.to(kept) for name, weight in weights.items()}, assign=True)
    return Backbone(model, backbone.tokenizer, backbone.layers, backbone.settings)
