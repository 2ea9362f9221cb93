"""Write a model folder with a Qwen3's shape, random weights and a given tokenizer (1.2 GB; 4b: 8 GB).

python -m experiments.full_size.make_model --tokenizer .cache/tokenizers/qwen3 --output outputs/qwen3-0.6b-random
python -m experiments.full_size.make_model --shape 4b --device cuda --output outputs/qwen3-4b-random
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from headrank.io.files import atomic_folder

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
QWEN3_4B = {  # config.json of Qwen/Qwen3-4B
    **QWEN3_0_6B, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32,
}  # fmt: skip
SHAPES = {"0.6b": QWEN3_0_6B, "4b": QWEN3_4B}


def main() -> None:
    """Write the folder unless it exists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="0.6b")
    parser.add_argument("--device", default="cpu", help="device on which the weights are made; a GPU takes seconds")
    parser.add_argument("--tokenizer", type=Path, default=Path(".cache/tokenizers/qwen3"))
    parser.add_argument("--output", type=Path, default=Path("outputs/qwen3-0.6b-random"))
    options = parser.parse_args()
    if options.output.is_dir():
        return
    shape, rope = SHAPES[options.shape], {"rope_type": "default", "rope_theta": 1e6}
    config = AutoConfig.for_model("qwen3", **shape, rope_parameters=rope)
    torch.manual_seed(0)
    with torch.device(options.device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, trust_remote_code=False)
    with atomic_folder(options.output) as folder:
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(options.tokenizer, trust_remote_code=False).save_pretrained(folder)


if __name__ == "__main__":
    main()
