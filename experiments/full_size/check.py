"""Measure time, peak memory and exactness at full size: five layers against full depth and against eager attention.

python -m experiments.full_size.check --model outputs/qwen3-0.6b-random --collection FOLDER
"""

import argparse
import resource
import time
from pathlib import Path

import torch
from transformers import AutoModel

from headrank.data import candidate_lists, load_collection
from headrank.model import (
    Backbone,
    BackboneSettings,
    Head,
    HeadScores,
    Prompt,
    PromptBuilder,
    PromptSettings,
    all_heads,
    load_backbone,
    read_head_scores,
)

LAYERS = 5  # number of layers that are computed
LISTS = 3
DEPTH = 40


def eager(folder: str, prompt: Prompt, heads: list[Head]) -> torch.Tensor:
    """Compute the head scores s_h(i) of the query's rows with transformers' eager attention, summed over spans.

    Returns:
        [heads, docs].
    """
    model = AutoModel.from_pretrained(
        folder,
        num_hidden_layers=LAYERS,
        dtype=torch.float32,
        attn_implementation="eager",
        use_safetensors=True,
        trust_remote_code=False,
    ).eval()
    tail = prompt.tails[0]
    kept: dict[int, torch.Tensor] = {}
    start = len(prompt.prefix) + tail.query.start
    count = tail.query.end - tail.query.start
    for number, layer in enumerate(model.layers):

        def keep(module, inputs, output, number=number):
            kept[number] = output[1][0, :, start : start + count].float()  # [heads, rows, keys]

        layer.self_attn.register_forward_hook(keep)
    with torch.no_grad():
        model(torch.tensor([[*prompt.prefix, *tail.ids]]))
    spans = prompt.passages
    return torch.stack(
        [torch.stack([kept[h.layer][h.head, :, s.start : s.end].sum(-1).mean() for s in spans]) for h in heads]
    )


def measured(backbone: Backbone, prompts: list[Prompt], heads: list[Head]) -> tuple[list[HeadScores], list[float]]:
    """Read every prompt. Return its head scores and the seconds per prompt."""
    scores, seconds = [], []
    for prompt in prompts:
        begin = time.perf_counter()
        with torch.inference_mode():
            scores += read_head_scores(backbone, [prompt], heads)
        seconds.append(time.perf_counter() - begin)
    return scores, seconds


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--collection", type=Path, required=True, help="a local folder with one run")
    options = parser.parse_args()
    lists = candidate_lists(load_collection(options.collection), kind="run", depth=DEPTH, max_queries=LISTS).lists
    cut = load_backbone(BackboneSettings(model=options.model, dtype="float32"), depth=LAYERS)
    builder = PromptBuilder(cut.tokenizer, PromptSettings())
    prompts = builder.build_many([(x.query.text, [p.text for p in x.passages]) for x in lists], with_null=True)
    heads = list(all_heads(LAYERS, cut.heads_per_layer))
    template = builder.chat_template.name
    print(f"{LISTS} lists of {DEPTH} passages, {[len(p) for p in prompts]} tokens, chat template {template}")
    shallow, seconds = measured(cut, prompts, heads)
    print(f"{LAYERS} layers: {seconds} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    full = load_backbone(BackboneSettings(model=options.model, dtype="float32"))
    deep, seconds = measured(full, prompts, heads)
    print(f"{full.depth} layers: {seconds} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    same = all(torch.equal(a.query, b.query) for a, b in zip(shallow, deep, strict=True))
    print(f"cut equals full depth exactly: {same}")
    del full
    expected = eager(options.model, prompts[0], heads)
    difference = (shallow[0].query - expected).abs()
    print(f"against eager attention: largest difference {difference.max():.2e}, of scores up to {expected.max():.3f}")


if __name__ == "__main__":
    main()
