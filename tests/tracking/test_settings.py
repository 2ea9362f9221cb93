"""Which tracker a configuration asks for, the ledger, and keys."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from headrank.extras import MissingExtraError
from headrank.run import CONFIG_FOLDER, tracker_from_config
from headrank.tracking import NoTracker, WandbSettings
from headrank.tracking.ledger import Ledger
from headrank.tracking.names import check_names, metric_key, value_key
from tests.tracking.conftest import WORDS
from tests.tracking.offline import offline_runs

ROOT = Path(__file__).parents[2]


def tracker(*words: str):
    with initialize_config_dir(config_dir=str(CONFIG_FOLDER), version_base="1.3"):
        return tracker_from_config(compose("config", list(words)), name="run", group=None)


def test_none_is_the_default_and_the_environment_chooses_the_mode(monkeypatch):
    assert isinstance(tracker(), NoTracker)
    assert tracker("tracking=wandb").settings.mode == "offline", "the tests' own default"
    monkeypatch.delenv("WANDB_MODE")
    assert tracker("tracking=wandb").settings.mode == "online"


def test_disabled_writes_nothing(start, tmp_path):
    words = [word for word in WORDS if not word.startswith("alignment")]
    run = start(tmp_path / "run", *words, "tracking.mode=disabled")
    assert isinstance(run.tracker, NoTracker)
    assert (run.folder / "report.html").is_file()
    assert not (run.folder / "wandb").exists()
    assert not (run.folder / "tracking.json").exists()


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"\.\[wandb\]"):
        tracker("tracking=wandb")
    assert isinstance(tracker("tracking=wandb", "tracking.mode=disabled"), NoTracker)


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_only_the_first_process_is_tracked(monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    assert isinstance(tracker("tracking=wandb"), NoTracker)
    monkeypatch.setenv(variable, "0")
    assert not isinstance(tracker("tracking=wandb"), NoTracker)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mode": "shared"}, "mode is 'shared'"),
        ({"project": "a/b"}, "project is 'a/b'"),
        ({"project": ""}, "project is ''"),
        ({"tags": "one"}, "tags is 'one'"),
        ({"tags": ["x" * 65]}, r"tags\.0 is 'x+"),
        ({"max_model_gb": 0.0}, "max_model_gb is 0.0"),
    ],
)
def test_settings_check_themselves(change, said):
    with pytest.raises(ValueError, match=said):
        WandbSettings(**change)


def test_a_ledger_belongs_to_one_configuration(tmp_path):
    path = tmp_path / "tracking.json"
    first = Ledger(path, "a")
    first.epochs, first.step, first.results, first.files["heads"] = 2, 3, "key", "digest"
    first.save()
    again = Ledger(path, "a")
    assert (again.run_id, again.epochs, again.step, again.results) == (first.run_id, 2, 3, "key")
    assert again.files == {"heads": "digest"}
    other = Ledger(path, "b")
    assert other.run_id != first.run_id
    assert (other.epochs, other.step, other.results, other.files) == (0, 0, None, {})
    assert json.loads(path.read_text())["run_id"] == other.run_id


@pytest.mark.parametrize(("before", "after"), [(True, True), (True, False), (False, True)])
def test_what_one_offline_folder_holds_is_logged_again(tmp_path, before, after):
    path = tmp_path / "tracking.json"
    first = Ledger(path, "a", offline=before)
    first.epochs, first.results, first.files = 2, "key", {"heads": "digest", "model-1": "digest"}
    first.save()
    written = path.read_text()
    again = Ledger(path, "a", offline=after)
    assert (again.run_id, again.epochs, again.results, again.files) == (first.run_id, 0, None, {})
    for name, value in (("epochs", 2), ("results", "key"), ("files", {"heads": "digest"})):
        assert not again.complete
        again.save()
        assert path.read_text() == written, "a kill now loses nothing"
        setattr(again, name, value)
    assert again.complete
    again.save()
    assert json.loads(path.read_text())["offline"] is after


def test_keys_are_what_can_be_sorted_by():
    assert metric_key("trec-dl-2019", "first stage", "ndcg@10") == "metrics/trec_dl_2019/first_stage/ndcg_10"
    assert metric_key("a/b", "c.d", "mrr@10") == "metrics/a_b/c_d/mrr_10"
    assert value_key("val/ndcg@10") == "val/ndcg_10"
    check_names("systems", ["a", "b", "a"])
    with pytest.raises(ValueError, match="'zero-shot' and 'zero shot' have the same key"):
        check_names("systems", ["zero-shot", "zero shot"])


@pytest.mark.slow
def test_the_jobs_of_a_sweep_are_runs_of_one_group(tmp_path):
    """The first job fails; the second, in the same process, is a run of its own and finishes."""
    words = [
        "debug=fast",
        "tracking=wandb",
        "tracking.mode=offline",
        f"paths.output={tmp_path}",
        "selection.heads=99,2",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "headrank.run", "-m", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 1
    assert "99" in done.stderr
    jobs = {
        json.loads(status.read_text())["state"]: status.parent
        for status in (tmp_path / "debug-run").rglob("status.json")
    }
    (failed,), (finished,) = (offline_runs(jobs[state]) for state in ("failed", "finished"))
    assert (failed.group, finished.group) == ("debug-run", "debug-run")
    assert (failed.exit_code, finished.exit_code) == (1, 0)
    assert failed.id != finished.id
    assert (failed.name, finished.name) == ("debug=fast,selection.heads=99", "debug=fast,selection.heads=2")
    assert "99" in failed.summary["status/error"]
    assert finished.summary["status/state"] == "finished"
    assert failed.config["selection"]["heads"] == 99
