"""Wrong inputs from Python are an error at once, which names the item.

The test run checks types at every call of this package. A user's run does not, so the module under test is loaded once
more without these checks.
"""

import importlib.util
import sys

import numpy as np
import pytest
import torch

import headrank.reranker.opening
import headrank.reranker.reranker
from headrank import Passage
from headrank.errors import ConfigError, ModelError
from headrank.model import PromptSettings, ScorerSettings
from headrank.model.loading import folder as folder_module

PAIRS = [(1, 2), (0, 3)]
TEXTS = ["the first passage", "another passage"]


def passage(passage_id, text) -> Passage:
    """A passage whose parts may be anything."""
    made = Passage("", "")
    object.__setattr__(made, "id", passage_id)
    object.__setattr__(made, "text", text)
    return made


@pytest.fixture(scope="module")
def plain():
    """`headrank.reranker.reranker` as a user's run imports it."""
    spec = importlib.util.spec_from_file_location("plain_reranker", headrank.reranker.reranker.__file__)
    module = importlib.util.module_from_spec(spec)
    sys.modules["plain_reranker"] = module
    spec.loader.exec_module(module)
    yield module.Reranker
    del sys.modules["plain_reranker"]


@pytest.fixture(scope="module")
def reranker(plain, model_folder):
    return plain.from_pretrained(model_folder, PAIRS, device="cpu")


@pytest.mark.parametrize(
    ("passages", "named"),
    [
        (["x", ("a", "y", "z")], r"passages\[1\].*tuple"),
        (["x", None], r"passages\[1\].*None"),
        ([3], r"passages\[0\].*3 \(int\)"),
        ([b"x"], r"passages\[0\].*bytes"),
        ([["x"]], r"passages\[0\].*list"),
        ([float("nan")], r"passages\[0\].*nan"),
        ([passage("a", None)], r"text of passages\[0\], id 'a', is None"),
        ([passage(1.5, "x")], r"id of passages\[0\] is 1\.5 \(float\)"),
        ({"a": None}, r"text of passages\['a'\] is None"),
        ({"a": ["x"]}, r"text of passages\['a'\] is .*list"),
        (None, "passages is None"),
        (3, "passages is 3"),
        (b"text", "passages is b'text'"),
        ({"x", "y"}, "passages is .*set"),
    ],
)
def test_passages_that_are_no_texts(passages, named, reranker, tmp_path):
    with pytest.raises(TypeError, match=named):
        reranker.rank("query", passages)
    with pytest.raises(TypeError, match=named.replace("passages", r"the passages of lists\[0\]")):
        reranker.rank_many([("query", passages)])
    with pytest.raises(TypeError, match=named):
        reranker.index(passages, tmp_path / "states")
    assert not (tmp_path / "states").exists()


@pytest.mark.parametrize("query", [None, 3, b"query", ["query"], {"text": "query"}])
def test_queries_that_are_no_texts(query, reranker):
    with pytest.raises(TypeError, match="query"):
        reranker.rank(query, TEXTS)
    with pytest.raises(TypeError, match=r"query of lists\[1\]"):
        reranker.rank_many([("query", TEXTS), (query, TEXTS)])


@pytest.mark.parametrize("lists", ["query", None, 3, {"query": TEXTS}, ["ab"], [("query",)], ["query", TEXTS], [None]])
def test_lists_that_are_no_pairs(lists, reranker):
    with pytest.raises(TypeError, match="lists"):
        reranker.rank_many(lists)


def test_passages_in_the_place_of_top_k(reranker):
    with pytest.raises(TypeError, match="lists is 'query'"):
        reranker.rank_many("query", TEXTS)


@pytest.mark.parametrize("top_k", [2.5, 2.0, "2", True, [2]])
def test_top_k_that_is_no_whole_number(top_k, reranker):
    with pytest.raises(TypeError, match="top_k"):
        reranker.rank("query", TEXTS, top_k=top_k)
    with pytest.raises(TypeError, match="top_k"):
        reranker.rank_many([("query", TEXTS)], top_k=top_k)


