"""`debug` shrinks what was chosen and logs what it changes."""

from dataclasses import replace
from pathlib import Path

import pytest

from headrank.baselines import CrossEncoderReranker, Generative
from headrank.errors import ConfigError
from headrank.run import compose_config, experiment_from_config


def experiment(*words: str):
    return experiment_from_config(compose_config(words), Path("unused"))


def test_fast_shrinks_the_data_that_was_chosen(caplog):
    caplog.set_level("INFO")
    own = experiment("+experiment=qwen3_4b", "benchmarks=[fiqa,scifact]", "benchmarks.fiqa.depth=3")
    small = experiment("+experiment=qwen3_4b", "benchmarks=[fiqa,scifact]", "benchmarks.fiqa.depth=3", "debug=fast")
    for key in ("train", "benchmarks"):
        for before, after in zip(getattr(own, key), getattr(small, key), strict=True):
            assert after == replace(before, max_queries=6, depth=min(before.depth, 8), notice=after.notice)
            assert "random" in after.notice
    assert small.benchmarks[0].depth == 3, "what is smaller stays"
    assert small.model.random_weights
    assert "Qwen/Qwen3-4B" in caplog.text
    assert "at most 6 queries" in caplog.text


def test_sample_replaces_the_data(caplog):
    caplog.set_level("INFO")
    found = experiment("+experiment=qwen3_4b", "debug=sample")
    assert [one.collection for one in (*found.train, *found.benchmarks)] == ["sample/train", "sample/test"]
    assert "trec-dl-2019" in caplog.text
    assert experiment("data=[]", "selection=all", "debug=sample").train == ()


def test_what_training_does_stays_as_it_was_chosen():
    words = [
        "+experiment=qwen3_4b",
        "alignment.epochs=3",
        "alignment.optimizer.lr=0.01",
        "trainer=ddp",
        "trainer.devices=4",
    ]
    own, small = experiment(*words).alignment, experiment(*words, "debug=fast").alignment
    trainer = replace(own.trainer, accelerator="cpu", precision="32-true")
    assert small == replace(own, validation_queries=2, draw_depth=8, trainer=trainer)
    assert (small.epochs, small.optimizer.lr, small.trainer.devices, small.trainer.strategy) == (3, 0.01, 4, "ddp")


def test_a_search_under_debug_has_an_effect():
    tried = [experiment("+experiment=nano", "debug=fast", f"alignment.epochs={n}").alignment for n in (2, 8)]
    assert [one.epochs for one in tried] == [2, 8]


def test_layers_and_seeds_of_the_selection():
    found = experiment("+experiment=nano", "debug=fast").reading
    assert (found.seeds, found.max_layer) == ((0,), 2)  # nano's 22 layers are more than the tiny model has
    assert experiment("debug=fast", "reading.max_layer=1").reading.max_layer == 1


def test_chosen_baselines_shrink_too():
    found = experiment("baselines=[generative,cross_encoder]", "baselines.generative.window=4",
        "baselines.generative.step=2", "debug=fast").rerankers  # fmt: skip
    assert found["generative"] == Generative(window=4, step=2, max_new_tokens=8)
    assert isinstance(found["cross_encoder"], CrossEncoderReranker)
    assert found["cross_encoder"].model.family == "bert"


@pytest.mark.parametrize("word", ["debug.depth=0", "debug.max_queries=1.5", "debug.model.dtype=half", "+debug.dept=3"])
def test_its_own_values_are_checked(word):
    with pytest.raises(ConfigError, match=word.lstrip("+").partition("=")[0]):
        experiment("debug=fast", word)
