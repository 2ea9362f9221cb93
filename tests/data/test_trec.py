import math
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrank.data.parsing import id_fault
from headrank.data.trec import read_run, separate_scores, write_run
from headrank.errors import FormatError
from headrank.ranking import RankedPassage, Ranking

IDS = st.text(min_size=1, max_size=8).filter(lambda text: id_fault(text) is None)
SCORES = st.floats(-1e30, 1e30, allow_nan=False) | st.sampled_from([0.0, -0.0, 0.1, 1.0, 1.0 + 1e-12, 1e-46])
TAG = "test"


def ranking_of(query_id, pairs):
    return Ranking.from_scores(query_id, [passage for passage, _ in pairs], [score for _, score in pairs])


# plain pairs: rankings are made in the tests, since the run-time type checker draws random numbers
LISTS = st.dictionaries(
    IDS, st.lists(st.tuples(IDS, SCORES), min_size=1, max_size=12, unique_by=lambda pair: pair[0]), max_size=4
)


def run_of(lists):
    return {query: ranking_of(query, pairs) for query, pairs in lists.items()}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("trec") / "file"


def trec_eval_order(file):
    """Passages of each query as trec_eval orders them: float32 score descending, equal ones by id descending."""
    found = {}
    for line in file.read_text(encoding="utf-8").split("\n")[:-1]:
        query, _, passage, _, score, _ = line.split(" ")
        found.setdefault(query, []).append((np.float32(score), passage.encode()))

    return {
        query: tuple(passage.decode() for _, passage in sorted(lines, reverse=True)) for query, lines in found.items()
    }


@given(lists=LISTS)
@example(lists={"q": [("a", 0.0), ("b", 0.0), ("c", -0.0)]})
@example(lists={"q": [(str(i), 1.0) for i in range(12)]})
def test_the_order_survives_a_round_trip_and_trec_eval(path, lists):
    run = run_of(lists)
    write_run(path, run, TAG)
    back = read_run(path)
    order = {query: ranking.passage_ids for query, ranking in run.items()}
    assert {query: ranking.passage_ids for query, ranking in back.items()} == order
    assert list(back) == list(run)
    assert trec_eval_order(path) == order


@given(lists=LISTS)
def test_what_was_read_is_written_as_the_same_bytes(path, lists):
    write_run(path, run_of(lists), TAG)
    first = path.read_bytes()
    write_run(path, read_run(path), TAG)
    assert path.read_bytes() == first


@given(scores=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=12, unique=True))
def test_distinct_float32_scores_come_back_as_the_same_floats(path, scores):
    scores = sorted({score + 0.0 for score in scores}, reverse=True)  # + 0.0: one zero, not two
    run = {"q": ranking_of("q", [(str(i), score) for i, score in enumerate(scores)])}
    write_run(path, run, TAG)
    assert read_run(path) == (run if scores else {})


@given(scores=st.lists(SCORES, max_size=30).map(lambda scores: sorted(scores, reverse=True)))
def test_separated_scores_fall_strictly_and_stay_near(scores):
    separated = separate_scores(scores)
    assert all(a > b for a, b in pairwise(separated))
    assert all(float(np.float32(score)) == score for score in separated)
    for given_score, written in zip(scores, separated, strict=True):
        step = float(np.spacing(np.float32(max(abs(given_score), abs(written)))))
        assert abs(given_score - written) <= 31 * step


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, 1e300])
def test_scores_beyond_float32_are_refused(score):
    with pytest.raises(ValueError, match=re.escape(f"score {score}")):
        separate_scores([score])


def test_no_room_below_the_least_float32_is_an_error():
    least = float(np.finfo(np.float32).min)
    assert separate_scores([least]) == (least,)
    with pytest.raises(ValueError, match=re.escape(f"score {least}")):
        separate_scores([least, least])


def test_what_can_be_read_can_be_written(tmp_path):
    """Passages that are tied at the least float32 leave no room for their order: refused when they are read."""
    least = float(np.finfo(np.float32).min)
    file = tmp_path / "run"
    file.write_text(f"q Q0 a 1 {least} t\n")
    assert read_run(file) == {"q": ranking_of("q", [("a", least)])}
    file.write_text(f"p Q0 a 1 1 t\nq Q0 a 1 {least} t\nq Q0 b 2 {least} t\n")
    with pytest.raises(FormatError, match=r"run: query 'q': score -3\.4"):
        read_run(file)


def test_a_run_is_ordered_by_score_then_rank_then_line(tmp_path):
    file = tmp_path / "run"
    file.write_text("q Q0 a 3 1 t\nq Q0 b 2 1.0 t\nq Q0 c 9 2e0 t\nq Q0 d 2 1 t\n")
    assert read_run(file) == {"q": ranking_of("q", [("c", 2.0), ("b", 1.0), ("d", 1.0), ("a", 1.0)])}


def test_queries_may_be_interleaved_and_columns_separated_by_tabs_and_runs_of_spaces(tmp_path):
    file = tmp_path / "run"
    file.write_bytes("\ufeffq1\tQ0 a  1 .5 t\r\nq2 0 a 0 +5. t \r\nq1 Q0 é 2 -1E-3 t".encode())
    assert read_run(file) == {"q1": ranking_of("q1", [("a", 0.5), ("é", -0.001)]), "q2": ranking_of("q2", [("a", 5.0)])}


