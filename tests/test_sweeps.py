"""Every file of conf/ablation and conf/sweep changes exactly what it says, in the order that lets it."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import OmegaConf

from headrank.experiment import MAIN_SYSTEM
from headrank.run import CONFIG_FOLDER, experiment_from_config, explanation
from hydra_plugins.headrank_sweepers.arguments import for_jobs
from tests.sweeping import sweeper

# A recipe of which every ablation changes something, as an experiment may hold it.
RECIPE = """# @package _global_
defaults: [override /alignment: lora, override /loss: infonce]
name: mine
model: {dtype: bfloat16}
selection: {heads: 5, entropy_weight: auto, criterion: {weight: 0.7}}
scorer: {calibration: residual, power: 0.3}
alignment:
  trained: {part: head_weights, matrices: [v_proj]}
  optimizer: {lr: 0.3}
  reselect: true
  reselect_every: 3
  shuffle_candidates: false
  query_fraction: 0.9
  pairs: {mining: random, levels: all}
"""
ALL_MATRICES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CHANGES = {
    "base": {},
    "no_entropy": {"selection.criterion.weight": 0.0, "selection.entropy_weight": None},
    **{f"pairs_{name}": {"alignment.pairs.mining": name} for name in ("hard", "random", "all")},
    **{f"levels_{name}": {"alignment.pairs.levels": name} for name in ("adjacent", "all")},
    "heads_fixed": {"alignment.reselect": False},
    "heads_reselected": {"alignment.reselect": True, "alignment.reselect_every": 1},
    "lora": {"alignment.trained.part": "lora"},
    "full": {"alignment.trained.part": "full"},
    "head_weights": {
        "alignment.trained.part": "head_weights",
        "alignment.reselect": False,
        "alignment.optimizer.lr": 0.05,
    },
    "matrices_qk": {"alignment.trained.matrices": ["q_proj", "k_proj"]},
    "matrices_all": {"alignment.trained.matrices": ALL_MATRICES},
    "order_shuffled": {"alignment.shuffle_candidates": True},
    "order_fixed": {"alignment.shuffle_candidates": False},
    "calibration_none": {"scorer.calibration": "none", "scorer.power": 0.0},
    "calibration_residual": {"scorer.calibration": "residual", "scorer.power": 0.5},
    "calibration_log_ratio": {"scorer.calibration": "log_ratio", "scorer.power": 0.0},
    **{f"heads_{n}": {"selection.heads": n} for n in (4, 8, 16, 32)},
    **{f"queries_{n}": {"alignment.query_fraction": n / 100} for n in (25, 50, 100)},
}
LOSSES = {
    "no_regularizer": "preference", "graded_kl": "preference_kl", "spread": "preference_spread",
    "anchored": "anchored_kl", "infonce": "infonce", "listmle": "listmle", "lambdarank": "lambdarank",
    "qrranker": "qrranker",
}  # fmt: skip
ABLATIONS = [*CHANGES, *LOSSES]


def flat(config, prefix=""):
    content = OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
    result = {}
    for key, value in content.items():
        inside = isinstance(value, dict) and value
        result |= flat(value, f"{prefix}{key}.") if inside else {f"{prefix}{key}": value}
    return result


def composed(*overrides):
    with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base="1.3"):
        return compose("config", list(overrides))


def difference(before, after):
    return {key: after.get(key) for key in {**before, **after} if before.get(key, "absent") != after.get(key, "absent")}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conf")
    (folder / "experiment").mkdir()
    (folder / "experiment" / "mine.yaml").write_text(RECIPE)
    overrides = [f"hydra.searchpath=[file://{folder}]", "+sweep=alignment_ablation", "+experiment=mine"]
    return overrides, flat(composed(*overrides))


def test_every_ablation_is_tested_and_swept():
    files = {path.stem for path in (CONFIG_FOLDER / "ablation").glob("*.yaml")}
    assert files == set(ABLATIONS)
    swept = yaml.safe_load((CONFIG_FOLDER / "sweep/alignment_ablation.yaml").read_text())["hydra"]["sweeper"]["params"]
    names = [name.strip() for name in swept["+ablation"].split(",")]
    assert names[0] == "base"
    assert sorted(names) == sorted(files)


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_changes_what_it_says_of_any_recipe(name, recipe):
    overrides, base = recipe
    config = composed(*overrides, f"+ablation={name}")
    changed = difference(base, flat(config))
    if name in LOSSES:
        loss = yaml.safe_load(OmegaConf.to_yaml(composed(f"loss={LOSSES[name]}").loss))
        assert OmegaConf.to_container(config.loss) == loss
        assert all(key.startswith("loss.") for key in changed)
        assert bool(changed) == (name != "infonce")  # which the recipe has already
    else:
        assert changed == {key: value for key, value in CHANGES[name].items() if base[key] != value}
    found = experiment_from_config(config, Path("unused"))
    assert found.alignment.trained.part == config.alignment.trained.part
    assert found.systems[MAIN_SYSTEM].heads == config.selection.heads


def test_an_ablation_shows_in_a_debug_run_too():
    config = composed("+experiment=qwen3_4b", "debug=fast", "+ablation=full")
    found = experiment_from_config(config, Path("unused"))
    assert (found.alignment.trained.part, found.alignment.epochs, found.alignment.optimizer.lr) == ("full", 5, 2e-4)


def test_jobs_put_the_sweep_first_the_ablation_last_and_know_those_that_are_the_same(recipe):
    overrides, base = recipe
    (path, sweep, experiment) = overrides
    with sweeper(path, experiment, sweep, "paths.output=/x", "+ablation=base,heads_4,lora") as (made, arguments):
        jobs = made.jobs(arguments)
        assert [job.folder for job in jobs] == [
            Path("/x/mine/alignment_ablation") / f"ablation-{name}" for name in ("base", "heads_4", "lora")
        ]
        assert jobs[1].overrides == (
            *(sweep, experiment, "paths.output=/x", "+ablation=heads_4"),
            "hydra.sweep.subdir=ablation-heads_4",
        )
        changed = {"alignment.trained.part", "paths.output", "paths.run"}
        assert difference(base, flat(jobs[2].config)).keys() == changed
        assert len({job.content for job in jobs}) == 3
    with sweeper(sweep, "+experiment=nano", "+ablation=base,heads_8,heads_4") as (made, arguments):
        base_job, same, other = made.jobs(arguments)
        assert base_job.content == same.content != other.content


def jobs_of(*words):
    arguments = for_jobs(words)
    with sweeper(*(word for word in arguments if word != "-m")) as (made, given):
        jobs = made.jobs(given)
        made.check_folders(jobs)
        return jobs


def test_a_plain_sweep_has_a_folder_for_each_job_that_differs():
    jobs = jobs_of("-m", "+experiment=nano,qwen3_4b", "name=x", "scorer.power=-7,7")
    assert [str(job.folder) for job in jobs] == [
        f"outputs/x/experiment-{experiment}__scorer.power-{power}"
        for experiment in ("nano", "qwen3_4b")
        for power in ("-7", "7")
    ]
    assert len({job.content for job in jobs}) == 4


@pytest.mark.parametrize("sweep", [["-m", "+experiment=nano,qwen3_4b"], ["+sweep=scales"]])
def test_a_key_that_only_the_swept_experiments_have_can_be_given(sweep):
    given = ["alignment.epochs=1", "selection.criterion.weight='0.5'", "scorer.seed=${seed}", "~report.figures"]
    jobs = jobs_of(*sweep, *given)
    assert len(jobs) >= 2
    for job in jobs:
        assert job.config.alignment.epochs == 1
        assert job.config.selection.criterion.weight == "0.5"
        assert job.config.scorer.seed == job.config.seed
        assert "figures" not in job.config.report
        assert "alignment.epochs=1" in job.overrides
    with pytest.raises(ConfigCompositionException, match=r"alignment\.epoch\b") as caught:
        jobs_of(*sweep, "alignment.epoch=1")
    assert "alignment.epochs" in explanation(caught.value, caught.value.job_overrides), "the key that is meant"


def test_the_flag_of_a_sweep_may_stand_between_overrides():
    words = ["name=x", "-m", "seed=0,1", "hydra/sweeper=study"]
    assert for_jobs(words) == ["-m", "name=x", "seed=0,1", "hydra/sweeper=study"]


@pytest.mark.parametrize(
    "words",
    [
        ["+experiment=nano", "alignment.epochs=1"],
        ["--cfg", "job", "+sweep=seeds", "alignment.epochs=1"],
        ["-m", "seed=0,1", "hydra/sweeper=study", "paths.output=/x", "+alignment.epochs=1", "hydra.job.chdir=false"],
    ],
)
def test_what_need_not_change_is_left_alone(words):
    assert for_jobs(words) == words


# sweep -> (what the command line adds, jobs, those of them that equal another, how keys that change begin)
STUDIES = {
    "seeds": (
        ["+experiment=nano"],
        3,
        0,
        ("seed", "scorer.seed", "alignment.seed", "baselines.random_heads.criterion"),
    ),
    "order": (["+experiment=nano"], 4, 0, ("scorer.order",)),
    "calibration": (["+experiment=nano"], 8, 1, ("scorer.calibration", "scorer.power")),
    "loss": (["+experiment=nano"], 8, 0, ("loss.",)),
    "selection": (["+experiment=nano", "alignment=none"], 19, 2, ("selection.",)),
    "scales": ([], 3, 0, ("name", "paths.run", "model.model", "model.revision")),
}


def test_every_sweep_is_tested():
    files = {path.stem for path in (CONFIG_FOLDER / "sweep").glob("*.yaml")}
    assert files == {*STUDIES, "alignment_ablation", "tune_alignment"}


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_varies_what_it_says(name):
    given, count, same, keys = STUDIES[name]
    with sweeper(f"+sweep={name}", *given) as (made, arguments):
        jobs = made.jobs(arguments)
    assert len(jobs) == count == len({job.folder for job in jobs})
    assert len({job.content for job in jobs}) == count - same
    root = Path("outputs/scales" if name == "scales" else f"outputs/nano/{name}")
    assert {job.folder.parent for job in jobs} == {root}
    first = flat(jobs[0].config)
    for job in jobs:
        assert all(key.startswith(keys) for key in difference(first, flat(job.config)))
        experiment_from_config(job.config, Path("unused"))


def test_a_key_that_an_axis_varies_cannot_be_fixed():
    said = pytest.raises(HydraException, match="scorer is varied")
    with sweeper("+sweep=calibration", "scorer=none") as (made, arguments), said:
        made.jobs(arguments)


def test_a_sweep_starts_without_m_and_a_run_of_its_job_does_not():
    with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base="1.3"):
        for name in (*STUDIES, "alignment_ablation", "tune_alignment"):
            config = compose("config", [f"+sweep={name}"], return_hydra_config=True)
            assert config.hydra.mode.name == "MULTIRUN"
            assert config.hydra.sweeper._target_.startswith("hydra_plugins.headrank_sweepers.")


def test_the_search_draws_what_the_settings_take():
    pytest.importorskip("optuna")
    from hydra_plugins.headrank_sweepers.search import distribution

    with sweeper("+sweep=tune_alignment", "+experiment=qwen3_4b", "alignment.epochs=3") as (made, arguments):
        arranged = made.arranged(arguments, made.params)
        space = {o.key_or_group: distribution(o) for o in arranged if o.is_sweep_override()}
        assert "alignment.epochs" not in space, "the command line has said it"
        assert space["alignment.optimizer.lr"].log
        for end in ("low", "high"):
            values = [f"{key}={getattr(d, end) if hasattr(d, end) else d.choices[-1]}" for key, d in space.items()]
            found = experiment_from_config(made.job([*arguments, *values]).config, Path("unused"))
            assert found.objective_from == "validation"
            assert found.alignment.optimizer.lr == getattr(space["alignment.optimizer.lr"], end)
            assert (found.alignment.epochs, found.alignment.validation_queries) == (3, 20)


LAUNCHERS = {"processes": "hydra_joblib_launcher", "slurm": "hydra_submitit_launcher"}


@pytest.mark.parametrize(("name", "plugin"), LAUNCHERS.items())
def test_launchers_extend_their_plugins(name, plugin):
    assert {path.stem for path in (CONFIG_FOLDER / "hydra/launcher").glob("*.yaml")} == {
        *LAUNCHERS,
        "ray_cpu",
        "ray_gpu",
    }
    if find_spec("hydra_plugins") is None or find_spec(f"hydra_plugins.{plugin}") is None:
        pytest.skip(f"{plugin} is not installed")
    with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base="1.3"):
        launcher = compose("config", [f"hydra/launcher={name}"], return_hydra_config=True).hydra.launcher
    assert launcher._target_.startswith(f"hydra_plugins.{plugin}.")
    own = yaml.safe_load((CONFIG_FOLDER / f"hydra/launcher/{name}.yaml").read_text())
    del own["defaults"]
    assert own.items() <= OmegaConf.to_container(launcher).items()
