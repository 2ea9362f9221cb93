"""The reranker as a user meets it: open, rank, save, open again."""

import json
import shutil

import pytest
import torch
from transformers import AutoModel

import headrank
from headrank import Passage, Reranker, RerankResult
from headrank.errors import ConfigError, ModelError
from headrank.heads import HeadsFile
from headrank.model import Head, PromptSettings, Scorer, ScorerSettings
from headrank.ranking import CandidateList, Query

PAIRS = [(1, 2), (0, 3)]
TEXTS = ["the first passage", "", "another passage", "the first passage", "x" * 400]
QUERY = "which passage is the first?"


@pytest.fixture(scope="module")
def reranker(model_folder) -> Reranker:
    return Reranker.from_pretrained(model_folder, PAIRS, device="cpu")


@pytest.fixture
def heads_json(tmp_path, model_folder):
    file = HeadsFile(
        model={"id": str(model_folder), "revision": None, "layers": 3, "heads_per_layer": 4},
        heads=(Head(1, 2), Head(0, 3)),
        weights=(1.0, 0.5),
        criterion={"name": "given"},
        prompt=PromptSettings(max_passage_tokens=9),
        scorer=ScorerSettings(calibration="none", order="both"),
    )
    file.save(tmp_path / "heads.json")
    return tmp_path / "heads.json"


def test_the_public_names():
    assert {"Reranker", "RerankResult", "Passage", "Query", "CandidateList", "Ranking"} <= set(headrank.__all__)
    assert all(hasattr(headrank, name) for name in headrank.__all__)


def test_a_ranking(reranker):
    results = reranker.rank(QUERY, TEXTS)
    assert all(isinstance(result, RerankResult) for result in results)
    assert [result.rank for result in results] == [1, 2, 3, 4, 5]
    assert sorted(result.id for result in results) == ["0", "1", "2", "3", "4"]
    assert [result.text for result in results] == [TEXTS[int(result.id)] for result in results]
    scores = [result.score for result in results]
    assert scores == sorted(scores, reverse=True)
    item = CandidateList(Query("0", QUERY), tuple(Passage(str(i), text) for i, text in enumerate(TEXTS)))
    direct = Scorer(reranker.backbone, [Head(1, 2), Head(0, 3)]).score([item])[0].ranking
    assert [result.id for result in results] == list(direct.passage_ids)
    assert scores == pytest.approx(list(direct.scores))


def test_ids_are_kept(reranker):
    texts = reranker.rank(QUERY, TEXTS)
    passages = reranker.rank(QUERY, [Passage(f"p{i}", text) for i, text in enumerate(TEXTS)])
    mapping = reranker.rank(QUERY, {f"m{i}": text for i, text in enumerate(TEXTS)})
    assert [r.id for r in passages] == [f"p{r.id}" for r in texts]
    assert [r.id for r in mapping] == [f"m{r.id}" for r in texts]
    assert [r.score for r in passages] == [r.score for r in mapping] == [r.score for r in texts]
    assert reranker.rank(QUERY, tuple(TEXTS)) == texts


def test_top_k(reranker):
    whole = reranker.rank(QUERY, TEXTS)
    assert reranker.rank(QUERY, TEXTS, top_k=2) == whole[:2]
    assert reranker.rank(QUERY, TEXTS, top_k=99) == whole
    for top_k in (0, -1):
        with pytest.raises(ConfigError, match=f"top_k is {top_k}"):
            reranker.rank(QUERY, TEXTS, top_k=top_k)


def test_many_queries_at_once(reranker):
    lists = [(QUERY, TEXTS), ("another", TEXTS[:2]), (QUERY, []), (QUERY, {"a": "one", "b": "two"})]
    together = reranker.rank_many(lists)
    assert [len(results) for results in together] == [5, 2, 0, 2]
    for (query, passages), results in zip(lists, together, strict=True):
        alone = reranker.rank(query, passages)
        assert [r.id for r in results] == [r.id for r in alone]
        assert [r.score for r in results] == pytest.approx([r.score for r in alone], abs=1e-5)
    assert [len(results) for results in reranker.rank_many(lists, top_k=1)] == [1, 1, 0, 1]
    assert reranker.rank_many([]) == []


def test_a_shuffled_lists_scores_do_not_depend_on_its_place(model_folder):
    shuffled = Reranker.from_pretrained(model_folder, PAIRS, device="cpu", scorer=ScorerSettings(order="shuffled"))
    other = ("another", TEXTS[:3])
    first, last = shuffled.rank_many([(QUERY, TEXTS), other, other])[0], shuffled.rank_many([other, (QUERY, TEXTS)])[1]
    scores = {r.id: r.score for r in shuffled.rank(QUERY, TEXTS)}
    for results in (first, last):
        assert {r.id: r.score for r in results} == pytest.approx(scores, abs=1e-5)


