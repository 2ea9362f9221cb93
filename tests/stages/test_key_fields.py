"""Every field of the settings is either in artifacts' keys or named as left out; and what each choice leads to."""

import dataclasses
from dataclasses import replace

import pytest

from headrank.alignment.adapters import TrainedSettings
from headrank.alignment.optimizer import OptimizerSettings
from headrank.alignment.pairs import PairSettings
from headrank.alignment.settings import AlignmentSettings, TrainerSettings
from headrank.baselines import CrossEncoderReranker, Generative, Qwen3Reranker
from headrank.data import DataSettings
from headrank.experiment import MAIN_SYSTEM, Experiment, ReadingSettings, SystemSettings
from headrank.heads import GivenHeads, HeadsFile
from headrank.model import BackboneSettings, ChatTemplate, PromptSettings, ScorerSettings, StateSettings
from headrank.pipeline import run_experiment
from headrank.settings import SettingsError
from headrank.stages.align import align_key
from headrank.stages.key_fields import ADDED, LEFT_OUT, key_content, scorer_key_content
from headrank.stages.keys import heads_key, metrics_key, reranker_key, run_key, table_key
from headrank.stages.lists import DataLoader
from tests.pipelines import ALIGNMENT, files, no_model

IN_KEYS = {
    BackboneSettings: {"model", "revision", "dtype", "random_weights", "overrides", "family"},
    PromptSettings: {field.name for field in dataclasses.fields(PromptSettings)},  # all are tokens that the model reads
    ChatTemplate: {"name", "head", "tail", "markers", "separator", "query_rows"},
    ScorerSettings: {
        "query_rows", "calibration", "power", "token_filter", "length_norm", "fusion", "order", "seed", "shuffles",
        "eps",
        "window", "long_passages",
    },
    ReadingSettings: {"seeds", "max_layer"},
    StateSettings: {"dtype"},
    CrossEncoderReranker: {"model", "max_length"},
    Generative: {
        "model", "window", "step", "passage_cut", "passage_limit", "max_new_tokens", "thinking", "backend",
    },
    Qwen3Reranker: {"model", "instruction", "max_length"},
    DataSettings: set(),
    TrainerSettings: {"precision"},
    PairSettings: {"mining", "levels", "fraction", "min_margin", "zone_weight"},
    TrainedSettings: {"part", "matrices", "rank", "lora_alpha"},
    OptimizerSettings: {"lr", "weight_decay", "betas", "clip", "warmup_fraction", "cosine"},
    AlignmentSettings: {
        "losses", "pairs", "temperature", "trained", "optimizer", "epochs", "lists_per_step", "lists_per_batch",
        "validation_queries", "patience", "average_decay", "folds", "relevant_in_zone",
        "shuffle_candidates", "draw_candidates", "query_fraction", "reselect_every", "reselect", "reselect_seeds",
        "seed", "trainer",
    },
}  # fmt: skip
# Of these each artifact's key takes the parts that it depends on, one by one.
BY_PARTS = {
    SystemSettings: {"criterion", "heads", "entropy_weight", "scorer", "prompt", "instructions"},
    Experiment: {
        "name", "folder", "cache", "model", "train", "benchmarks", "systems", "rerankers", "teacher", "reading",
        "states",
        "alignment", "metrics", "objective", "objective_from", "report", "config", "config_yaml",
    },
}  # fmt: skip


@pytest.mark.parametrize("settings", [*IN_KEYS, *BY_PARTS])
def test_every_field_has_a_decision(settings):
    """A new field: is it in the keys (then add it here), or does it change no number (then in `LEFT_OUT`)?"""
    decided = {**IN_KEYS, **BY_PARTS}[settings] | set(LEFT_OUT.get(settings, {}))
    assert {field.name for field in dataclasses.fields(settings)} == decided
    assert not IN_KEYS.get(settings, set()) & set(LEFT_OUT.get(settings, {}))


def test_no_settings_are_left_out_that_no_test_decides():
    assert set(LEFT_OUT) <= set(IN_KEYS)


