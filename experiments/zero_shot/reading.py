"""Reads every head's scores of candidate lists once, so that any system can be scored from them afterwards.

One forward pass a list gives both readings that the compared systems want: the query's own rows over the passages
(HeadRank), and the rows from instruction to the end of the turn over the passages with their labels (ICR, QRHead,
CoRe), whose prompts differ in nothing else. Columns are put back into first-stage order.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from headrank.files import atomic_write
from headrank.model import (
    Backbone,
    Head,
    HeadScores,
    Order,
    PromptBuilder,
    PromptSettings,
    all_heads,
    context_order,
    read_several_rows,
)
from headrank.model.calibration import filter_tokens
from headrank.ranking import CandidateList

OURS, FIELD = "query", "suffix"  # the rows that each reading takes


@dataclass(frozen=True)
class ListScores:
    """All heads' scores of one list, columns in first-stage order; `order[c]` is the candidate at context position c.

    ours: query rows, passages without their labels; field: rows to the end of the turn, passages with their labels.
    filtered: head set's name -> ICR's filtered score by those heads [docs].
    per_head_filtered: each head's own [heads, docs].
    """

    order: tuple[int, ...]
    ours: HeadScores
    field: HeadScores
    filtered: Mapping[str, Tensor]
    per_head_filtered: Tensor | None


def read_list(
    backbone: Backbone,
    prompts: PromptSettings,
    item: CandidateList,
    order: tuple[int, ...],
    head_sets: Mapping[str, Sequence[Head]],
    *,
    per_head: bool,
) -> ListScores:
    """One pass over one list. `head_sets` are those whose token-filtered scores are wanted."""
    heads = all_heads(backbone.depth, backbone.heads_per_layer)
    texts = [item.passages[i].text for i in order]
    labelled = PromptBuilder(backbone.tokenizer, replace(prompts, label_in_span=True))
    prompt = labelled.build(item.query.text, texts, with_null=True)
    bare = PromptBuilder(backbone.tokenizer, prompts).build(item.query.text, texts, with_null=True)
    assert prompt.prefix == bare.prefix, "the two readings share one prompt"
    with torch.inference_mode():
        read = read_several_rows(backbone, [prompt], heads, kinds=[OURS, FIELD], per_token=True)[0]
    tokens = read[OURS].tokens
    assert tokens is not None
    assert tokens.null is not None
    # Without its label a passage begins later; the label's tokens are the first of its span.
    offsets = torch.cat([torch.arange(s.end - s.start) for s in prompt.passages])
    labels = torch.tensor([b.start - p.start for p, b in zip(prompt.passages, bare.passages, strict=True)])
    text = (offsets >= labels[tokens.passage]).float()
    member = (tokens.passage[:, None] == torch.arange(len(texts))).float()
    back = torch.argsort(torch.tensor(order))
    lengths = torch.tensor([s.end - s.start for s in bare.passages])
    ours = HeadScores(heads, (tokens.query * text) @ member, (tokens.null * text) @ member, lengths)
    field = read[FIELD]
    assert field.tokens is not None
    assert field.tokens.null is not None
    difference = field.tokens.query - field.tokens.null
    where = {head: i for i, head in enumerate(heads)}
    filtered = {}
    for name, chosen in head_sets.items():
        total = difference[[where[head] for head in chosen]].sum(0)
        filtered[name] = filter_tokens(total[None], field.tokens.passage, len(texts))[0, back]
    single = filter_tokens(difference, field.tokens.passage, len(texts))[:, back] if per_head else None
    back_order = back.tolist()
    return ListScores(order, ours.reorder(back_order), field.reorder(back_order), filtered, single)


def read_lists(
    path: Path,
    backbone: Backbone,
    prompts: PromptSettings,
    lists: Sequence[CandidateList],
    order: Order,
    *,
    seed: int = 0,
    head_sets: Mapping[str, Sequence[Head]] | None = None,
    per_head: bool = False,
) -> list[ListScores]:
    """The scores of all lists in one context order: from `path` where they are, else read and put there."""
    if not path.is_file():
        tensors: dict[str, Tensor] = {}
        for n, item in enumerate(tqdm(lists, desc=path.stem, unit="list")):
            positions = context_order(order, len(item), seed=seed, query=item.query.text)
            one = read_list(backbone, prompts, item, positions, head_sets or {}, per_head=per_head)
            tensors[f"{n}/order"] = torch.tensor(positions)
            for name, scores in (("ours", one.ours), ("field", one.field)):
                assert scores.null is not None
                tensors[f"{n}/{name}/query"], tensors[f"{n}/{name}/null"] = scores.query, scores.null
                tensors[f"{n}/{name}/lengths"] = scores.lengths
            tensors |= {f"{n}/filtered/{name}": value for name, value in one.filtered.items()}
            if one.per_head_filtered is not None:
                tensors[f"{n}/per_head"] = one.per_head_filtered
        with atomic_write(path, "wb") as file:
            heads = all_heads(backbone.depth, backbone.heads_per_layer)
            metadata = {"heads": json.dumps(heads)}
            save_file({name: value.contiguous() for name, value in tensors.items()}, file.name, metadata=metadata)
    return stored_lists(path)


def stored_lists(path: Path) -> list[ListScores]:
    """What `read_lists` put into a file."""
    with safe_open(path, framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        heads = tuple(Head(*pair) for pair in json.loads(file.metadata()["heads"]))
    by_list: dict[int, dict[str, Tensor]] = {}
    for name, value in stored.items():
        number, _, rest = name.partition("/")
        by_list.setdefault(int(number), {})[rest] = value

    def head_scores(one: dict[str, Tensor], name: str) -> HeadScores:
        return HeadScores(heads, one[f"{name}/query"], one[f"{name}/null"], one[f"{name}/lengths"])

    return [
        ListScores(
            tuple(int(i) for i in one["order"]),
            head_scores(one, "ours"),
            head_scores(one, "field"),
            {name.removeprefix("filtered/"): value for name, value in one.items() if name.startswith("filtered/")},
            one.get("per_head"),
        )
        for _, one in sorted(by_list.items())
    ]
