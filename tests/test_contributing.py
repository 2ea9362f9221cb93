"""What CONTRIBUTING.md shows works as shown, from outside the package."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headrank.heads import select_heads
from headrank.model import CalibrationSettings, Head
from tests.heads.toy import labelled, table

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.slow


@pytest.fixture
def outside(tmp_path):
    """A folder with everything that the page shows: `mypackage.py` and `myconf`."""
    (tmp_path / "mypackage.py").write_text("\n\n".join(CODE))
    for path, content in re.findall(r"^```yaml\n# (myconf/\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    return tmp_path


def run(folder, words, *more):
    """Run the page's only command with these words, with a tiny model; the folder of its results."""
    call("run", folder, words, "debug=fast", *more, f"paths.output={folder}")
    return folder / "debug-run"


def call(module, folder, words, *more):
    """The output of the page's only command of this module with these words."""
    (command,) = [found for found in re.findall(rf"`python -m headrank\.{module} ([^`]+)`", PAGE) if words in found]
    arguments = [argument.strip("'") for argument in command.split()]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
    }
    command = [sys.executable, "-m", f"headrank.{module}", *arguments, *more]
    done = subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_benchmark(outside):
    results = json.loads((run(outside, "benchmarks=") / "metrics" / "mine.json").read_text())
    assert results["relevance_threshold"] == 2


def test_the_ablation(outside):
    heads = json.loads((run(outside, "+ablation=") / "heads.json").read_text())
    assert len(heads["heads"]) == 2


def test_the_sweep(outside):
    files = sorted((run(outside, "+sweep=") / "heads_and_orders").rglob("heads.json"))
    found = [json.loads(file.read_text()) for file in files]
    assert [len(heads["heads"]) for heads in found] == [2, 2]
    assert {heads["scorer"]["order"] for heads in found} == {"first_stage", "reversed"}


def test_the_chat_template(outside):
    heads = json.loads((run(outside, "prompt=system_turn") / "heads.json").read_text())
    assert heads["prompt"]["chat_template"]["name"] == "system_turn"
    shown = call("prompts", outside, "prompt=system_turn", "--passages=1")
    assert heads["prompt"]["chat_template"]["head"] + "Here are some paragraphs:" in shown


def test_a_family_of_transformers(outside):
    assert "family: olmo2" in (run(outside, "olmo2") / "config.yaml").read_text()


def test_a_family_from_outside(outside):
    """With `debug=fast`, the tiny model of the family in place of the whole one."""
    tiny = ("debug.model._target_=mypackage.WideSettings", "debug.model.family=wide_llama")
    assert (run(outside, "mypackage.WideSettings", *tiny) / "metrics" / "sample-test.json").is_file()


def test_the_loss(outside):
    folder = run(outside, "loss=hinge", "alignment.epochs=1")
    assert "mypackage.Hinge" in (folder / "config.yaml").read_text()
    assert len((folder / "training" / "epochs.csv").read_text().splitlines()) == 2


def test_the_reranker(outside):
    folder = run(outside, "baselines=[shortest]")
    lines = (folder / "runs" / "shortest" / "sample-test.trec").read_text().splitlines()
    scores = [float(line.split()[4]) for line in lines if line.split()[0] == lines[0].split()[0]]
    assert len(scores) == 8
    assert max(scores) < 0
    assert scores == sorted(scores, reverse=True)


def test_the_criterion():
    names: dict = {}
    (code,) = [code for code in CODE if "class Shallow" in code]
    exec(code, names)
    two_layers = table(labelled([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]], [1, 0]))
    chosen = select_heads(two_layers, names["Shallow"](price=0.2), CalibrationSettings("none"), count=2)
    assert chosen.heads == (Head(0, 0), Head(1, 0))  # disc 1 and 1 - .2; the other two have 0
    assert chosen.score.tolist() == pytest.approx([1.0, 0.0, 0.8, -0.2])


def test_the_criterion_by_its_path(outside):
    heads = json.loads((run(outside, "mypackage.Shallow") / "heads.json").read_text())
    assert heads["criterion"]["name"] == "shallow"


def test_the_calibration_the_length_norm_and_the_context_order(outside):
    heads = json.loads((run(outside, "scorer=surplus") / "heads.json").read_text())
    found = {key: value["_target_"] for key, value in heads["scorer"].items() if isinstance(value, dict)}
    assert found == {
        "calibration": "mypackage.Surplus",
        "length_norm": "mypackage.LogTokens",
        "order": "mypackage.LongestFirst",
    }


def test_the_figure(outside):
    """By the one line of configuration that the page shows, into a report."""
    folder = run(outside, "mypackage.Hardest")
    svg = (folder / "figures" / "hardest.svg").read_text()
    results = json.loads((folder / "metrics" / "sample-test.json").read_text())
    worst = min(results["systems"]["headrank"]["per_query"]["ndcg@10"])
    assert f'<text x="8" y="20">{worst:.3f} ' in svg
    page = (folder / "report.html").read_text()
    assert "Hardest queries" in page
    assert base64.b64encode(svg.encode()).decode() in page