def keys(experiment):
    data, heads = DataLoader(experiment.cache), HeadsFile.load(experiment.folder / "heads.json")
    train, benchmark = data.labelled(experiment.train), data.load(experiment.benchmarks[0])
    system = experiment.systems[MAIN_SYSTEM]
    heads = replace(heads, scorer=system.scorer)
    from headrank.model import model_identity

    run = run_key(model_identity(experiment.model), heads.to_dict(), benchmark)
    return {
        "table": table_key(experiment, system, train, filtered=False),
        "heads": heads_key(experiment, system, train),
        "aligned": align_key(experiment, heads, data),
        "run": run,
        "reranker": reranker_key(CrossEncoderReranker(experiment.model).identity(experiment.model), benchmark),
        "metrics": metrics_key(experiment, benchmark, {MAIN_SYSTEM: run}, {}),
    }


@pytest.fixture
def aligned(experiment):
    run_experiment(experiment)
    return replace(experiment, alignment=ALIGNMENT)


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    "field", [{"device": "cpu"}, {"compile": True}, {"whole_deepest": True}, {"kernel": "flash_attention_2"}]
)
def test_where_a_model_runs_changes_no_key(aligned, field):
    assert not changed(keys(aligned), keys(replace(aligned, model=replace(aligned.model, **field))))


def test_a_models_precision_changes_all_keys(aligned):
    other = replace(aligned, model=replace(aligned.model, dtype="bfloat16"))
    assert changed(keys(aligned), keys(other)) == {"table", "heads", "aligned", "run", "reranker", "metrics"}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({"batch_size": 3, "tokens_per_batch": 99}, {"heads"}),  # the file holds them
        ({"seed": 7}, {"heads"}),
        ({"order": "shuffled"}, {"heads", "aligned", "run", "metrics"}),
        ({"power": 0.25}, {"heads", "aligned", "run", "metrics"}),
        ({"order": "shuffled", "shuffles": 2}, {"heads", "aligned", "run", "metrics"}),
    ],
)
def test_a_scorers_settings_change_what_depends_on_them(aligned, field, expected):
    main = replace(aligned.systems[MAIN_SYSTEM], scorer=ScorerSettings(**field))
    assert changed(keys(aligned), keys(replace(aligned, systems={MAIN_SYSTEM: main}))) == expected


def test_the_seed_counts_for_shuffled_orders_and_the_power_for_residuals():
    def numbers(**options):
        return scorer_key_content(dataclasses.asdict(ScorerSettings(**options)))

    assert numbers(seed=1) == numbers()
    assert numbers(seed=1, order="shuffled") != numbers(order="shuffled")
    assert "shuffles" not in numbers(order="shuffled")
    assert numbers(order="shuffled", shuffles=2) != numbers(order="shuffled")
    assert numbers(power=1.0, calibration="none") == numbers(calibration="none")
    assert numbers(power=1.0) != numbers()


def test_the_content_of_a_chat_template_counts(aligned):
    template = ChatTemplate("mine", "<|im_start|>", "<|im_end|>")
    one, other = (
        replace(aligned, systems={MAIN_SYSTEM: replace(aligned.systems[MAIN_SYSTEM], prompt=PromptSettings(t))})
        for t in (template, replace(template, tail="<|im_end|>\n"))
    )
    assert changed(keys(one), keys(other)) == {
        "table",
        "heads",
    }  # the others depend on the file of heads, which is as before


@pytest.mark.parametrize(
    "field",
    [{"gradient_checkpointing": True}, {"progress_bar": True}, {"accelerator": "auto"}],
)
def test_where_alignment_runs_changes_no_key(aligned, field):
    trainer = replace(ALIGNMENT.trainer, **field)
    assert not changed(keys(aligned), keys(replace(aligned, alignment=replace(ALIGNMENT, trainer=trainer))))


