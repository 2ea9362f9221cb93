"""Labelled lists made from passages alone."""

import random
from dataclasses import replace

import pytest

from headrank.data import (
    GeneratedQueries,
    NegativeShares,
    load_collection,
    load_data,
)
from headrank.data.bm25.index import BM25Parameters, bm25_index
from headrank.data.spans import content_words
from headrank.errors import ConfigError
from headrank.ranking import Query
from tests.data.toy import BEST, MOON, SENTENCE


def random_texts(n=60, words=30, vocabulary=40):
    rng = random.Random(0)
    return {f"p{i}": " ".join(f"w{rng.randrange(vocabulary)}" for _ in range(words)) for i in range(n)}


def lists(settings, tmp_path):
    data = load_data(settings, tmp_path / "cache")
    assert [one.item.query.id for one in data.labelled()] == list(data.query_ids)
    return {one.item.query.id: one for one in data.labelled()}


def test_a_hand_made_collection(passages, tmp_path, caplog):
    caplog.set_level("INFO", logger="headrank")
    found = lists(passages(generated=replace(SENTENCE, keep=1.0)), tmp_path)
    assert list(found) == ["passages:a", "passages:e"]
    assert "2 queries made from its passages; 2 passages of fewer than 6 words skipped" in caplog.text
    one = found["passages:a"]
    assert one.item.query.text == "Tides follow the moon."
    assert found["passages:e"].item.query.text == "TIDES follow the moon."
    # e has the same text and f has none; BM25 finds neither d nor g.
    assert one.item.passage_ids[:3] == ("a", "c", "b")
    assert sorted(one.item.passage_ids[3:]) == ["d", "g"]
    assert one.grades == (1, 0, 0, 0, 0)
    scores = one.item.first_stage_scores
    assert scores[0] > scores[1] > scores[2] > scores[3] == scores[4] == 0
    assert {p.id: p.text for p in one.item.passages} == {i: MOON[i] for i in "abcdg"}
    searched = bm25_index(
        load_collection(passages().collection, passages_only=True), BM25Parameters(), tmp_path / "cache"
    )
    ranking = searched.search([Query("q", "Tides follow the moon.")], 10)["q"]
    assert [(r.id, r.score) for r in ranking.results if r.id != "e"] == list(zip("acb", scores[:3], strict=True))


def test_the_querys_words_are_deleted(passages, tmp_path):
    kept = lists(passages(generated=replace(SENTENCE, keep=1.0)), tmp_path)["passages:a"]
    both = lists(passages(generated=replace(SENTENCE, keep=0.0)), tmp_path)["passages:a"]
    assert both.item.query == kept.item.query
    assert both.item.passage_ids == kept.item.passage_ids
    assert both.item.first_stage_scores == kept.item.first_stage_scores
    assert {p.id: p.text for p in both.item.passages} == {
        "a": "So it is said by all.",
        "b": "The has no of water.",
        "c": "the road by the .",
        "d": MOON["d"],
        "g": "Short.",
    }
    own = replace(SENTENCE, keep=0.0, delete_from_negatives=False)
    one = lists(passages(generated=own), tmp_path)["passages:a"]
    assert {p.id: p.text for p in one.item.passages} == {**{i: MOON[i] for i in "abcdg"}, "a": "So it is said by all."}


def test_the_negatives_come_from_top_middle_and_all_passages(passages, tmp_path):
    shares = NegativeShares(bm25=0.4, middle=0.2, random=0.4)
    made = GeneratedQueries(queries=10, min_words=3, max_words=5, min_passage_words=20, negatives=shares)
    settings = passages(random_texts(200), made, depth=6)
    index = bm25_index(load_collection(settings.collection, passages_only=True), settings.bm25, tmp_path / "cache")
    ranked = 0
    for query_id, one in lists(settings, tmp_path).items():
        own = query_id.removeprefix("passages:")
        ids = list(index.search([Query("x", one.item.query.text)], 60)["x"].passage_ids)
        others = [i for i in one.item.passage_ids if i != own]
        best = [i for i in ids if i != own]
        assert len(others) == 5
        assert set(best[:2]) <= set(others), "two fifths of five"
        assert set(others) - set(best[:2]) & set(best[6:]), "one from ranks 7 to 60"
        ranked += sum(i in ids for i in others)
        known = [i for i in one.item.passage_ids if i in ids]
        assert known == sorted(known, key=ids.index), "in BM25's order"
        assert list(one.item.passage_ids[: len(known)]) == known
        start, words = one.item.passages[one.grades.index(1)], one.item.query.text.split()
        assert one.item.query.text in start.text or not content_words(start.text, settings.bm25) >= {*words}
        assert 3 <= len(words) <= 5
    assert ranked < 50, "some are random"


