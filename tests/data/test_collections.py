from headrank.data.collections import fingerprint


def test_where_a_part_ends_counts():
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])
    assert fingerprint(["a"]) != fingerprint(["a", ""])


def test_fingerprints_are_stable_and_take_any_text():
    assert fingerprint(["a", "b"]) == fingerprint(iter(["a", "b"]))
    assert len(fingerprint(["\ud800\x00é"])) == 32
