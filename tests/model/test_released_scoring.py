"""ICR, QRHead, CoRe and Selective-ICR as released code computes them, with plain loops, against the shipped baselines.

A prompt is one string, tokenised whole by a real tokenizer. Spans come from the positions at which the string was put
together, attention from full eager matrices of a small random model.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from transformers import AutoModel

from headrank.data.labelled import label
from headrank.experiment import MAIN_SYSTEM, SystemSettings
from headrank.heads import Contrastive, read_head_table
from headrank.model import Backbone, CalibrationSettings, Head, ListReader, PromptBuilder, Scorer, all_heads
from headrank.ranking import CandidateList, Passage, Query, shuffled_order
from headrank.run import CONFIG_FOLDER, experiment_from_config
from tests.model.scoring import in_first_stage_order
from tests.tiny import tiny_backbone
from tests.tokenizers import REAL

METHODS = ("icr", "qrhead", "core", "selective_icr")
TEXTS = [
    "Tides are caused by the moon's pull.",
    "Ships wait for the tide (see 4.2).",
    "Bread rises because of yeast",
    "Is it 12:30? Naïve 数学。",
    'He said: "Why?"',
    "A longer passage, which says much about the sea, its tides and the moon, and little about anything else at all.",
]
QUERY = "what causes tides?"
INSTRUCTION = "Please find information that are relevant to the following query in the paragraphs above."
CHATML = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
BARE_CHATML = ("<|im_start|>user", "<|im_end|>\n<|im_start|>assistant")


@dataclass(frozen=True)
class Recipe:
    """What differs between the methods. Rows: `query`, `turn` (instruction to the end of the turn) or `all`."""

    frame: tuple[str, str]
    label: str
    label_in_span: bool
    rows: str
    best_last: bool


def recipe(method: str, family: str) -> Recipe:
    if method == "core":
        return Recipe(CHATML, "[document {}]", label_in_span=False, rows="turn", best_last=False)
    if method == "qrhead":
        return Recipe(BARE_CHATML, "[{}]", label_in_span=True, rows="all", best_last=True)
    rows = "query" if family == "qwen3" else "all"
    return Recipe(CHATML, "[{}]", label_in_span=True, rows=rows, best_last=True)


@dataclass(frozen=True)
class Written:
    """A prompt's ids, the tokens of each passage in context order, the rows that are read."""

    ids: list[int]
    passages: list[range]
    rows: range


def write(tokenizer, how: Recipe, query: str, texts: list[str]) -> Written:
    """The prompt as one string, tokenised whole."""
    separator = " \n\n"  # ICR's on Llama 3 and Qwen3
    text = f"{how.frame[0]} Here are some paragraphs:"
    places = []
    for number, passage in enumerate(texts, 1):
        text += separator
        outer = len(text)
        text += how.label.format(number)
        inner = len(text)
        text += f" {passage}"
        places.append((outer if how.label_in_span else inner, len(text)))
    text += separator
    instruction = len(text)
    text += f"{INSTRUCTION}{separator}Query:"
    asked = len(text)
    text += f" {query}"
    end = len(text)
    text += how.frame[1]
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)

    def tokens(start: int, stop: int) -> range:
        inside = [i for i, (a, b) in enumerate(encoding["offset_mapping"]) if start <= a < b <= stop]
        assert inside == list(range(inside[0], inside[-1] + 1))
        return range(inside[0], inside[-1] + 1)

    ids = encoding["input_ids"]
    first, last = tokens(instruction, end)[0], tokens(asked, end)[-1]
    rows = {"query": tokens(asked, end), "turn": range(first, last + 2), "all": range(first, len(ids))}[how.rows]
    return Written(ids, [tokens(*place) for place in places], rows)


def attention(backbone: Backbone, written: Written, heads: list[Head]) -> list[torch.Tensor]:
    """For each head the mean over the rows of its attention to each token."""
    config = type(backbone.model.config).from_dict(backbone.model.config.to_dict())
    eager = AutoModel.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    eager.load_state_dict(backbone.model.state_dict())
    with torch.no_grad():
        layers = eager(torch.tensor([written.ids]), output_attentions=True).attentions
    return [layers[layer][0, head, list(written.rows)].mean(0) for layer, head in heads]


