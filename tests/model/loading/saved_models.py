"""The files of a saved model, and changes to them."""

import json

from safetensors.torch import load_file, save_file

from headrank.model import BackboneSettings

WEIGHTS = "model.safetensors"


def settings(folder, **options) -> BackboneSettings:
    return BackboneSettings(str(folder), device="cpu", **options)


def change_weights(folder, change):
    state = change(load_file(folder / WEIGHTS))
    save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS, metadata={"format": "pt"})


def change_json(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def without(*parts):
    return lambda state: {k: v for k, v in state.items() if not any(part in k for part in parts)}