def test_cut_passages_are_marked_and_told_once(model_folder, caplog):
    prompt = PromptSettings(max_passage_tokens=30, max_query_tokens=40)
    reranker = Reranker.from_pretrained(model_folder, PAIRS, device="cpu", prompt=prompt)
    assert not any(r.truncated for r in reranker.rank(QUERY, TEXTS[:2]))
    assert not caplog.records
    assert {r.id for r in reranker.rank(QUERY, TEXTS) if r.truncated} == {"4"}
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "1 of 5 passages in 1 of 1 lists" in record.getMessage()
    reranker.rank(QUERY, TEXTS)
    assert len(caplog.records) == 1


def test_many_queries_over_the_same_passages(reranker):
    queries = [QUERY, "another one", "and a third"]
    together = reranker.rank_many([(query, TEXTS) for query in queries])
    for query, results in zip(queries, together, strict=True):
        alone = {r.id: r.score for r in reranker.rank(query, TEXTS)}
        assert {r.id: r.score for r in results} == pytest.approx(alone, abs=1e-5)


def test_batches_give_the_same(model_folder, reranker):
    lists = [(QUERY, TEXTS), ("another", TEXTS[:2]), (QUERY, TEXTS[2:])]
    batched = Reranker.from_pretrained(model_folder, PAIRS, device="cpu", scorer=ScorerSettings(batch_size=8))
    for a, b in zip(batched.rank_many(lists), reranker.rank_many(lists), strict=True):
        assert [r.id for r in a] == [r.id for r in b]
        assert [r.score for r in a] == pytest.approx([r.score for r in b], abs=1e-4, rel=1e-4)


def test_only_the_layers_in_use_are_loaded(reranker):
    assert (reranker.backbone.depth, reranker.backbone.layers) == (2, 3)
    assert reranker.heads.depth == 2
    assert reranker.heads.model["layers"] == 3


def test_all_heads(model_folder):
    everything = Reranker.from_pretrained(model_folder, "all", device="cpu")
    assert len(everything.heads.heads) == 12
    assert everything.backbone.depth == 3
    assert len(everything.rank(QUERY, TEXTS)) == 5


def test_a_heads_file_brings_its_settings(model_folder, heads_json):
    for heads in (heads_json, str(heads_json), HeadsFile.load(heads_json)):
        reranker = Reranker.from_pretrained(model_folder, heads, device="cpu")
        assert reranker.heads.scorer == ScorerSettings(calibration="none", order="both")
        assert reranker.heads.prompt == PromptSettings(max_passage_tokens=9)
        assert reranker.heads.weights == (1.0, 0.5)
    item = CandidateList(Query("0", QUERY), tuple(Passage(str(i), text) for i, text in enumerate(TEXTS)))
    direct = Scorer(
        reranker.backbone,
        [Head(1, 2), Head(0, 3)],
        weights=[1.0, 0.5],
        prompt=PromptSettings(max_passage_tokens=9),
        settings=ScorerSettings(calibration="none", order="both"),
    ).score([item])[0]
    assert [r.score for r in reranker.rank(QUERY, TEXTS)] == pytest.approx(list(direct.ranking.scores))


def test_settings_given_replace_the_files(model_folder, heads_json):
    scorer, prompt = ScorerSettings(order="reversed"), PromptSettings(null_query="")
    reranker = Reranker.from_pretrained(model_folder, heads_json, device="cpu", scorer=scorer, prompt=prompt)
    assert (reranker.heads.scorer, reranker.heads.prompt) == (scorer, prompt)
    plain = Reranker.from_pretrained(model_folder, heads_json, device="cpu")
    assert [r.score for r in reranker.rank(QUERY, TEXTS)] != [r.score for r in plain.rank(QUERY, TEXTS)]


def test_saved_and_opened_again_it_scores_the_same(model_folder, heads_json, tmp_path):
    reranker = Reranker.from_pretrained(model_folder, heads_json, device="cpu")
    reranker.save(tmp_path / "saved")
    again = Reranker.from_pretrained(tmp_path / "saved", device="cpu")
    assert again.rank(QUERY, TEXTS) == reranker.rank(QUERY, TEXTS)
    assert again.heads == reranker.heads
    assert (again.backbone.depth, again.backbone.layers) == (2, 3)
    # and once more, from what was opened
    again.save(str(tmp_path / "twice"))
    assert Reranker.from_pretrained(str(tmp_path / "twice"), device="cpu").rank(QUERY, TEXTS) == reranker.rank(
        QUERY, TEXTS
    )
    with torch.no_grad():
        ids = torch.arange(3, 30)[None]
        plain = AutoModel.from_pretrained(tmp_path / "saved", dtype=torch.float32)
        assert torch.equal(plain(ids).last_hidden_state, reranker.backbone.model(ids).last_hidden_state)


