"""Writes a model folder of Qwen3-0.6B's shape with random weights and the real Qwen3 tokenizer (1.2 GB).

python -m experiments.full_size.make_model --tokenizer .cache/tokenizers/qwen3 --output outputs/qwen3-0.6b-random
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from headrank.files import atomic_folder

QWEN3_0_6B = {  # config.json of Qwen/Qwen3-0.6B
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
}


def main() -> None:
    """Write the folder unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, default=Path(".cache/tokenizers/qwen3"))
    parser.add_argument("--output", type=Path, default=Path("outputs/qwen3-0.6b-random"))
    options = parser.parse_args()
    if options.output.is_dir():
        return
    config = AutoConfig.for_model("qwen3", **QWEN3_0_6B, rope_parameters={"rope_type": "default", "rope_theta": 1e6})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with atomic_folder(options.output) as folder:
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(options.tokenizer).save_pretrained(folder)


if __name__ == "__main__":
    main()