def test_inputs_that_are_as_good(reranker):
    """Iterators, numpy's texts and numbers, lists in place of tuples."""
    expected = reranker.rank("query", TEXTS)
    assert reranker.rank("query", iter(TEXTS)) == expected
    assert reranker.rank("query", np.array(TEXTS), top_k=np.int64(2)) == expected
    assert reranker.rank_many([["query", TEXTS]]) == [expected]
    assert reranker.rank_many(iter([("query", TEXTS)])) == [expected]


@pytest.mark.parametrize("heads", ["al", "ALL", "alll", "aall"])
def test_a_typo_of_all(heads, plain, model_folder):
    with pytest.raises(ConfigError, match=f"'{heads}'.*'all'"):
        plain.from_pretrained(model_folder, heads)


def test_a_typo_in_the_name_of_a_heads_file(reranker, plain, model_folder, tmp_path):
    reranker.heads.save(tmp_path / "heads.json")
    with pytest.raises(FileNotFoundError, match=rf"haeds\.json.*{tmp_path}/heads\.json"):
        plain.from_pretrained(model_folder, tmp_path / "haeds.json")
    with pytest.raises(FileNotFoundError, match="nothing-like-it"):
        plain.from_pretrained(model_folder, str(tmp_path / "nothing-like-it"))


def test_a_run_folder_as_heads(reranker, plain, model_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"heads\.json"):
        plain.from_pretrained(model_folder, tmp_path)
    reranker.heads.save(tmp_path / "heads.json")
    for folder in (tmp_path, str(tmp_path)):
        opened = plain.from_pretrained(model_folder, folder, device="cpu")
        assert opened.rank("query", TEXTS) == reranker.rank("query", TEXTS)


@pytest.mark.parametrize(
    ("heads", "named"),
    [
        ([(0.5, 0)], r"heads\[0\].*0\.5"),
        ([(0, 1), (True, 0)], r"heads\[1\].*True"),
        ([("1", "2")], r"heads\[0\].*'1'"),
        (["0_1"], r"heads\[0\].*'0_1'"),
        (["0-1", "1-"], r"heads\[1\].*'1-'"),
        ("0-1, 1-2, …", r"heads\[2\].*'…'"),
        ((1, 2), r"heads\[0\].*1"),
        ([(1, 2, 3)], r"heads\[0\]"),
        (3, "heads is 3"),
        ({1: 2}, "heads is"),
        ([None], r"heads\[0\].*None"),
    ],
)
def test_heads_that_are_no_pairs(heads, named, plain, model_folder):
    with pytest.raises(TypeError, match=named):
        plain.from_pretrained(model_folder, heads)


@pytest.mark.parametrize(
    "heads",
    [
        [(np.int64(1), np.int64(2)), [0, 3]],
        np.array(PAIRS),
        torch.tensor(PAIRS),
        iter(PAIRS),
        "1-2, 0-3",
        "1-2 0-3",
        ["1-2", "0-3"],
        ["1-2", (0, 3)],
    ],
)
def test_forms_of_heads(heads, plain, model_folder, reranker):
    opened = plain.from_pretrained(model_folder, heads, device="cpu")
    assert opened.heads.heads == reranker.heads.heads
    assert all(type(number) is int for head in opened.heads.heads for number in head)


