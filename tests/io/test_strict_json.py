import json

import pytest

from headrank.errors import FormatError
from headrank.io.strict_json import parse_json, read_json


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"depth": 1, "depth": 2}', "'depth'"),
        ('{"a": {"x": 1, "y": 2, "x": 1}}', "'x'"),
        ('{"a": NaN}', "NaN"),
        ("[Infinity]", "Infinity"),
        ("[-Infinity]", "-Infinity"),
        ("[1e999]", "1e999"),
        ("[-1e999]", "-1e999"),
        ("1" * 5000, "digits"),
        ("[" * 100_000, "nested"),
        ('{"a": 1', "line 1 column 8"),
        ("", "line 1 column 1"),
    ],
)
def test_what_json_loads_accepts_or_fails_on_obscurely_is_refused_by_name(text, named):
    with pytest.raises(FormatError) as error:
        parse_json(text, "queries.jsonl:7")
    assert str(error.value).startswith("queries.jsonl:7: ")
    assert named in str(error.value)


def test_everything_else_reads_as_json_does():
    text = '{"a": [1, -2.5, 1e300, true, null, "NaN"], "b": {"a": {}}, "ü": ""}'
    assert parse_json(text, "x") == json.loads(text)


def test_a_file_is_named(tmp_path):
    path = tmp_path / "heads.json"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(FormatError, match=r"heads\.json"):
        read_json(path)
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")
