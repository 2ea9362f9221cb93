"""What identifies a model's weights: part of the keys of everything that is computed with them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from headrank.model.backbone import BackboneSettings
from headrank.model.embedded import EMBEDDED_MODEL


def model_identity(settings: BackboneSettings) -> dict[str, Any]:
    """What identifies the weights that scores depend on: the name and revision, for a local folder its files too.

    A revision counts only for what comes from the hub. Texts for people (`*.md`) and hidden files do not count.
    """
    identity: dict[str, Any] = {"settings": replace(settings, revision=settings.hub_revision)}
    folder = Path(settings.model).expanduser()
    if settings.model != EMBEDDED_MODEL and folder.is_dir():
        files = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix != ".md" and p.name[0] != ".")
        identity["files"] = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return identity