@pytest.mark.parametrize(
    ("options", "kind", "named"),
    [
        ({"device": "gpu"}, ConfigError, "'gpu'.*[Dd]id you mean cuda"),
        ({"device": "cuda:99"}, ConfigError, "cuda:99"),
        ({"device": "cud"}, ConfigError, "'cud'.*did you mean cuda"),
        ({"device": "CUDA:1"}, ConfigError, "'CUDA:1'.*did you mean cuda"),
        ({"device": "autoo"}, ConfigError, "'autoo'.*did you mean auto"),
        ({"dtype": "bf16"}, ConfigError, "'bf16'.*bfloat16"),
        ({"dtype": "fp16"}, ConfigError, "'fp16'.*float16"),
        ({"dtype": "float23"}, ConfigError, "'float23'.*did you mean float32"),
        ({"dtype": torch.int8}, ConfigError, "'int8'"),
        ({"kernel": "flash_attention_2"}, ConfigError, "'flash_attention_2'"),
        ({"kernel": "flash"}, ConfigError, "'flash'"),
        ({"kernel": "spda"}, ConfigError, "'spda'.*did you mean sdpa"),
        ({"devcie": "cpu"}, TypeError, "'devcie'.*did you mean device"),
        ({"max_pasage_tokens": 3}, TypeError, "'max_pasage_tokens'.*did you mean max_passage_tokens"),
        ({"max_passage_tokens": 0}, ConfigError, "max_passage_tokens is 0"),
        ({"max_query_tokens": "9"}, TypeError, "max_query_tokens is '9'"),
        ({"batch_size": -1}, ConfigError, "batch_size is -1"),
        ({"instruction": 3}, TypeError, "instruction is 3"),
        ({"instruction": "Rank.", "prompt": PromptSettings()}, ConfigError, "instruction and prompt"),
        ({"batch_size": 3, "scorer": ScorerSettings()}, ConfigError, "batch_size and scorer"),
        ({"states": "."}, ConfigError, "attention"),
        ({"states": "/typo"}, FileNotFoundError, "/typo"),
        ({"states": 3}, TypeError, "states is 3"),
        ({"scorer": {"order": "both"}}, TypeError, "scorer is"),
        ({"prompt": "icr"}, TypeError, "prompt is 'icr'"),
    ],
)
def test_wrong_options_are_errors_before_the_model_is_looked_for(options, kind, named, plain, reranker, monkeypatch):
    def no_request(*args):
        raise AssertionError("a request for the model")

    monkeypatch.setattr(folder_module, "_snapshot", no_request)
    for heads in ("all", "1-2, 0-3", PAIRS, reranker.heads):
        with pytest.raises(kind, match=named):
            plain.from_pretrained("owner/model", heads, **{"device": "cpu", **options})


@pytest.mark.parametrize("heads", ["al", [], ["0_1"], "nothing-like-it", None])
def test_wrong_heads_are_errors_before_the_model_is_looked_for(heads, plain, monkeypatch):
    monkeypatch.setattr(folder_module, "_snapshot", lambda *_: pytest.fail("a request for the model"))
    with pytest.raises((ConfigError, TypeError, FileNotFoundError)):
        plain.from_pretrained("owner/model", heads)


def test_a_prompt_that_the_tokenizer_cannot_read_is_an_error_before_weights_are_read(plain, model_folder, monkeypatch):
    monkeypatch.setattr(headrank.reranker.opening, "load_backbone", lambda *_, **__: pytest.fail("weights are read"))
    with pytest.raises(ConfigError, match=r"<\|nothing\|>"):
        plain.from_pretrained(model_folder, PAIRS, prompt=PromptSettings(head="<|nothing|>"))


def test_limits_from_numpy(plain, model_folder):
    opened = plain.from_pretrained(model_folder, PAIRS, device="cpu", max_passage_tokens=np.int64(5))
    assert opened.heads.prompt.max_passage_tokens == 5


@pytest.mark.parametrize("model", [None, 3, ["a"], torch.nn.Linear(1, 1)])
def test_a_model_that_is_no_name(model, plain):
    with pytest.raises(TypeError, match="model is"):
        plain.from_pretrained(model, PAIRS)


def test_a_near_miss_of_the_embedded_model(plain):
    with pytest.raises(ModelError, match="smollm2-135m-instruct"):
        plain.from_pretrained("smollm2-135m", "all")


def test_torch_s_own_dtype_and_device(plain, model_folder):
    opened = plain.from_pretrained(model_folder, PAIRS, device=torch.device("cpu"), dtype=torch.bfloat16)
    assert opened.backbone.model.dtype == torch.bfloat16
    assert len(opened.rank("query", TEXTS)) == 2


def test_states_are_read_from_a_folder_that_exists(plain, model_folder, tmp_path):
    blocks = PromptSettings(attention="blocks")
    plain.from_pretrained(model_folder, PAIRS, device="cpu", prompt=blocks).index(TEXTS, tmp_path / "states")
    opened = plain.from_pretrained(model_folder, PAIRS, device="cpu", prompt=blocks, states=tmp_path / "states")
    assert len(opened.rank("query", TEXTS)) == 2
