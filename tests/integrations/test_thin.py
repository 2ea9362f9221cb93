"""Integrations are short, each has an extra, and without its library the error names the extra."""

import importlib
import sys
import tomllib
from pathlib import Path

import pytest

import headrank.integrations
from headrank.extras import EXTRAS, MissingExtraError

ROOT = Path(__file__).parents[2]
LIBRARIES = {  # module -> extra
    "langchain": "langchain",
    "llama_index": "llama-index",
    "haystack": "haystack",
    "pyterrier": "pyterrier",
    "sentence_transformers": "baselines",
    "mteb": "mteb",
    "rerankers": "rerankers",
}
FOLDER = Path(headrank.integrations.__file__).parent


def test_every_integration_is_tested_and_described():
    modules = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert modules == set(LIBRARIES)
    assert all((Path(__file__).parent / f"test_{module}.py").is_file() for module in modules)
    overview = (ROOT / "docs" / "integrations.md").read_text()
    for module in modules:
        page = (ROOT / "docs" / "integrations" / f"{module}.md").read_text()
        assert f"from headrank.integrations.{module} import" in page
        assert f"headrank[{LIBRARIES[module]}]" in page
        assert f"(integrations/{module}.md)" in overview


def test_an_integration_has_less_than_80_lines():
    lengths = {path.name: len(path.read_text().splitlines()) for path in FOLDER.glob("*.py")}
    assert {name: n for name, n in lengths.items() if n >= 80} == {}


@pytest.mark.parametrize("module", LIBRARIES)
def test_a_missing_library_names_its_extra(module, monkeypatch):
    extra = LIBRARIES[module]
    for library in EXTRAS[extra]:
        monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"headrank.integrations.{module}", raising=False)
    with pytest.raises(MissingExtraError) as caught:
        importlib.import_module(f"headrank.integrations.{module}")
    assert f".[{extra}]" in str(caught.value)


def test_the_extra_of_all_holds_each():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (every,) = extras["integrations"]
    named = set(every.removeprefix("headrank[").removesuffix("]").split(","))
    assert named == set(LIBRARIES.values()) - {"baselines"}
    assert named <= set(extras)
