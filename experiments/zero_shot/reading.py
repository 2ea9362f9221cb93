"""Compute and store the scores of every head on candidate lists, from which every system is evaluated.

Passages are in first-stage order.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from headrank.io.files import atomic_write
from headrank.model import (
    Backbone,
    Head,
    HeadScores,
    PromptBuilder,
    PromptSettings,
    all_heads,
    read_head_scores,
)
from headrank.ranking import CandidateList, context_orders


@dataclass(frozen=True)
class ListScores:
    """The scores of all heads on a candidate list, with passages in first-stage order.

    order: the candidate (first-stage position) at each context position.
    scores: the head scores.
    """

    order: tuple[int, ...]
    scores: HeadScores


def read_list(backbone: Backbone, prompts: PromptBuilder, item: CandidateList, order: tuple[int, ...]) -> ListScores:
    """Score one candidate list in one forward pass."""
    prompt = prompts.build(item.query.text, [item.passages[i].text for i in order], with_null=True)
    heads = all_heads(backbone.depth, backbone.heads_per_layer)
    with torch.inference_mode():
        scores = read_head_scores(backbone, [prompt], heads)[0]
    return ListScores(order, scores.reorder(torch.argsort(torch.tensor(order)).tolist()))


def read_lists(
    path: Path,
    backbone: Backbone,
    prompts: PromptSettings,
    lists: Sequence[CandidateList],
    order: str,
    *,
    seed: int = 0,
) -> list[ListScores]:
    """Return the scores of all candidate lists in one context order, loaded from `path` or computed and saved there.

    Args:
        path: the safetensors file.
        backbone: the model.
        prompts: the prompt settings.
        lists: the candidate lists.
        order: the context order, such as `shuffled`.
        seed: the seed of a shuffled order.
    """
    if not path.is_file():
        tensors: dict[str, Tensor] = {}
        builder = PromptBuilder(backbone.tokenizer, prompts)
        for n, item in enumerate(tqdm(lists, desc=path.stem, unit="list")):
            positions = context_orders(order, item, seed)[0]
            scores = read_list(backbone, builder, item, positions).scores
            assert scores.null is not None
            tensors[f"{n}/order"] = torch.tensor(positions)
            tensors[f"{n}/query"], tensors[f"{n}/null"] = scores.query, scores.null
            tensors[f"{n}/lengths"] = scores.lengths
        with atomic_write(path, "wb") as file:
            heads = all_heads(backbone.depth, backbone.heads_per_layer)
            metadata = {"heads": json.dumps(heads)}
            save_file({name: value.contiguous() for name, value in tensors.items()}, file.name, metadata=metadata)
    return stored_lists(path)


def stored_lists(path: Path) -> list[ListScores]:
    """Load the scores that `read_lists` saved."""
    with safe_open(path, framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        heads = tuple(Head(*pair) for pair in json.loads(file.metadata()["heads"]))
    by_list: dict[int, dict[str, Tensor]] = {}
    for name, value in stored.items():
        number, _, rest = name.partition("/")
        by_list.setdefault(int(number), {})[rest] = value
    return [
        ListScores(tuple(one["order"].tolist()), HeadScores(heads, one["query"], one["null"], one["lengths"]))
        for _, one in sorted(by_list.items())
    ]
