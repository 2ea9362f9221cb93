"""Generation: greedy decoding against a plain loop, and the listwise reranker with an oracle that writes."""

import re
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch

from headrank.baselines import Generative
from headrank.baselines.generative import GenerativeReranker
from headrank.baselines.generators import Reply, TransformersGenerator, VllmGenerator
from headrank.baselines.language_model import load_language_model
from headrank.baselines.replies import KINDS
from headrank.errors import ModelError
from headrank.model import BackboneSettings, load_backbone, save_backbone
from tests.baselines.toy import HOSTILE, candidates, chat_tokenizer, language_model, save_language_model

TOKENIZER = chat_tokenizer()


class Oracle:
    """Writes the right order of the passages in its prompt, each of which says how relevant it is: `worth 17`."""

    schedules = False
    max_tokens = None
    device = torch.device("cpu")

    def __init__(self, spoil=lambda reply: reply):
        self.tokenizer = TOKENIZER
        self.spoil = spoil
        self.batches: list[int] = []

    def complete(self, prompts, max_new_tokens):
        self.batches.append(len(prompts))
        return [self.reply(str(self.tokenizer.decode(list(prompt)))) for prompt in prompts]

    def reply(self, prompt: str) -> Reply:
        worth = {int(i): int(n) for i, n in re.findall(r"user\n\[(\d+)\] worth (\d+)", prompt)}
        text = self.spoil(" > ".join(f"[{i}]" for i in sorted(worth, key=lambda i: -worth[i])))
        return Reply(text, len(text), cut=False)


def worth(size: int, query_id: str = "q1"):
    return candidates(*(f"worth {(37 * i + 11) % 101}" for i in range(size)), query_id=query_id)


def values(item, ranking) -> list[int]:
    texts = {passage.id: passage.text for passage in item.passages}
    return [int(texts[i].split()[1]) for i in ranking.passage_ids]


@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_lists_of_many_sizes_side_by_side(batch_size):
    sizes = (0, 1, 2, 19, 20, 21, 40, 100)
    lists = [worth(size, f"q{size}") for size in sizes]
    oracle, seen = Oracle(), []
    output = GenerativeReranker(oracle, Generative(batch_size=batch_size)).rerank(lists, on_list=lambda: seen.append(1))
    assert len(seen) == len(lists)
    assert [ranking.query_id for ranking in output.rankings] == [item.query.id for item in lists]
    for item, ranking in zip(lists, output.rankings, strict=True):
        assert sorted(ranking.passage_ids) == sorted(item.passage_ids)
        found, best = values(item, ranking), sorted(values(item, ranking), reverse=True)
        assert found[:10] == best[:10]
        assert ranking.scores == tuple(1 / rank for rank in range(1, len(item) + 1))
    assert output.replies == dict.fromkeys(KINDS, 0) | {"windows": 17, "well_formed": 17, "ok": 17}
    assert max(oracle.batches) == min(batch_size, 6)
    assert sum(oracle.batches) == 17
    # Lists were read in first-stage order, and have ranks alone.
    assert [context.passage_ids for context in output.contexts] == [item.passage_ids for item in lists]
    assert all(context.scores is None and context.masses is None for context in output.contexts)
    assert output.facts["shortened_windows"] == 0
    assert (output.facts["passages"], output.facts["cut_passages"]) == (sum(sizes), 0)
    assert output.facts["tokens"] > output.facts["generated_tokens"] > 0


def test_malformed_replies_are_mended_and_counted():
    lists = [worth(5)]
    first_only = GenerativeReranker(Oracle(lambda reply: reply.split(" > ")[0]), Generative()).rerank(lists)
    best = max(range(5), key=lambda i: int(lists[0].passages[i].text.split()[1]))
    others = [f"d{i}" for i in range(5) if i != best]
    assert list(first_only.rankings[0].passage_ids) == [f"d{best}", *others]
    assert first_only.replies == dict.fromkeys(KINDS, 0) | {"windows": 1, "missing": 1}
    silent = GenerativeReranker(Oracle(lambda _: "I would rather not."), Generative()).rerank(lists)
    assert silent.rankings[0].passage_ids == lists[0].passage_ids
    assert silent.replies == dict.fromkeys(KINDS, 0) | {"windows": 1, "unreadable": 1, "other_text": 1}


def test_a_passage_that_several_windows_cut_counts_once():
    lists = [candidates(*["worth 1 and more"] * 25, query_id="q1"), candidates("worth 2", "worth 3", query_id="q2")]
    facts = GenerativeReranker(Oracle(), Generative(passage_limit=2)).rerank(lists).facts
    assert (facts["passages"], facts["cut_passages"], facts["cut_lists"], facts["cut_queries"]) == (27, 25, 1, 0)


def greedy(model, prompt: list[int], limit: int, ends: set[int]) -> list[int]:
    """One token at a time, no cache, no padding."""
    ids = list(prompt)
    while len(ids) < len(prompt) + limit:
        with torch.no_grad():
            token = int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if token in ends:
            break
        ids.append(token)
    return ids[len(prompt) :]