def test_bm25s_shortfall_is_filled_and_the_depth_is_kept(passages, tmp_path):
    texts = {"own": "moon tides water sea", **{f"p{i}": f"bread yeast {i}" for i in range(9)}}
    made = GeneratedQueries(queries=1, min_words=2, max_words=2, min_passage_words=4, negatives=BEST)
    (one,) = lists(passages(texts, made, depth=5), tmp_path).values()
    assert (one.item.query.id, len(one.item), one.item.first_stage_scores[1:]) == ("passages:own", 5, (0.0,) * 4)


def test_a_passage_that_bm25_does_not_find_has_a_random_place(passages, tmp_path):
    texts = {f"p{i}": "moon" for i in range(50)} | {f"q{i}": "moon the of and to in is it on at by" for i in range(8)}
    made = GeneratedQueries(queries=8, min_words=1, max_words=1, min_passage_words=11, negatives=BEST)
    places = set()
    for query_id, one in lists(passages(texts, made, depth=4), tmp_path).items():
        own = query_id.removeprefix("passages:")
        assert one.item.query.text == "moon"
        assert [i for i in one.item.passage_ids if i != own] == ["p0", "p1", "p2"], "equally good: 40 before it"
        assert len(set(one.item.first_stage_scores)) == 1
        places.add(one.item.passage_ids.index(own))
        assert one.grades == tuple(int(i == own) for i in one.item.passage_ids)
    assert len(places) > 1


def test_choices_depend_on_the_seed_and_nest(passages, tmp_path):
    made = GeneratedQueries(queries=20, min_passage_words=20, keep=0.5)
    base = lists(passages(random_texts(), made, depth=8), tmp_path)
    assert lists(passages(random_texts(), made, depth=8), tmp_path / "other") == base
    assert lists(passages(random_texts(), replace(made, seed=1), depth=8), tmp_path) != base
    fewer = lists(passages(random_texts(), replace(made, queries=7), depth=8), tmp_path)
    assert len(fewer) == 7
    assert fewer.items() <= base.items()
    assert lists(passages(random_texts(), made, depth=8, max_queries=5, seed=2), tmp_path).items() < base.items()

    def deleted(keep):
        changed = lists(passages(random_texts(), replace(made, keep=keep), depth=8), tmp_path)
        texts = random_texts()
        return {q for q, one in changed.items() if any(texts[p.id] != p.text for p in one.item.passages)}

    assert deleted(1.0) == set() < deleted(0.7) < deleted(0.5) < deleted(0.0) == set(base)
    every = lists(passages(random_texts(), replace(made, queries=None), depth=8), tmp_path)
    assert len(every) == 60


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("chinese", ["床前明月光，疑是地上霜。", "举头望明月，低头思故乡。", "春眠不觉晓，处处闻啼鸟。"]),
        ("japanese", ["東京都の天気は晴れです。", "大阪の名物はたこ焼き。", "京都の天気は雨でした。"]),
    ],
)
def test_characters_count_where_words_have_no_spaces(passages, tmp_path, language, texts):
    made = GeneratedQueries(queries=3, min_words=4, max_words=4, min_passage_words=8, keep=0.0)
    settings = passages(dict(zip("abc", texts, strict=True)), made, bm25=BM25Parameters(language=language))
    for query_id, one in lists(settings, tmp_path).items():
        own = one.item.passages[one.grades.index(1)]
        assert own.id == query_id[-1]
        whole = texts["abc".index(own.id)]
        assert sum(char.isalnum() for char in one.item.query.text) == 4
        assert own.text == whole.replace(one.item.query.text, "", 1)
        assert one.item.first_stage_scores[one.grades.index(1)] > 0
        pairs = content_words(one.item.query.text, settings.bm25)
        assert not any(pairs & content_words(p.text, settings.bm25) for p in one.item.passages if p != own)


def test_titles_are_part_of_a_passage(passages, tmp_path):
    texts = {"a": {"title": "Moon", "text": "over the sea"}, "b": "bread is made of flour"}
    made = GeneratedQueries(queries=2, min_words=1, max_words=1, min_passage_words=4)
    with_title, without = (passages(texts, made, title=title) for title in (True, False))
    assert lists(with_title, tmp_path)["passages:a"].item.passages[0].text.startswith(("Moon over", "over", "Moon the"))
    with pytest.raises(ConfigError, match="but 1 of the 2 passages"):
        lists(without, tmp_path)


def test_too_few_passages_are_refused_with_their_numbers(passages, tmp_path):
    with pytest.raises(
        ConfigError, match=r"generated\.queries is 3, but 2 of the 7 passages .*; 2 passages of fewer than 6"
    ):
        lists(passages(generated=replace(SENTENCE, queries=3)), tmp_path)
    with pytest.raises(ConfigError, match=r"None, but 0 of the 2 .*; 2 passages without a sentence"):
        lists(passages({i: MOON[i] for i in "bd"}, replace(SENTENCE, queries=None)), tmp_path)
    with pytest.raises(ConfigError, match="has 2 passages, none of which differs from passage a"):
        lists(passages({i: MOON[i] for i in "ae"}), tmp_path)
