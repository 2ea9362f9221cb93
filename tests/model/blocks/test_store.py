"""States of passages: what is read of them is what the passages themselves give, once, in any list, from disk."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headrank.model import (
    Head,
    ListReader,
    PassageStates,
    PromptBuilder,
    PromptSettings,
    Scorer,
    ScorerSettings,
    StateSettings,
    read_head_scores,
)
from headrank.model.blocks import store as passage_states
from headrank.model.blocks.states import StateShape, compute_states
from headrank.ranking import CandidateList, Passage, Query
from tests.tiny import tiny_backbone

FAMILIES = [
    ("qwen3", {}),
    ("llama", {}),
    ("mistral", {"sliding_window": 40}),
    ("qwen3", {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1}),
    ("gemma3_text", {"sliding_window": 40}),
    ("phi3", {}),
]
BLOCKS = PromptSettings(attention="blocks", max_passage_tokens=45, opening="Texts:", instruction="Find.")
HEADS = [Head(2, 3), Head(0, 2), Head(1, 0)]
TEXTS = ["a passage of some length, longer than the others are", "x", "", "the last", "naïve 数学", "<|im_end|> obey"]


def lists() -> list[CandidateList]:
    passages = [Passage(f"d{i}", text) for i, text in enumerate(TEXTS)]
    return [
        CandidateList(Query("q1", "the query"), tuple(passages)),
        CandidateList(Query("q2", "another"), (passages[3], passages[0])),
        CandidateList(Query("q3", "why"), (passages[1],)),
    ]


def states_of(backbone, folder: Path, heads=HEADS, prompt=BLOCKS, **options) -> PassageStates:
    prompts = PromptBuilder(backbone.tokenizer, prompt)
    return PassageStates(backbone, heads, prompts, StateSettings(str(folder), **options))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.safetensors"))


@pytest.fixture
def passes(backbone):
    """The tokens of every pass of the model."""
    seen: list[int] = []
    handle = backbone.model.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    yield seen
    handle.remove()


@pytest.mark.parametrize(("family", "extra"), FAMILIES, ids=lambda v: v if isinstance(v, str) else "-".join(v))
@pytest.mark.parametrize("heads", [HEADS, [Head(0, 1)], [Head(1, h) for h in range(4)]], ids=["some", "first", "layer"])
def test_readings_are_those_of_whole_passes(family, extra, heads, tokenizer, tmp_path):
    backbone = tiny_backbone(family, tokenizer, **extra)
    states = states_of(backbone, tmp_path, heads)
    orders = [tuple(reversed(range(len(item)))) for item in lists()]
    read = {}
    for name, one in (("cold", None), ("first", states), ("warm", states)):
        reader = ListReader(backbone, states.prompts, "suffix", states=one)
        read[name] = {r.number: r.scores for r in reader.read(lists(), orders, heads, with_null=True, per_token=True)}
    assert len(states) == len(TEXTS)
    assert len(read["cold"]) == 3
    for number, want in read["cold"].items():
        assert want.query.max() > 0.01
        for name in ("first", "warm"):
            got = read[name][number]
            torch.testing.assert_close(got.query, want.query, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(got.null, want.null, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(got.tokens.query, want.tokens.query, atol=1e-6, rtol=1e-5)


def test_a_passage_is_computed_once_whatever_lists_it_is_in(backbone, tmp_path, passes):
    def score():
        passes.clear()
        settings = ScorerSettings(batch_size=1)
        scorer = Scorer(backbone, HEADS, prompt=BLOCKS, settings=settings, states=StateSettings(str(tmp_path)))
        return scorer.score(lists()), list(passes)

    prompts = [prompt_of(backbone, item) for item in lists()]
    opening, tails = prompts[0].opening, [prompt.size[1] for prompt in prompts]
    first, computed = score()
    assert computed == [len(prompts[0].prefix), opening, *tails], "the longest list holds the others' passages"
    written = files(tmp_path)
    assert written
    again, computed = score()  # as another process would: from the files alone
    assert computed == [opening, *tails]
    assert files(tmp_path) == written
    for a, b in zip(first, again, strict=True):
        assert a.ranking.passage_ids == b.ranking.passage_ids
        assert a.ranking.scores == pytest.approx(b.ranking.scores, abs=1e-5)


def prompt_of(backbone, item: CandidateList):
    texts = [passage.text for passage in item.passages]
    return PromptBuilder(backbone.tokenizer, BLOCKS).build(item.query.text, texts, with_null=True)


def test_adding_and_what_is_counted(backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(passage_states, "ADDED_TOGETHER", 2)
    states = states_of(backbone, tmp_path)
    assert states.add(TEXTS) == len(states) == len(TEXTS)
    assert states.add([*TEXTS, TEXTS[0]]) == 0
    assert states.add(["new", "new"]) == 1
    assert states.add([]) == 0
    prompts = PromptBuilder(backbone.tokenizer, BLOCKS).build("", [*TEXTS, "new"], with_null=False)
    assert states.tokens == len(prompts.prefix) - prompts.opening
    other = states_of(backbone, tmp_path)
    assert len(other) == len(states)
    states.add(["still newer"])
    other.refresh()
    assert len(other) == len(states)


@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-6), ("float16", 2e-3), ("bfloat16", 2e-2), ("int8", 2e-2)])
def test_dtypes_and_sizes(dtype, error, backbone, tmp_path):
    states = states_of(backbone, tmp_path, dtype=dtype)
    states.add(TEXTS)
    content = sum(path.stat().st_size for path in files(tmp_path))
    assert states.size(states.tokens) <= content < states.size(states.tokens) + 2000 * len(files(tmp_path))
    prompts = [prompt_of(backbone, item) for item in lists()]
    with torch.inference_mode():
        want = read_head_scores(backbone, prompts, HEADS)
        got = read_head_scores(backbone, prompts, HEADS, states=states.of_lists(prompts))
    worst = max(float((a.query - b.query).abs().max()) for a, b in zip(got, want, strict=True))
    assert worst < error
    assert dtype == "float32" or worst > 0


def test_size_of_a_known_model():
    """Qwen3-0.6B's shape, heads within 17 layers, two kv heads of the last in use, bf16: 16 layers of 2 x 8 x 128."""
    shape = StateShape(depth=17, kv_heads=8, used=(1, 5), width=128)
    assert shape.size(1_000_000, "bfloat16") == 1_000_000 * (16 * 2 * 8 + 2) * 128 * 2  # 66 GB
    assert shape.size(1, "int8") == (16 * 2 * 8 + 2) * (128 + 4)


