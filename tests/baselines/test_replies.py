"""Replies: read, repaired, counted. The rule is RankGPT's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrank.baselines import Permutation, read_permutation, reply_counts

GOOD = {"repeated": False, "missing": False, "foreign": False, "unreadable": False}


@pytest.mark.parametrize(
    ("reply", "order", "faults", "bare"),
    [
        ("[2] > [3] > [1]", (1, 2, 0), {}, True),
        ("\n [2]>[3] >[1] \n", (1, 2, 0), {}, True),
        ("[02] > [3] > [1]", (1, 2, 0), {}, True),
        ("2, 3, 1", (1, 2, 0), {}, False),
        ("The order is [2] > [3] > [1]. I hope this helps!", (1, 2, 0), {}, False),
        ("[3] > [3] > [1]", (2, 0, 1), {"repeated", "missing"}, True),
        ("[3] > [1] > [2] > [3]", (2, 0, 1), {"repeated"}, True),
        ("[3]", (2, 0, 1), {"missing"}, True),
        ("[3] > [7] > [1] > [2]", (2, 0, 1), {"foreign"}, True),
        ("[0] > [2] > [1] > [3]", (1, 0, 2), {"foreign"}, True),
        ("[9] > [8]", (0, 1, 2), {"missing", "foreign"}, True),
        ("[9] > [9] > [2]", (1, 0, 2), {"repeated", "missing", "foreign"}, True),
        ("Here are the top 20: [2] > [3] > [1]", (1, 2, 0), {"foreign"}, False),
        ("", (0, 1, 2), {"unreadable"}, False),
        ("I cannot rank these.", (0, 1, 2), {"unreadable"}, False),
        ("[" + "9" * 5000 + "] > [2] > [3] > [1]", (1, 2, 0), {"foreign"}, True),
        ("[" + "0" * 5000 + "3] > [2] > [1]", (2, 1, 0), {}, True),
        ("[-2] > [3] > [1]", (1, 2, 0), {}, False),  # a minus is no digit: RankGPT reads 2
        ("[٢] > [٣] > [١]", (1, 2, 0), {}, False),  # Arabic-Indic
        ("[२] > [३] > [१]", (1, 2, 0), {}, False),  # Devanagari
        ("[２] > [３] > [１]", (1, 2, 0), {}, False),  # full width
        ("[²] > [③] > [₁]", (1, 2, 0), {}, False),  # digits that int() refuses
        ("[½] > [二] > [2] > [3] > [1]", (1, 2, 0), {}, False),  # numbers that are no digits
        ("<think>First [1], or [2]?</think>[2] > [3] > [1]", (1, 2, 0), {}, True),
        ("[3] > [1] > [2]\x00\x00", (2, 0, 1), {}, False),
    ],
)
def test_a_reply_for_three_passages(reply, order, faults, bare):
    read = read_permutation(reply, 3)
    assert read == Permutation(order, **{**GOOD, **dict.fromkeys(faults, True)}, bare=bare)
    assert read.well_formed == (not faults)


def test_missing_passages_keep_their_previous_order():
    assert read_permutation("[5] > [2]", 6).order == (4, 1, 0, 2, 3, 5)


def test_a_window_without_passages_is_refused():
    with pytest.raises(ValueError, match="0 passages"):
        read_permutation("[1]", 0)


@given(st.text(), st.integers(1, 30))
def test_any_text_gives_a_permutation(reply, size):
    read = read_permutation(reply, size)
    assert sorted(read.order) == list(range(size))
    assert read.unreadable == (not any(c.isdigit() for c in reply.rsplit("</think>", 1)[-1]))


@given(st.permutations(range(20)))
def test_a_well_formed_reply_is_taken_as_it_is(order):
    read = read_permutation(" > ".join(f"[{i + 1}]" for i in order), 20)
    assert read == Permutation(tuple(order))


@given(st.lists(st.integers(0, 12)), st.integers(1, 9))
def test_faults_are_what_the_identifiers_say(numbers, size):
    read = read_permutation(" > ".join(f"[{n}]" for n in numbers), size)
    own = [n for n in numbers if 1 <= n <= size]
    assert read.repeated == (len(numbers) != len(set(numbers)))
    assert read.foreign == (len(own) != len(numbers))
    assert read.missing == (bool(numbers) and set(own) != set(range(1, size + 1)))
    # Mentioned ones lead in the order of their first mention; repairing a repaired reply changes nothing.
    assert read.order[: len(set(own))] == tuple(dict.fromkeys(n - 1 for n in own))
    again = read_permutation(" > ".join(f"[{i + 1}]" for i in read.order), size)
    assert again == Permutation(read.order)


def test_counts_by_hand():
    replies = ["[2] > [1]", "Sure: [1] > [2]", "[1] > [1]", "[3] > [1] > [2]", "no"]
    counts = reply_counts(read_permutation(reply, 2, cut=reply == "no") for reply in replies)
    assert counts == {
        "windows": 5, "well_formed": 2, "ok": 1, "repeated": 1, "missing": 1, "foreign": 1, "unreadable": 1,
        "other_text": 2, "cut": 1,
    }  # fmt: skip
    assert set(reply_counts([]).values()) == {0}
