"""Cross-encoders: a random BERT through sentence-transformers, against its logits pair by pair."""

import sys

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from headrank.baselines import CrossEncoderReranker
from headrank.baselines.cross_encoder import open_cross_encoder
from headrank.model import BackboneSettings
from tests.baselines.toy import HOSTILE, candidates, cross_encoder_folder

TEXTS = ("The moon, the tides.", "bread", "moon " * 40, "", "tides tides moon")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return cross_encoder_folder(tmp_path_factory.mktemp("cross") / "encoder")


@pytest.mark.parametrize("batch_size", [1, 32])
def test_scores_are_the_model_s_logits(folder, batch_size):
    own = BackboneSettings()
    item = candidates(*TEXTS, query="the moon")
    settings = CrossEncoderReranker(BackboneSettings(str(folder), device="cpu"), batch_size=batch_size)
    output = settings.load(own).rerank([item])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    expected = {}
    for passage in item.passages:
        pair = tokenizer([item.query.text], [passage.text], truncation=True, max_length=64, return_tensors="pt")
        with torch.no_grad():
            expected[passage.id] = model(**pair).logits.item()
    assert max(expected.values()) - min(expected.values()) > 0.01
    assert {r.id: r.score for r in output.rankings[0].results} == pytest.approx(expected, abs=1e-5)
    assert list(output.rankings[0].passage_ids) == sorted(expected, key=lambda i: -expected[i])
    assert output.contexts == ()


def test_special_tokens_in_a_passage_are_text(folder):
    encoder = open_cross_encoder(BackboneSettings(str(folder), device="cpu"))
    item = candidates(HOSTILE, query="[CLS] the moon [SEP]")
    ids = encoder.preprocess([(item.query.text, "[SEP] bread [PAD]")])["input_ids"][0].tolist()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    counts = [ids.count(tokenizer.convert_tokens_to_ids(token)) for token in ("[CLS]", "[SEP]", "[PAD]")]
    assert counts == [1, 2, 0]
    assert {tokenizer.convert_tokens_to_ids(word) for word in ("[", "sep", "pad", "]")} <= set(ids)
    shown = CrossEncoderReranker(BackboneSettings(str(folder))).show_prompt(BackboneSettings(), item)
    assert shown.startswith("[CLS] [ cls ] the moon [ sep ] [SEP]")
    assert shown.endswith("[SEP]")


def test_any_list_has_a_result(folder):
    lists = [
        candidates(query_id="q0"),
        candidates("moon", query_id="q1"),
        candidates("", HOSTILE, "bread", "bread", "x" * 3000, query=HOSTILE, query_id="q2"),
    ]
    seen: list[int] = []
    settings = CrossEncoderReranker(BackboneSettings(str(folder), device="cpu"), max_length=32)
    output = settings.load(BackboneSettings()).rerank(lists, on_list=lambda: seen.append(1))
    assert len(seen) == 3
    assert [len(ranking) for ranking in output.rankings] == [0, 1, 5]
    ids = output.rankings[2].passage_ids
    assert ids.index("d2") < ids.index("d3"), "equal scores keep the first stage's order"


@pytest.mark.parametrize(
    ("query", "passage", "cut"),
    [
        ("moon", "bread " * 26, (0, 0)),  # with [CLS] and two [SEP] 30 tokens of 32
        ("moon", "bread " * 28, (0, 0)),
        ("moon", "bread " * 29, (1, 0)),
        ("moon " * 29, "bread", (0, 1)),
        ("moon " * 20, "bread " * 20, (1, 1)),
        ("moon " * 14, "bread " * 20, (1, 0)),
        ("moon " * 9, "x" * 50_000, (0, 0)),  # one unknown word
        ("moon " * 9, "bread " * 50_000, (1, 0)),
    ],
)
def test_cuts_are_counted_as_the_library_makes_them(folder, query, passage, cut):
    loaded = CrossEncoderReranker(BackboneSettings(str(folder), device="cpu"), max_length=32).load(BackboneSettings())
    item = candidates("moon", passage, query=query)
    output = loaded.rerank([item])
    assert (output.facts["cut_passages"], output.facts["cut_queries"]) == cut
    ids = loaded.encoder.preprocess([(query.strip(), passage.strip())])["input_ids"][0].tolist()
    words = (query.split().count("moon"), passage.split().count("bread"))
    kept = [ids.count(loaded.encoder.tokenizer.convert_tokens_to_ids(word)) for word in ("moon", "bread")]
    assert (kept[1] < words[1], kept[0] < words[0]) == tuple(map(bool, cut))
    assert loaded.score([(query.strip(), passage.strip())])[0] == pytest.approx(
        {r.id: r.score for r in output.rankings[0].results}["d1"], abs=1e-6
    )


def test_what_cannot_be_opened_is_told(folder, tmp_path, monkeypatch):
    two = cross_encoder_folder(tmp_path / "two", labels=2)
    with pytest.raises(ValueError, match="2 outputs"):
        open_cross_encoder(BackboneSettings(str(two), device="cpu"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_cross_encoder(BackboneSettings("./nowhere"))
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"\[baselines\]"):
        open_cross_encoder(BackboneSettings(str(folder)))


def test_settings(folder):
    model, own = BackboneSettings(str(folder)), BackboneSettings("a/model")
    identity = CrossEncoderReranker(model).identity(own)
    assert CrossEncoderReranker(model, batch_size=1).identity(BackboneSettings("b/model")) == identity
    assert CrossEncoderReranker(model, max_length=128).identity(own) != identity
    assert CrossEncoderReranker().identity(own) != identity
    for name in ("max_length", "batch_size"):
        with pytest.raises(ValueError, match=name):
            CrossEncoderReranker(model, **{name: 0})