def released_scores(backbone: Backbone, how: Recipe, query: str, texts: list[str], heads: list[Head]) -> list[float]:
    """The heads' attention summed, less that of "N/A", without tokens at or below mean - 2 std of their passage."""
    order = list(reversed(range(len(texts)))) if how.best_last else list(range(len(texts)))
    in_context = [texts[i] for i in order]
    passages, totals = [], []
    for asked in (query, "N/A"):
        written = write(backbone.tokenizer, how, asked, in_context)
        passages = written.passages
        totals.append(sum(attention(backbone, written, heads)))
    result = [0.0] * len(texts)
    for span, index in zip(passages, order, strict=True):
        values = [float(totals[0][t] - totals[1][t]) for t in span]
        mean = sum(values) / len(values)
        std = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
        result[index] = sum(v for v in values if v > mean - 2 * std)
    return result


@pytest.fixture(scope="module", params=REAL)
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def real_backbone(family) -> Backbone:
    return tiny_backbone("qwen3" if family == "qwen3" else "llama", REAL[family](), layers=2)


@pytest.fixture(scope="module")
def baselines() -> dict[str, SystemSettings]:
    with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base="1.3"):
        config = compose("config", [f"baselines=[{','.join(METHODS)}]"])
    return dict(experiment_from_config(config, Path("unused")).systems)


def test_the_prompt_option_icr_is_the_baseline_s(baselines):
    with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base="1.3"):
        config = compose("config", ["prompt=icr"])
    assert experiment_from_config(config, Path("unused")).systems[MAIN_SYSTEM].prompt == baselines["icr"].prompt


def candidates(texts: list[str]) -> CandidateList:
    return CandidateList(Query("q", QUERY), tuple(Passage(f"d{i}", text) for i, text in enumerate(texts)))


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_released_code(method, family, real_backbone, baselines):
    how, system = recipe(method, family), baselines[method]
    heads = list(all_heads(2, 4)) if method == "icr" else [Head(0, 1), Head(1, 0), Head(1, 3)]
    expected = torch.tensor(released_scores(real_backbone, how, QUERY, TEXTS, heads))
    item = candidates(TEXTS)
    scored = Scorer(real_backbone, heads, prompt=system.prompt, settings=system.scorer).score([item])[0]
    spread = float(expected.max() - expected.min())
    assert spread > 1e-3
    torch.testing.assert_close(in_first_stage_order(scored, item), expected, atol=1e-4 * spread, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_prompts_are_those_of_released_code_to_the_token(method, family, real_backbone, baselines):
    how, system = recipe(method, family), baselines[method]
    prompt = PromptBuilder(real_backbone.tokenizer, system.prompt).build(QUERY, TEXTS, with_null=True)
    for tail, asked in zip(prompt.tails, (QUERY, "N/A"), strict=True):
        written = write(real_backbone.tokenizer, how, asked, TEXTS)
        assert [*prompt.prefix, *tail.ids] == written.ids
        assert [range(*span) for span in prompt.passages] == written.passages
        start, end = (len(prompt.prefix) + place for place in tail.rows(system.scorer.query_rows))
        assert range(start, end) == written.rows


@pytest.mark.parametrize("temperature", [0.001, 0.1])
def test_cores_head_detection(temperature, family, real_backbone, baselines):
    """A softmax over attention to a relevant passage and its negatives, for each list and context; then the mean."""
    how, system = recipe("core", family), baselines["core"]
    lists = [label(candidates(TEXTS), {"d0": 1}), label(candidates(TEXTS[1:]), {"d4": 1})]
    seeds = (0, 1)
    heads = list(all_heads(2, 4))
    shares: list[list[float]] = [[] for _ in heads]
    for one in lists:
        item = one.item
        for seed in seeds:
            order = shuffled_order(item, seed)
            written = write(real_backbone.tokenizer, how, QUERY, [item.passages[i].text for i in order])
            positive = order.index(one.grades.index(1))
            for shown, row in zip(shares, attention(real_backbone, written, heads), strict=True):
                logits = [sum(float(row[t]) for t in span) / temperature for span in written.passages]
                shown.append(math.exp(logits[positive] - max(logits)) / sum(math.exp(v - max(logits)) for v in logits))
    expected = torch.tensor([sum(values) / len(values) for values in shares])
    builder = PromptBuilder(real_backbone.tokenizer, system.prompt)
    reader = ListReader(real_backbone, builder, system.scorer.query_rows)
    table = read_head_table(reader, lists, heads, seeds=seeds)
    got = Contrastive(temperature=temperature)(table, CalibrationSettings())
    torch.testing.assert_close(got, expected, atol=1e-4 if temperature == 0.1 else 1e-3, rtol=0)
    assert expected.max() - expected.min() > 0.01