def test_batches_decode_greedily_as_a_plain_loop_does():
    loaded = language_model(TOKENIZER)
    loaded.model.generation_config.repetition_penalty = 5.0
    loaded.model.generation_config.do_sample = True
    loaded.model.generation_config.temperature = 3.0
    prompts = [TOKENIZER(text)["input_ids"] for text in ("the moon", "bread", "a much longer prompt than those two")]
    limits = [12, 5, 9]
    end = TOKENIZER.eos_token_id
    expected = [greedy(loaded.model, p, n, {end}) for p, n in zip(prompts, limits, strict=True)]
    replies = TransformersGenerator(loaded).complete(prompts, limits)
    for reply, ids, limit in zip(replies, expected, limits, strict=True):
        assert reply == Reply(TOKENIZER.decode(ids, skip_special_tokens=True), len(ids), cut=len(ids) == limit)
    # The second token of the first reply as another end of the checkpoint's: it ends there, and is not cut.
    other = expected[0][1]
    loaded.model.generation_config.eos_token_id = [end, other]
    again = TransformersGenerator(loaded).complete(prompts, limits)
    shorter = greedy(loaded.model, prompts[0], 12, {end, other})
    assert len(shorter) < 12
    assert again[0] == Reply(TOKENIZER.decode(shorter, skip_special_tokens=True), len(shorter), cut=False)


def test_a_real_model_gives_complete_rankings_for_any_text():
    lists = [
        candidates("The moon.", "", HOSTILE, "The moon.", "x" * 3000, query_id="q1"),
        candidates("one", query_id="q2"),
        candidates(query_id="q3"),
    ]
    reranker = GenerativeReranker(
        TransformersGenerator(language_model(TOKENIZER)),
        Generative(max_new_tokens=6, passage_cut="tokens", batch_size=2),
    )
    output = reranker.rerank(lists)
    assert [sorted(ranking.passage_ids) for ranking in output.rankings] == [sorted(i.passage_ids) for i in lists]
    assert output.replies["windows"] == 1
    assert output == reranker.rerank(lists)


def test_a_list_that_cannot_go_into_the_context_is_told_before_anything_is_generated():
    oracle = Oracle()
    oracle.max_tokens = 2500
    long = candidates("a", "b", query="tides " * 2000, query_id="long")
    with pytest.raises(ValueError, match="query 'long'"):
        GenerativeReranker(oracle, Generative()).rerank([worth(20), long])
    assert oracle.batches == []


def test_settings_that_cannot_be():
    for change, said in (
        ({"window": 1}, "window is 1"),
        ({"step": 21}, "step is 21"),
        ({"passage_cut": "letters"}, "letters"),
        ({"passage_limit": 0}, "passage_limit"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"batch_size": 0}, "batch_size"),
        ({"backend": "llama.cpp"}, "backend"),
    ):
        with pytest.raises(ValueError, match=said):
            Generative(**change)


def test_what_its_rankings_depend_on():
    own, other = BackboneSettings("a/model"), BackboneSettings("b/model")
    identity = Generative().identity(own)
    assert Generative(batch_size=9).identity(own) == identity
    assert Generative(model=own).identity(other) == identity
    assert Generative().identity(other) != identity
    for change in ({"window": 10}, {"step": 5}, {"passage_limit": 100}, {"thinking": True}, {"backend": "vllm"}):
        assert Generative(**change).identity(own) != identity


def test_a_cut_model_and_one_without_a_head_cannot_generate(model_folder, tmp_path):
    with pytest.raises(ModelError, match=r"lm_head\.weight"):
        Generative().load(BackboneSettings(str(model_folder)))  # an untied model, saved without its head
    whole = save_language_model(tmp_path / "whole", language_model(TOKENIZER))
    assert load_language_model(BackboneSettings(str(whole))).max_tokens == 4096
    save_backbone(load_backbone(BackboneSettings(str(whole)), depth=1), tmp_path / "cut")
    with pytest.raises(ModelError, match="cut"):
        Generative().load(BackboneSettings(str(tmp_path / "cut")))


def test_vllm_is_asked_for_and_spoken_to(tmp_path, monkeypatch):
    folder = save_language_model(tmp_path / "model", language_model(TOKENIZER))
    settings = BackboneSettings(str(folder), dtype="bfloat16")
    with pytest.raises(ValueError, match="random_weights"):
        VllmGenerator(replace(settings, random_weights=True))
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ImportError, match=r"\[vllm\]"):
        Generative(backend="vllm").load(settings)

    asked: dict = {}

    class LLM:  # the two calls that are made of vLLM 0.33's interface
        def __init__(self, model, **given):
            asked.update(model=model, **given)
            self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=777))

        def generate(self, prompts, sampling_params=None, *, use_tqdm=True):
            asked["lengths"] = [len(prompt["prompt_token_ids"]) for prompt in prompts]
            reasons = ["length" if p.max_tokens < 5 else "stop" for p in sampling_params]
            assert all(p.temperature == 0 for p in sampling_params)
            return [
                SimpleNamespace(outputs=[SimpleNamespace(text="[2] > [1]", token_ids=(1, 2, 3), finish_reason=reason)])
                for reason in reasons
            ]

    module = ModuleType("vllm")
    module.__dict__.update(LLM=LLM, SamplingParams=lambda **given: SimpleNamespace(**given))
    monkeypatch.setitem(sys.modules, "vllm", module)
    generator = VllmGenerator(settings)
    assert asked == {
        "model": str(folder),
        "dtype": "bfloat16",
        "load_format": "safetensors",
        "trust_remote_code": False,
        "generation_config": "vllm",
    }
    assert generator.max_tokens == 777
    assert generator.complete([[1, 2], [3]], [4, 9]) == [Reply("[2] > [1]", 3, True), Reply("[2] > [1]", 3, False)]
    assert asked["lengths"] == [2, 1]
