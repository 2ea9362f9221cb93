"""Lists that do not fit into the model's context are refused before a model is loaded."""

import json
import shutil
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig

from headrank.baselines import Generative, Qwen3Reranker
from headrank.errors import ConfigError
from headrank.experiment import MAIN_SYSTEM
from headrank.model import PromptBuilder, PromptSettings
from headrank.model.backbone import context_limit
from headrank.model.prompt_lengths import PromptLengths
from headrank.pipeline import run_experiment
from headrank.ranking import CandidateList, Passage, Query
from tests.conftest import PASSAGES, QUERIES
from tests.pipelines import ALIGNMENT, no_model
from tests.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
CONTEXT = 4096  # of the tiny model
UNCUT = PromptSettings(max_passage_tokens=None, max_query_tokens=None)


def a_list(query, texts):
    return CandidateList(Query("q", query), tuple(Passage(str(i), text) for i, text in enumerate(texts)))


@settings(deadline=None, max_examples=40)
@given(
    query=st.text(max_size=30),
    texts=st.lists(st.text(max_size=30), max_size=5),
    limit=st.sampled_from([None, 7]),
    attention=st.sampled_from(["full", "blocks"]),
    draw=st.integers(0, 3),
)
def test_the_bound_by_characters_holds(query, texts, limit, attention, draw):
    prompt = PromptSettings(max_passage_tokens=limit, max_query_tokens=limit, attention=attention)
    lengths = PromptLengths(PromptBuilder(TOKENIZER, prompt), with_null=True)
    item = a_list(query, texts)
    assert lengths.positions(item, draw) <= lengths.bound(item, draw)
    whole = PromptBuilder(TOKENIZER, prompt).build(query, texts, with_null=True)
    assert lengths.positions(item) == whole.positions
    positions = lengths.positions(item, draw)
    assert list(lengths.too_long([item], positions, draw)) == []
    assert list(lengths.too_long([item], positions - 1, draw)) == [(item, positions)]


def test_the_longest_candidates_that_could_be_drawn_count():
    lengths = PromptLengths(PromptBuilder(TOKENIZER, UNCUT), with_null=True)
    texts = ["x", "x" * 50, "x" * 20, "x" * 40]
    assert lengths.positions(a_list("q", texts), 2) == lengths.positions(a_list("q", [texts[1], texts[3]]))


def test_nothing_is_tokenised_where_characters_suffice(monkeypatch):
    lengths = PromptLengths(PromptBuilder(TOKENIZER), with_null=True)
    item = a_list("why", ["a text of no great length"] * 20)
    assert lengths.bound(item) <= CONTEXT
    monkeypatch.setattr(PromptLengths, "positions", None)
    assert list(lengths.too_long([item] * 3, CONTEXT)) == []


def long(experiment, make_folder, **parts):
    """The experiment's data with other content."""
    return replace(experiment.benchmarks[0], collection=str(make_folder("long", **parts)))


LONG_DOC = {**PASSAGES, "d4": "tide " * 1000}


def test_a_benchmarks_long_list_is_refused_before_a_model_is_loaded(experiment, make_folder, monkeypatch):
    no_model(monkeypatch)
    two = replace(long(experiment, make_folder, docs=LONG_DOC), name="two")
    main = replace(experiment.systems[MAIN_SYSTEM], prompt=UNCUT)
    changed = replace(
        experiment,
        benchmarks=(experiment.benchmarks[0], two),
        systems={**experiment.systems, MAIN_SYSTEM: main},
    )
    with pytest.raises(ConfigError, match=rf"two, query 'q[12]'.* headrank .*{CONTEXT}.*max_passage_tokens"):
        run_experiment(changed)
    assert json.loads((experiment.folder / "status.json").read_text())["state"] == "failed"


def test_a_labelled_list_that_is_too_long_is_refused(experiment, make_folder, monkeypatch):
    no_model(monkeypatch)
    train = replace(long(experiment, make_folder, docs=LONG_DOC), name="train")
    main = replace(experiment.systems[MAIN_SYSTEM], prompt=UNCUT)
    with pytest.raises(ConfigError, match=rf"train, query 'q[12]'.*{CONTEXT}"):
        run_experiment(replace(experiment, train=(train,), systems={MAIN_SYSTEM: main}))


def test_what_alignment_could_draw_is_refused(experiment, make_folder, monkeypatch):
    """q1's long candidate is below the depth of the lists, but within what is drawn from."""
    no_model(monkeypatch)
    run = {"q1": ["d2", "d1", "d5", "d4"], "q2": ["d1", "d3"], "q3": ["d5", "d1"]}
    train = replace(long(experiment, make_folder, docs=LONG_DOC, run=run), name="train")
    main = replace(experiment.systems[MAIN_SYSTEM], prompt=UNCUT)
    changed = replace(experiment, train=(train,), systems={MAIN_SYSTEM: main}, alignment=ALIGNMENT)
    with pytest.raises(ConfigError, match=rf"train, query 'q1'.*alignment.*{CONTEXT}"):
        run_experiment(changed)


@pytest.mark.parametrize("reranker", [Qwen3Reranker(model=None), Generative()], ids=["qwen3_reranker", "generative"])
def test_rerankers_without_heads_are_asked(experiment, make_folder, monkeypatch, tmp_path, reranker):
    no_model(monkeypatch)
    model = shutil.copytree(experiment.model.model, tmp_path / "chat")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    tokenizer.save_pretrained(model)
    experiment = replace(experiment, model=replace(experiment.model, model=str(model)))
    one = long(experiment, make_folder, queries={**QUERIES, "q2": "tide " * 2000})
    with pytest.raises(ValueError, match="query 'q2'"):
        run_experiment(replace(experiment, benchmarks=(one,), rerankers={"other": reranker}))


@pytest.mark.parametrize(
    ("rope", "limit"),
    [
        (None, 1000),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 800}, 3200),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 250}, 1000),
        (
            {
                "rope_type": "llama3",
                "factor": 8.0,
                "original_max_position_embeddings": 500,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
            },
            1000,
        ),
    ],
)
def test_the_context_is_what_the_configuration_says(rope, limit):
    rope = None if rope is None else {"rope_theta": 10000.0, **rope}
    config = AutoConfig.for_model("qwen3", max_position_embeddings=1000, rope_parameters=rope)
    assert context_limit(config) == limit
