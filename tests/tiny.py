"""Tiny things to test with: a tokenizer, random models of several families, the eager oracle."""

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from headrank.model import Backbone, BackboneSettings, Head, Prompt

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def tiny_tokenizer(*more: tuple[str, str]) -> PreTrainedTokenizerFast:
    """256 byte tokens, a few merges (and more), special tokens, and `<think>`, `</think>` added but not special, as in
    Qwen3."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate(alphabet)}
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "a"), ("i", "n"), ("e", "r"), *more]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(SPECIAL)
    backend.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def tiny_backbone(family: str, tokenizer, *, heads: int = 4, kv_heads: int = 2, layers: int = 3, **extra) -> Backbone:
    """A random model of that family, large weights so that attention is far from uniform."""
    config = AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=12,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        **extra,
    )
    torch.manual_seed(0)
    model = AutoModel.from_config(config, attn_implementation="headrank", dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "proj" in name and parameter.ndim == 2:
                parameter.normal_(std=0.35)
    return Backbone(model, tokenizer, layers, BackboneSettings(model=f"tiny-{family}"))


def eager_scores(backbone: Backbone, prompt: Prompt, rows: str, heads: list[Head], tail: int) -> torch.Tensor:
    """The oracle: one full eager pass over prefix + tail, softmax rows summed per span with plain loops."""
    config = type(backbone.model.config).from_dict(backbone.model.config.to_dict())
    eager = AutoModel.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    eager.load_state_dict(backbone.model.state_dict())
    part = prompt.tails[tail]
    with torch.no_grad():
        attentions = eager(torch.tensor([[*prompt.prefix, *part.ids]]), output_attentions=True).attentions
    span, base = part.rows(rows), len(prompt.prefix)
    result = torch.zeros(len(heads), len(prompt.passages))
    for h, (layer, head) in enumerate(heads):
        matrix = attentions[layer][0, head]
        for n, passage in enumerate(prompt.passages):
            values = [matrix[base + t, passage.start : passage.end].sum() for t in range(span.start, span.end)]
            result[h, n] = torch.stack(values).mean()
    return result
