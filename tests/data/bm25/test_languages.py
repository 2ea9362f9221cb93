"""Which passages BM25 finds in the languages that it knows."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import bm25s as library
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrank.data.bm25 import build as bm25_build
from headrank.data.bm25.index import BM25Index, BM25Parameters, bm25_index
from headrank.data.bm25.languages import LANGUAGES, STOP_WORDS
from headrank.data.bm25.words import words
from headrank.data.local import LocalCollection
from headrank.errors import ConfigError
from headrank.ranking import Passage, Query

CJK = ["chinese", "japanese", "korean", "cjk", "multilingual"]
THAI = "(?=([\u0e00-\u0e7f]{3}))"


def split(text, **parameters):
    (found,) = words([text], BM25Parameters(**parameters)).by_text()
    return found


def found(texts, query, **parameters):
    """The numbers of the passages that a query finds, the best first."""
    with TemporaryDirectory() as folder:
        passages = [Passage(str(i), text) for i, text in enumerate(texts)]
        index = BM25Index.build(passages, BM25Parameters(**parameters), Path(folder) / "index")
        return [int(i) for i in index.search([Query("q", query)], 10)["q"].passage_ids]


@pytest.mark.parametrize("language", CJK)
@pytest.mark.parametrize(
    ("texts", "query", "expected"),
    [
        (["床前明月光，疑是地上霜", "举头望明月，低头思故乡"], "故乡", [1]),
        (["床前明月光，疑是地上霜", "举头望明月，低头思故乡"], "明月光", [0, 1]),
        (["京都の天気は雨です", "東京都の天気は晴れです", "大阪の名物"], "東京都の天気", [1, 0]),
        (["ｱﾆﾒを見る", "本を読む"], "アニメ", [0]),  # half-width katakana
        (["서울의 날씨", "부산의 바다"], "서울", [0]),
        (["新しいiPhone手机が出た", "手紙を書く"], "IPHONE", [0]),
        (["新しいｉＰｈｏｎｅ手机", "手紙を書く"], "iPhone手机", [0]),
        (["月", "太陽"], "月", [0]),
        (["葛\U000e0100城市", "太陽"], "葛城", [0]),  # a variation selector
    ],
)
def test_pairs_of_characters_find_chinese_japanese_and_korean(language, texts, query, expected):
    assert found(texts, query, language=language) == expected


def test_pairs_are_those_of_a_run_and_other_words_stay_whole():
    assert split("東京都のiPhone15、月 été 々ー", language="cjk") == [
        "東京", "京都", "都の", "iphone15", "月", "été", "々ー",
    ]  # fmt: skip
    assert split("Running the tests", language="multilingual") == ["running", "the", "tests"]


@pytest.mark.parametrize(
    ("language", "texts", "query", "expected"),
    [
        ("german", ["das alte Haus", "der Garten"], "Häuser", [0]),
        ("german", ["die STRASSE", "der Garten"], "Straße", [0]),
        ("german", ["die Donau\u00addampf\u00adschiff\u00adfahrt", "x"], "Donaudampfschifffahrt", [0]),  # soft hyphens
        ("french", ["une école", "un hiver"], "E\u0301COLES", [0]),  # decomposed
        ("french", ["il mange des pommes", "la pluie"], "l’homme mangeait", [0]),
        ("spanish", ["las canciones viejas", "el mar"], "canción", [0]),
        ("italian", ["le ragazze", "il mare"], "ragazza", [0]),
        ("portuguese", ["as crianças", "o mar"], "CRIANÇA", [0]),
        ("dutch", ["de huizen", "de boeken"], "boek", [1]),
        ("russian", ["красивые дома", "море"], "КРАСИВЫЙ дом", [0]),
        ("swedish", ["flickorna", "havet"], "flicka", [0]),
        ("turkish", ["IRMAK kıyısı", "deniz"], "ırmak", [0]),
        ("turkish", ["İSTANBUL", "deniz"], "istanbul", [0]),
        ("hindi", ["हिन्दी की किताब", "समुद्र"], "हिन्दी", [0]),
        ("arabic", ["الكِتَابُ الجديد", "البحر"], "كتاب", [0]),
        ("multilingual", ["ｆｕｌｌ width", "x"], "FULL", [0]),
    ],
)
def test_stems_accents_and_case_of_a_language(language, texts, query, expected):
    assert found(texts, query, language=language) == expected


def test_stop_words_are_the_languages():
    assert split("der Hund und die Katze", language="german") == ["hund", "katz"]
    assert split("The die", language="german") == ["the"]
    assert split("daß", language="german") == []  # the list is folded like the text
    assert split("der the", language="german", stop_words="english") == ["der"]
    assert split("der Hund", language="german", stop_words=["HUND"], stemmer=None) == ["der"]
    assert split("the Cats", stop_words=None, stemmer=None) == ["the", "cats"]
    assert split("Häuser", language="german", stemmer=None) == ["häuser"]


def test_a_tokenizer_can_be_a_pattern_or_another_languages():
    assert split("a-b c", tokenizer="[a-z-]+", stop_words=None) == ["a-b", "c"]
    assert split("a1 b2", tokenizer=r"([a-z])\d", stop_words=None) == ["a", "b"]
    assert split("東京都", tokenizer="bigrams") == ["東京", "京都"]
    assert split("é\ud800", tokenizer=".*") == ["é?"]
    assert split("अंक", tokenizer="marked_words") == ["अंक"]


def test_thai_is_one_word_a_run_unless_a_pattern_cuts_it():
    texts, query = ["กรุงเทพเป็นเมืองหลวง", "ทะเลสวย"], "เมืองหลวง"
    assert found(texts, query, language="multilingual") == []
    assert found(texts, texts[0], language="multilingual") == [0]
    assert found(texts, query, language="multilingual", tokenizer=THAI) == [0]


def test_english_is_lower_cased_only():
    """The published numbers are of this form; compatibility characters and combining marks would change some."""
    text = "The ﬁnal ＣＡＴＳ cafe\u0301 Straße 日本語"
    plain = library.tokenize(
        text, stopwords="english", stemmer=None, token_pattern=r"(?u)\b\w+\b", return_ids=False, show_progress=False
    )
    assert [split(text, stemmer=None)] == plain
    assert split("日本語") == ["日本語"]


@pytest.mark.parametrize("name", STOP_WORDS)
def test_every_list_of_stop_words_is_there(name):
    assert len(split("zzz", stop_words=name)) == 1


def test_a_list_that_an_older_bm25s_lacks_is_named(monkeypatch):
    monkeypatch.delattr(library.stopwords, "STOPWORDS_DANISH")
    with pytest.raises(ConfigError, match=rf"danish.*{library.__version__}"):
        split("x", language="danish")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"language": "germn"}, "german"),
        ({"stemmer": "klingon"}, "klingon"),
        ({"stop_words": "germn"}, "german"),
        ({"stop_words": [1]}, "stop_words"),
        ({"tokenizer": "(["}, r"\(\["),
        ({"tokenizer": "(a)(b)"}, "2 groups"),
    ],
)
def test_unknown_values_are_refused(values, named):
    with pytest.raises(ConfigError, match=named):
        BM25Parameters(**values)


@pytest.mark.parametrize("language", LANGUAGES)
@given(texts=st.lists(st.text(), min_size=1, max_size=3))
@settings(max_examples=8)
def test_any_text_in_any_language_is_split(language, texts):
    found = words(texts, BM25Parameters(language=language))
    assert len(found.lengths) == len(texts)
    assert found.vocabulary == sorted(set(found.vocabulary))
    assert [word.encode() for word in found.vocabulary] == sorted(word.encode() for word in found.vocabulary)
    assert [len(one) for one in found.by_text()] == found.lengths.tolist()


@given(text=st.text(st.characters(codec=None)), tokenizer=st.sampled_from([r"\S+", ".", r"(?s).*", THAI]))
def test_any_text_with_any_pattern_is_split(text, tokenizer):
    for word in split(text, tokenizer=tokenizer):
        word.encode()


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_index_of_many_parts_equals_that_of_one(language, tmp_path, monkeypatch):
    pool = ["Häuser", "été", "故乡明月", "東京タワー", "서울", "हिन्दी", "дома", "iPhone手机", "the", "der", "ทะเล"]
    chance = random.Random(0)
    passages = [Passage(f"d{i}", " ".join(chance.choices(pool, k=i % 7))) for i in range(30)]
    whole = BM25Index.build(passages, BM25Parameters(language=language), tmp_path / "whole")
    monkeypatch.setattr(bm25_build, "PART_CHARACTERS", 40)
    monkeypatch.setattr(bm25_build, "BLOCK_POSTINGS", 5)
    parts = BM25Index.build(passages, BM25Parameters(language=language), tmp_path / "parts")
    files = sorted(path.name for path in whole.folder.iterdir() if path.suffix in (".npy", ".utf8"))
    assert all((whole.folder / name).read_bytes() == (parts.folder / name).read_bytes() for name in files)
    assert whole.search([Query("q", " ".join(pool))], 30)["q"].results


def test_languages_have_their_own_index_unless_they_are_analysed_equally(make_folder, tmp_path):
    collection = LocalCollection(make_folder())
    for language in ("english", "german", "turkish", "chinese"):
        bm25_index(collection, BM25Parameters(language=language), tmp_path)
    assert len(list((tmp_path / "bm25").iterdir())) == 4
    bm25_index(collection, BM25Parameters(language="japanese"), tmp_path)
    bm25_index(collection, BM25Parameters(language="english", stemmer="porter", stop_words="english"), tmp_path)
    assert len(list((tmp_path / "bm25").iterdir())) == 4