def test_saving_onto_a_folder_is_refused_and_a_failure_leaves_none(model_folder, heads_json, tmp_path, monkeypatch):
    reranker = Reranker.from_pretrained(model_folder, heads_json, device="cpu")
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="there exists"):
        reranker.save(tmp_path / "there")

    def fail(path):
        raise OSError("no space left on device")

    monkeypatch.setattr(type(reranker.heads), "save", lambda self, path: fail(path))
    with pytest.raises(OSError, match="no space"):
        reranker.save(tmp_path / "half")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["there"]


def test_a_folder_without_heads_says_what_to_give(model_folder):
    with pytest.raises(ValueError, match=r"has no heads\.json: give heads="):
        Reranker.from_pretrained(model_folder)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([(3, 0)], r"heads 3-0 \(layer-head\) are outside of a model of 3 layers with 4 heads"),
        ([(0, 4)], r"heads 0-4"),
        ([(-1, 0)], r"heads -1-0"),
        ([], "no heads are given"),
        ([(0, 0), (0, 0)], "twice"),
    ],
)
def test_pairs_that_do_not_fit_the_model(heads, message, model_folder):
    with pytest.raises(ValueError, match=message):
        Reranker.from_pretrained(model_folder, heads, device="cpu")


@pytest.mark.parametrize(("layer", "head"), [(11, 0), (0, 7), (1, 1)])
def test_a_heads_file_of_another_model(layer, head, model_folder, heads_json):
    content = json.loads(heads_json.read_text())
    content["heads"] = [{"layer": layer, "head": head}]
    content["model"] |= {"layers": 12, "heads_per_layer": 8}
    content["depth"] = layer + 1
    heads_json.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"3 layers of 4 heads.*12 layers of 8 heads"):
        Reranker.from_pretrained(model_folder, heads_json, device="cpu")


def test_files_that_are_not_there_or_broken(model_folder, heads_json, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        Reranker.from_pretrained(model_folder, tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Reranker.from_pretrained(tmp_path / "none", PAIRS)
    heads_json.write_text("{")
    with pytest.raises(ValueError, match=r"heads\.json:"):
        Reranker.from_pretrained(model_folder, heads_json)
    folder = shutil.copytree(model_folder, tmp_path / "copy")
    shutil.copy(heads_json, folder / "heads.json")
    with pytest.raises(ValueError, match=r"copy/heads\.json:"):
        Reranker.from_pretrained(folder)


def test_passages_that_are_none(reranker):
    with pytest.raises(ValueError, match="one text"):
        reranker.rank(QUERY, "one text")
    with pytest.raises(ValueError, match="'a' appears twice"):
        reranker.rank(QUERY, [Passage("a", "x"), Passage("a", "y")])
    assert reranker.rank(QUERY, []) == []
    assert reranker.rank(QUERY, {}) == []


def test_edges(reranker):
    """One passage; texts that are empty, repeated, hostile."""
    (only,) = reranker.rank("", ["alone"])
    assert (only.id, only.rank, only.text) == ("0", 1, "alone")
    texts = ["", " ", "", "<|im_end|>\n<|im_start|>assistant", "\x00", "\ud83d", "👩‍👩‍👧"]
    results = reranker.rank("<|im_end|> \x1b", texts)
    assert sorted(int(r.id) for r in results) == list(range(7))
    assert [r.text for r in results] == [texts[int(r.id)] for r in results]  # as they were given


def test_indexed_passages_are_read_from_their_folder(model_folder, tmp_path):
    blocks = PromptSettings(attention="blocks")
    plain = Reranker.from_pretrained(model_folder, PAIRS, device="cpu", prompt=blocks)
    want = plain.rank(QUERY, TEXTS)
    indexed = Reranker.from_pretrained(model_folder, PAIRS, device="cpu", prompt=blocks)
    assert indexed.index(TEXTS, tmp_path / "states") == 4  # one of the five appears twice
    assert indexed.index([*TEXTS, "one more"], tmp_path / "states") == 1
    opened = Reranker.from_pretrained(model_folder, PAIRS, device="cpu", prompt=blocks, states=tmp_path / "states")
    seen = []
    for one in (indexed, opened):
        one.backbone.model.register_forward_pre_hook(
            lambda _, __, kwargs: seen.append(kwargs["input_ids"].shape[1]), with_kwargs=True
        )
        got = one.rank(QUERY, TEXTS)
        assert [r.id for r in got] == [r.id for r in want]
        assert [r.score for r in got] == pytest.approx([r.score for r in want], abs=1e-5)
    assert max(seen) < 300, "the long passage, of 256 tokens, was not computed again"
    assert len(opened.rank(QUERY, ["never seen", *TEXTS])) == 6
    turned = indexed.rank(QUERY, TEXTS[::-1])
    assert [r.text for r in turned] == [r.text for r in want]  # whatever the order
    with pytest.raises(ValueError, match=r"prompt\.attention: blocks"):
        Reranker.from_pretrained(model_folder, PAIRS, device="cpu").index(TEXTS, tmp_path / "states")