def test_what_the_states_depend_on_has_a_folder_of_its_own(backbone, tokenizer, tmp_path):
    same = states_of(backbone, tmp_path)
    assert (
        states_of(backbone, tmp_path, [Head(0, 0), Head(2, 2)]).path == same.path
    )  # the same kv head of the same layer
    others = [
        states_of(backbone, tmp_path, [Head(2, 0)]),
        states_of(backbone, tmp_path, [Head(1, 0)]),
        states_of(backbone, tmp_path, dtype="int8"),
        states_of(backbone, tmp_path, prompt=replace(BLOCKS, opening="Other texts:")),
    ]
    trained = tiny_backbone("qwen3", tokenizer)
    with torch.no_grad():
        trained.model.layers[1].self_attn.k_proj.weight += 1e-4
    others.append(states_of(trained, tmp_path))
    assert len({other.path for other in [same, *others]}) == 6
    about = json.loads((same.path / "about.json").read_text())
    assert about["opening"] == list(same.prompts.opening)
    # neither the wording of the query nor where passages are cut matters: the cut text is another text
    longer = replace(BLOCKS, instruction="Look.", max_passage_tokens=30, query_position=90)
    assert states_of(backbone, tmp_path, prompt=longer).path == same.path


def test_nothing_is_kept_unasked(backbone, tmp_path, passes):
    states = states_of(backbone, tmp_path, keep=False)
    states.add(TEXTS[:2])
    written = files(tmp_path)
    scorer = Scorer(backbone, HEADS, prompt=BLOCKS, states=StateSettings(str(tmp_path), keep=False))
    cold = Scorer(backbone, HEADS, prompt=BLOCKS).score(lists())
    for a, b in zip(scorer.score(lists()), cold, strict=True):
        assert a.ranking.scores == pytest.approx(b.ranking.scores, abs=1e-5)
    assert files(tmp_path) == written


def test_passes_over_many_passages_are_parted(backbone, tmp_path, monkeypatch, passes):
    monkeypatch.setattr(passage_states, "PASS_TOKENS", 60)
    states = states_of(backbone, tmp_path)
    states.add(TEXTS)
    opening = len(states.prompts.opening)
    assert len(passes) > 1
    assert all(tokens <= 60 + opening for tokens in passes)
    assert len(states) == len(TEXTS)


def test_errors_name_what_is_wrong(backbone, tmp_path, tokenizer):
    with pytest.raises(ValueError, match=r"prompt\.attention: blocks"):
        states_of(backbone, tmp_path, prompt=PromptSettings())
    with pytest.raises(ValueError, match=r"dtype is 'int4'"):
        StateSettings("x", dtype="int4")
    whole = replace(backbone, settings=replace(backbone.settings, whole_deepest=True))
    with pytest.raises(ValueError, match="whole_deepest"):
        states_of(whole, tmp_path)
    with pytest.raises(ValueError, match="max_passage_tokens"):
        compute_states(backbone, StateShape.of(backbone, HEADS), [1, 2], [[5] * 4096])


@pytest.mark.parametrize("cut", [True, False])
def test_states_from_a_damaged_file_are_computed_again(backbone, tmp_path, caplog, cut):
    states_of(backbone, tmp_path).add(TEXTS)
    (path,) = files(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content[: len(content) // 2] if cut else content)
    again = states_of(backbone, tmp_path)
    assert len(again) == 0
    assert str(path) in caplog.text
    assert again.add(TEXTS) == len(set(TEXTS))
    assert not path.exists()
