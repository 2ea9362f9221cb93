"""What counts as a difference between two run folders of one experiment."""

import json

import pytest

from experiments.study.compare import differing_files


def record(key, sha256="1", time=1, **more):
    """What a run folder keeps of an artifact: its key and the checksums of its files."""
    return json.dumps({"key": key, "files": {"heads.json": {"sha256": sha256, "mtime_ns": time}} | more})


def run_folder(path, **changes):
    files = {
        "heads.json": "{}",
        "runs/headrank/one.trec": "q Q0 d 1 0.5 headrank",
        "runs/headrank/one.contexts.json": json.dumps({"facts": {"seconds": 1}, "lists": [1]}),
        "status.json": "now",
        "report.html": "1 s",
        ".keys/heads.json.key": record("a"),
    } | changes
    for name, text in files.items():
        if text is not None:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
    return path


def test_times_are_no_difference(tmp_path):
    changes = {"status.json": "later", "report.html": "2 s", "config.yaml": "name: other", "run.log": "12:00"}
    changes[".keys/heads.json.key"] = record("a", time=2, **{"runs/headrank/one.contexts.json": {"sha256": "2"}})
    changes["runs/headrank/one.contexts.json"] = json.dumps({"facts": {"seconds": 2}, "lists": [1]})
    assert differing_files(run_folder(tmp_path / "one"), run_folder(tmp_path / "other", **changes)) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("heads.json", "{} "),
        ("heads.json", None),
        ("metrics/one.json", "{}"),
        (".keys/heads.json.key", record("b")),
        (".keys/heads.json.key", record("a", sha256="2")),
        ("runs/headrank/one.contexts.json", json.dumps({"facts": {"seconds": 1}, "lists": [2]})),
    ],
)
def test_anything_else_is(tmp_path, name, text):
    one, other = run_folder(tmp_path / "one"), run_folder(tmp_path / "other", **{name: text})
    assert differing_files(one, other) == [name]
    assert differing_files(other, one) == [name]


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one"):
        differing_files(tmp_path / "one", run_folder(tmp_path / "other"))
