"""No source or test file has more than 300 lines: a longer one holds more than one subject."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("headrank", "hydra_plugins", "experiments", "scripts", "tests")
LONGEST = 300


def test_no_python_file_is_longer_than_the_limit():
    lengths = {path: len(path.read_text().splitlines()) for name in FOLDERS for path in (ROOT / name).rglob("*.py")}
    assert len(lengths) > 100
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST} == {}