def test_an_empty_run_and_a_query_without_passages(tmp_path, caplog):
    write_run(tmp_path / "run", {}, TAG)
    assert read_run(tmp_path / "run") == {}
    write_run(tmp_path / "run", {"q1": Ranking("q1", ()), "q2": ranking_of("q2", [("a", 1.0)])}, TAG)
    assert list(read_run(tmp_path / "run")) == ["q2"]
    assert "1 of 2 queries have no passages" in caplog.text


def test_of_a_repeated_passage_the_best_place_counts_on_request(tmp_path):
    file = tmp_path / "fused.run"
    file.write_text("q Q0 a 1 1 t\nq Q0 b 2 3 t\nq Q0 a 1 4 u\nq Q0 b 2 3 u\np Q0 a 1 1 t\n")
    with pytest.raises(FormatError, match=r"fused\.run:3: .*'a'.* line 1.*duplicates=best"):
        read_run(file)
    assert read_run(file, duplicates="best") == {
        "q": ranking_of("q", [("a", 4.0), ("b", 3.0)]),
        "p": ranking_of("p", [("a", 1.0)]),
    }


GOOD = "q Q0 a 1 2.5 t\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 b 1 2.5\n", "5 columns .*expected 6 columns"),
        ("q Q0 b 1 2.5 my tag\n", "7 columns"),
        ("\nq Q0 b 2 1.5 t\n", "a blank line"),
        (" \t\nq Q0 b 2 1.5 t\n", "a blank line"),
        ("q Q0 b one 2.5 t\n", "rank 'one'; expected a whole number"),
        ("q Q0 b 1.0 2.5 t\n", r"rank '1\.0'"),
        ("q Q0 b -1 2.5 t\n", "rank '-1'"),
        ("q Q0 b 1 nan t\n", "score 'nan'"),
        ("q Q0 b 1 inf t\n", "score 'inf'"),
        ("q Q0 b 1 1e999 t\n", "score '1e999'"),
        ("q Q0 b 1 1e39 t\n", "score '1e39'"),
        ("q Q0 b 1 -3.5e38 t\n", r"score '-3\.5e38'"),
        ("q Q0 b\u2009c 1 2.5 t\n", r"U\+2009"),
        ("q\u2009r Q0 b 1 2.5 t\n", r"U\+2009"),
        ("q Q0 b 1 1_0 t\n", "score '1_0'"),
        ("q Q0 b 1 ١ t\n", "score '١'"),
        ("q Q0 b 1 0x1 t\n", "score '0x1'"),
        ("q Q0 a 2 1.5 t\n", r"passage 'a' of query 'q' .*line 1\b"),
        ("q Q0 b\u00a0c 2 1.5 t\n", r"passage id .* U\+00A0"),
        ("q\x00 Q0 b 2 1.5 t\n", r"query id .* U\+0000"),
    ],
)
def test_a_bad_run_line_is_named(tmp_path, line, message):
    file = tmp_path / "bad.trec"
    file.write_text(GOOD + line, encoding="utf-8")
    with pytest.raises(FormatError, match=rf"bad\.trec:2: .*{message}"):
        read_run(file)


def test_bytes_that_are_not_utf8_are_named(tmp_path):
    file = tmp_path / "bad.trec"
    file.write_bytes(GOOD.encode() + b"q Q0 \xff 2 1 t\n")
    with pytest.raises(FormatError, match=r"bad\.trec:2: bytes that are not UTF-8"):
        read_run(file)


@pytest.mark.parametrize("bad", ["", "a b", "a\tb", "a\n", "\u2003", "a\x1b", "\ufeffa", "\ud800"])
def test_ids_that_a_file_cannot_hold_are_refused_and_nothing_is_written(tmp_path, bad):
    file = tmp_path / "out"
    for run in ({bad: ranking_of(bad, [("a", 1.0)])}, {"q": ranking_of("q", [("b", 2.0), (bad, 1.0)])}):
        with pytest.raises(ValueError, match=r"is empty|U\+"):
            write_run(file, run, TAG)
    with pytest.raises(ValueError, match="run tag"):
        write_run(file, {}, bad)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"q": ranking_of("other", [("a", 1.0)])}, "'q', found that of query 'other'"),
        ({"q": Ranking("q", (RankedPassage("a", 1.0, 1), RankedPassage("b", 2.0, 2)))}, "'q': .* increase"),
        ({"q": Ranking("q", (RankedPassage("a", 1.0, 1), RankedPassage("a", 0.5, 2)))}, "'q': .* 'a' twice"),
        ({"q": Ranking("q", (RankedPassage("a", math.nan, 1),))}, "'q': score nan"),
    ],
)
def test_a_run_that_is_none_is_refused_and_the_old_file_stays(tmp_path, run, message):
    file = tmp_path / "out"
    file.write_text(GOOD)
    with pytest.raises(ValueError, match=message):
        write_run(file, run, TAG)
    assert file.read_text() == GOOD


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.trec"):
        read_run(tmp_path / "none.trec")
