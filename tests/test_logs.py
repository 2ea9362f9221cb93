"""What reaches the terminal and the run's file, in this process."""

import logging
import sys
import warnings

import pytest

from headrank import logs
from headrank.logs import Progress, seconds_text, set_up_logging


@pytest.fixture
def log(tmp_path, monkeypatch, capsys):
    """Sets logging up; gives what was written to stderr and to the file. Everything is as before at the end."""
    root, loggers = logging.getLogger(), [logging.getLogger(name) for name in (*logs._OURS, "")]
    levels = [one.level for one in loggers]
    monkeypatch.setenv("HEADRANK_RUN_LOG", "")
    file = tmp_path / "folder" / "run.log"
    with warnings.catch_warnings():
        set_up_logging(file=file)
        yield lambda: (capsys.readouterr().err.splitlines(), [line[20:] for line in file.read_text().splitlines()])
    logging.captureWarnings(False)
    for handler in [one for one in root.handlers if isinstance(one, logs._Lines)]:
        root.removeHandler(handler)
        handler.close()
    for one, level in zip(loggers, levels, strict=True):
        one.setLevel(level)


def test_own_records_once_and_warnings_of_others(log):
    ours, other = logging.getLogger("headrank.x"), logging.getLogger("httpx2")
    other.setLevel(logging.DEBUG)  # a library that sets its level itself
    for _ in range(2):
        ours.info("a step")
        ours.warning("a warning")
        other.info("a request")
    other.warning("another's warning")
    ours.debug("no one asked")
    expected = ["a step", "a warning", "a warning", "another's warning"]
    assert log() == (expected, expected)


def test_ir_datasets_is_heard_but_for_what_it_opens(log):
    import ir_datasets

    easy = ir_datasets.log.easy()
    easy.logger().propagate = True
    easy.info("Opening x.bin in memory")
    with easy.duration("opening zip file"):
        easy.warn("a mirror failed")
    with easy.duration("https://example.org/x.zip"):
        pass
    easy.info("[error] the docstore")
    terminal, file = log()
    assert file == ["a mirror failed"]
    told = [line for line in terminal if line.startswith("[INFO]")]
    assert [line.split()[1] for line in told] == ["[starting]", "[finished]", "[error]"]
    assert all("example.org" in line for line in told[:2])


def test_bars_of_ir_datasets_are_for_terminals(log):
    import ir_datasets

    logs.quiet_ir_datasets()
    easy = ir_datasets.log.easy()
    assert list(easy.pbar(iter(range(3)), desc="docs_iter", unit="doc", total=3)) == [0, 1, 2]
    with easy.pbar_raw(desc="fixing encoding", unit="B") as bar:
        bar.update(5)
    assert log() == ([], [])


def test_counts_of_zero_are_not_told():
    assert logs.counts_text((0, "queries without candidates"), (0, "lists")) == ""
    assert logs.counts_text((0, "queries"), (2, "lists"), (1, "passages")) == "; 2 lists, 1 passages"


def test_a_second_set_up_replaces_the_first(log, tmp_path):
    other = tmp_path / "other.log"
    set_up_logging(file=other)
    logging.getLogger("headrank").info("in the second job")
    assert log() == (["in the second job"], [])
    assert other.read_text().endswith("in the second job\n")


def test_progress_is_lines_at_intervals_with_total_and_time_left(log, monkeypatch):
    now = 0.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    with Progress(10, "rerank: fiqa", "list") as progress:
        for _ in range(10):
            now += 12.0
            progress.update()
    lines = ["3 of 10 lists, about 84 s left", "6 of 10 lists, about 48 s left", "9 of 10 lists, about 12 s left"]
    expected = [f"rerank: fiqa: {line}" for line in (*lines, "10 lists in 2 min")]
    assert log() == (expected, expected)


def test_a_terminal_has_a_bar_and_the_file_lines(log, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(logs, "SECONDS", 0.0)
    set_up_logging(file=tmp_path / "folder" / "run.log")
    assert list(Progress(3, "reading", "list", log_end=False).track("abc")) == ["a", "b", "c"]
    shown, written = log()
    assert "1 of 3 lists" not in "".join(shown)
    assert "reading" in "".join(shown)
    assert [line.partition(",")[0] for line in written] == ["reading: 1 of 3 lists", "reading: 2 of 3 lists"]
    assert not any("reading" in line and "left" in line for line in shown)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (12_240, "3.4 h")])
def test_times_are_short(seconds, text):
    assert seconds_text(seconds) == text