def test_the_trainers_precision_and_the_recipe_change_the_alignment(aligned):
    trainer, optimizer = replace(ALIGNMENT.trainer, precision="bf16-mixed"), replace(ALIGNMENT.optimizer, lr=0.01)
    for other in (replace(ALIGNMENT, trainer=trainer), replace(ALIGNMENT, optimizer=optimizer)):
        assert changed(keys(aligned), keys(replace(aligned, alignment=other))) == {"aligned"}


def test_the_number_of_lists_of_an_epoch_changes_the_alignment(aligned):
    other = replace(aligned, train=tuple(replace(one, lists_per_epoch=2) for one in aligned.train))
    assert changed(keys(aligned), keys(other)) == {"aligned"}
    with pytest.raises(SettingsError, match=r"benchmarks\.one\.lists_per_epoch is 2"):
        replace(aligned, benchmarks=(replace(aligned.benchmarks[0], lists_per_epoch=2),))


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({"notice": "read this", "licence": "CC BY", "name": "other"}, set()),
        ({"relevance_threshold": 2}, {"metrics"}),
        ({"max_queries": 99, "seed": 5}, set()),  # more than there are: the same lists
        ({"depth": 2}, {"run", "reranker", "metrics"}),
    ],
)
def test_a_benchmarks_settings_change_what_depends_on_them(aligned, field, expected):
    other = replace(aligned, benchmarks=(replace(aligned.benchmarks[0], **field),))
    assert changed(keys(aligned), keys(other)) == expected


def test_a_collection_that_moved_and_judgements_that_changed(aligned, make_folder):
    moved = make_folder("moved")
    there = {"collection": str(moved)}
    other = replace(
        aligned,
        train=tuple(replace(one, **there) for one in aligned.train),
        benchmarks=tuple(replace(one, **there) for one in aligned.benchmarks),
    )
    before = keys(aligned)
    assert not changed(before, keys(other))
    with (moved / "qrels.txt").open("a") as file:
        file.write("q1 0 d5 2\n")
    assert changed(before, keys(other)) == {"table", "heads", "aligned", "metrics"}


def test_a_models_readme_and_the_revision_of_a_local_folder_change_no_key(aligned):
    before = keys(aligned)
    readme = (aligned.folder.parent / aligned.model.model) / "README.md"
    readme.write_text("a model")
    try:
        assert not changed(before, keys(aligned))
    finally:
        readme.unlink()
    assert not changed(before, keys(replace(aligned, model=replace(aligned.model, revision="main"))))


def test_equal_heads_from_another_criterion_are_not_reranked(experiment, monkeypatch):
    run_experiment(experiment)
    before = files(experiment.folder)
    chosen = HeadsFile.load(experiment.folder / "heads.json").heads
    given = SystemSettings(GivenHeads(tuple(chosen)), scorer=experiment.systems[MAIN_SYSTEM].scorer)
    no_model(monkeypatch)
    run_experiment(replace(experiment, systems={**experiment.systems, MAIN_SYSTEM: given}))
    after = files(experiment.folder)
    changed = {name for name in before if before[name] != after.get(name)}
    metrics = {f"metrics/{one.name}.json" for one in experiment.benchmarks}  # given heads have no probability
    assert changed <= {"heads.json", "head_curves.json", *metrics}


def test_settings_that_extend_others_lose_the_same():
    class Extended(BackboneSettings):
        pass

    assert key_content(Extended(device="cuda")) == key_content(Extended()) != key_content(BackboneSettings())


def test_an_added_field_counts_unless_it_changes_nothing():
    for kind, fields in ADDED.items():
        assert fields.keys() <= IN_KEYS[kind]
    content = key_content(ALIGNMENT)
    assert "average_decay" not in content
    assert key_content(replace(ALIGNMENT, average_decay=0.5)) == {**content, "average_decay": 0.5}


def test_nested_settings_lose_what_is_left_out():
    settings = key_content({"model": [BackboneSettings(device="cuda")], "other": 1})
    assert settings == key_content({"model": [BackboneSettings()], "other": 1})
    assert "device" not in settings["model"][0]
    assert settings["model"][0]["dtype"] == "float32"
