"""A whole experiment over stand-ins of its collections and its model, undisturbed and killed twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from experiments.study.compare import differing_files
from tests.rehearsal import ROOT, hub, hub_requests, rehearsal_environment, stand_in_home

pytestmark = pytest.mark.slow

EXPERIMENT = "qwen3_0_6b"
BENCHMARKS, DEPTH, QUERIES = 14, 40, 2
# The rest of the experiment is as it is configured: model, data, benchmarks, heads, epochs, depth
OVERRIDES = [f"+experiment={EXPERIMENT}", f"max_queries={QUERIES}"]


class Start:
    """One start of the experiment as a process, in a working directory that keeps its output and its log."""

    def __init__(self, place: Path, environment: dict[str, str]) -> None:
        place.mkdir(exist_ok=True)
        self.folder, self.log = place / "outputs" / EXPERIMENT, place / "log"
        command = [sys.executable, "-m", "headrank.run", *OVERRIDES]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=log)

    def finish(self) -> None:
        """Wait for its end, which must be a success."""
        assert self.process.wait(timeout=900) == 0, self.log.read_text()[-3000:]

    def kill_when(self, reached: Callable[[], bool], stage: str) -> None:
        """Send `kill -9` as soon as `reached` holds, which must be in this stage."""
        while not reached():
            assert self.process.poll() is None, f"ended before it was killed: {self.log.read_text()[-3000:]}"
            time.sleep(0.02)
        os.kill(self.process.pid, signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL
        assert json.loads((self.folder / "status.json").read_text())["stage"] == stage


@pytest.fixture
def environment(tmp_path):
    home = stand_in_home(tmp_path / "irds", queries=5)
    with hub(tmp_path / "models") as endpoint:
        yield rehearsal_environment(home, endpoint=endpoint, hf_home=tmp_path / "hf") | {
            "HEADRANK_CACHE": str(tmp_path / "cache")
        }


def test_two_kills_change_no_byte_of_a_whole_experiment(environment, tmp_path):
    undisturbed = Start(tmp_path / "undisturbed", environment)
    undisturbed.finish()
    requests = hub_requests(tmp_path / "models")

    killed = Start(tmp_path / "killed", environment)
    epochs = killed.folder / "training" / "epochs.csv"
    # of two recorded epochs at least the first has its checkpoint
    killed.kill_when(lambda: epochs.is_file() and len(epochs.read_text().splitlines()) > 2, "align")
    killed = Start(tmp_path / "killed", environment)
    runs = killed.folder / "runs" / "headrank"
    killed.kill_when(lambda: len(list(runs.glob("*.trec"))) > 1, "rerank")  # the first of them is recorded
    before = recorded(killed.folder)
    killed = Start(tmp_path / "killed", environment)
    killed.finish()

    assert differing_files(undisturbed.folder, killed.folder) == []
    assert requests > 0
    assert hub_requests(tmp_path / "models") == requests  # a commit that is cached whole asks the hub for nothing
    assert {name.split("/")[0] for name in before} >= {"heads.json", "checkpoint", "runs"}
    after = recorded(killed.folder)
    assert {name: after[name] for name in before} == before  # nothing that was finished is made again
    check_outputs(undisturbed.folder)


def recorded(folder: Path) -> dict[str, int]:
    """Time of change of the files of all finished artifacts."""
    records = [json.loads(path.read_text()) for path in (folder / ".keys").glob("*.key")]
    return {name: (folder / name).stat().st_mtime_ns for record in records for name in record["files"]}


def check_outputs(folder: Path) -> None:
    """All benchmarks, all systems, one row for each epoch, and a report with every benchmark in it."""
    suite = yaml.safe_load((ROOT / "conf/benchmarks/trec_beir14.yaml").read_text())["defaults"]
    names = {yaml.safe_load((ROOT / f"conf/benchmarks/{o}.yaml").read_text())[o]["name"] for o in suite}
    assert len(names) == BENCHMARKS
    assert {path.stem for path in (folder / "metrics").glob("*.json")} == names
    for system in ("first_stage", "zero-shot", "headrank"):
        assert {path.stem for path in (folder / "runs" / system).glob("*.trec")} == names
    for run in (folder / "runs" / "headrank").glob("*.trec"):
        assert len(run.read_text().splitlines()) == QUERIES * DEPTH, run.name
    report = (folder / "report.md").read_text()
    assert all(name in report for name in names)
    alignment = yaml.safe_load((ROOT / "conf/alignment/lora.yaml").read_text())
    assert len((folder / "training/epochs.csv").read_text().splitlines()) == 1 + alignment["epochs"]
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
