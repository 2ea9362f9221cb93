"""The scorer, end to end: orders, batches, fusion, and inputs at the edges."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from headrank.model import (
    Backbone,
    BackboneSettings,
    Head,
    ListReader,
    PromptBuilder,
    PromptSettings,
    Scorer,
    ScorerSettings,
    all_heads,
)
from headrank.model.fusion import fuse_first_stage
from headrank.ranking import CandidateList, Query, shuffled_order
from headrank.settings import SettingsError
from tests.model.scoring import ICR, STRANGE, candidates, in_first_stage_order, scores_by_id

SOME = (Head(2, 3), Head(0, 1), Head(1, 0))


def test_both_orders_are_averaged(backbone):
    item = candidates(STRANGE[:5])
    scored = {
        order: Scorer(backbone, SOME, settings=ScorerSettings(order=order)).score([item])[0]
        for order in ("first_stage", "reversed", "both")
    }
    first, last, both = (in_first_stage_order(scored[order], item) for order in scored)
    torch.testing.assert_close(both, (first + last) / 2)
    assert (first - last).abs().max() > 1e-3
    assert scored["both"].context.passage_ids == item.passage_ids
    assert scored["both"].tokens == scored["first_stage"].tokens + scored["reversed"].tokens
    masses = [
        dict(zip(scored[order].context.passage_ids, scored[order].context.masses, strict=True)) for order in scored
    ]
    for passage_id in item.passage_ids:
        assert masses[2][passage_id] == pytest.approx((masses[0][passage_id] + masses[1][passage_id]) / 2)


def test_several_shuffled_orders_are_averaged(backbone):
    item = candidates(STRANGE[:5])

    def scored(**options):
        return Scorer(backbone, SOME, settings=ScorerSettings(order="shuffled", **options)).score([item])[0]

    single = [scored(seed=seed) for seed in (7, 8, 9)]
    mean = scored(seed=7, shuffles=3)
    z = torch.stack([in_first_stage_order(one, item) for one in single])
    torch.testing.assert_close(in_first_stage_order(mean, item), z.mean(0))
    assert z.std(0).max() > 1e-3
    assert (mean.tokens, mean.flops) == (sum(one.tokens for one in single), sum(one.flops for one in single))
    assert mean.context.passage_ids == single[0].context.passage_ids
    assert scored(seed=7, shuffles=1) == single[0]
    with pytest.raises(SettingsError, match="shuffles is 2"):
        ScorerSettings(order="both", shuffles=2)


def test_context_scores_are_in_context_order(backbone):
    """Scores and masses stand where the model read the passage, whatever the order."""
    item = candidates(STRANGE[:5])
    settings = ScorerSettings(order="shuffled", seed=3, calibration="none")
    scored = Scorer(backbone, SOME, settings=settings).score([item])[0]
    order = shuffled_order(item, 3)
    assert order != tuple(range(5))
    assert scored.context.passage_ids == tuple(item.passage_ids[i] for i in order)
    by_id = scores_by_id(scored)
    assert scored.context.scores == tuple(by_id[passage_id] for passage_id in scored.context.passage_ids)
    shuffled = CandidateList(item.query, tuple(item.passages[i] for i in order))
    direct = Scorer(backbone, SOME, settings=ScorerSettings(calibration="none")).score([shuffled])[0]
    assert scored.context.masses == pytest.approx(direct.context.masses)
    assert scored.context.scores == pytest.approx(direct.context.scores)
    for z, mass in zip(scored.context.scores, scored.context.masses, strict=True):
        assert z == pytest.approx(math.log(1e-6 + mass), abs=1e-5)


def test_shuffles_depend_on_the_seed_and_the_querys_text_alone(backbone):
    orders = {shuffled_order(candidates(["x"] * 20, q), s) for s in range(3) for q in ("a", "b", "a1")}
    assert len(orders) == 9
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert shuffled_order(candidates(["x"] * 6, "q"), 0) == (5, 2, 1, 0, 4, 3)  # on every machine
    assert shuffled_order(candidates(["x"] * 3, "half a pair \udc00"), 0)
    one, other = candidates(STRANGE[:4], "one query"), candidates(["a", "b", "c", "d"], "one query")
    settings = ScorerSettings(order="shuffled", seed=7)
    scored = Scorer(backbone, SOME, settings=settings).score(
        [one, other, replace(one, query=Query("r", "two queries"))]
    )
    assert scored[0].context.passage_ids == scored[1].context.passage_ids
    assert scored[0].context.passage_ids != scored[2].context.passage_ids
    renamed = Scorer(backbone, SOME, settings=settings).score([replace(one, query=Query("another id", "one query"))])
    assert renamed[0].context.passage_ids == scored[0].context.passage_ids


@pytest.mark.parametrize("order", ["first_stage", "shuffled", "both"])
def test_cut_passages_and_queries_are_told_list_by_list(backbone, order):
    """Also where several queries share a prompt: each has its own."""
    passages = ["short", "x" * 300, "brief", "y" * 300]
    lists = [candidates(passages, query="z" * 300), candidates(passages, query="why"), candidates(["short"], "w")]
    prompt = PromptSettings(max_passage_tokens=20, max_query_tokens=10)
    scored = Scorer(backbone, SOME, prompt=prompt, settings=ScorerSettings(order=order)).score(lists)
    assert [one.cut for one in scored] == [("d1", "d3"), ("d1", "d3"), ()]
    assert [one.query_cut for one in scored] == [True, False, False]


@pytest.mark.parametrize("order", ["first_stage", "both"])
def test_a_list_joining_the_batch_changes_nothing_and_results_keep_the_callers_order(order, backbone):
    lists = [
        candidates(STRANGE[:2], "short", "q1"),
        candidates([], "none", "q2"),
        candidates(STRANGE, "long", "q3"),
        candidates(["alone"], "a longer query than the others have", "q4"),
        candidates(STRANGE[2:6], "middle", "q5"),
    ]
    settings = ScorerSettings(order=order, batch_size=3)
    done = []
    together = Scorer(backbone, SOME, settings=settings).score(lists, on_list=lambda: done.append(1))
    assert [scored.ranking.query_id for scored in together] == ["q1", "q2", "q3", "q4", "q5"]
    assert len(done) == len(lists)
    alone = Scorer(backbone, SOME, settings=replace(settings, batch_size=1))
    for item, scored in zip(lists, together, strict=True):
        single = alone.score([item])[0]
        assert scored.ranking.passage_ids == single.ranking.passage_ids
        assert scored.ranking.scores == pytest.approx(single.ranking.scores, abs=1e-4, rel=1e-4)
        if order == "both" and len(item) == 1:  # both orders are one, and share its prefix in one pass
            assert scored.tokens < single.tokens
        else:
            assert scored.tokens == single.tokens


@pytest.mark.parametrize("settings", [ScorerSettings(fusion=1.0), ICR, ScorerSettings(order="both")], ids=str)
def test_an_empty_list_gives_an_empty_ranking(settings, backbone):
    done = []
    scored = Scorer(backbone, SOME, settings=settings).score([candidates([])], on_list=lambda: done.append(1))[0]
    assert (len(scored.ranking), scored.ranking.query_id, scored.tokens) == (0, "q", 0)
    assert scored.context.passage_ids == scored.context.scores == ()
    assert done == [1]
    assert Scorer(backbone, SOME, settings=settings).score([]) == []


def test_fusion_by_hand(backbone):
    z = torch.tensor([1.0, 3.0, 2.0])
    prior = [-math.log(2), -math.log(3), -math.log(4)]
    mean = sum(prior) / 3
    spread = math.sqrt(sum((p - mean) ** 2 for p in prior) / 3)
    want = [(v - 2) / math.sqrt(2 / 3) + 0.5 * (p - mean) / spread for v, p in zip([1, 3, 2], prior, strict=True)]
    torch.testing.assert_close(fuse_first_stage(z, 0.5), torch.tensor(want))

    item = candidates(STRANGE[:5])
    plain = in_first_stage_order(Scorer(backbone, SOME).score([item])[0], item)
    for order in ("first_stage", "reversed"):  # the first stage's rank, not the place in the context
        settings = ScorerSettings(fusion=1e4, order=order)
        assert Scorer(backbone, SOME, settings=settings).score([item])[0].ranking.passage_ids == item.passage_ids
    fused = Scorer(backbone, SOME, settings=ScorerSettings(fusion=0.7)).score([item])[0]
    torch.testing.assert_close(in_first_stage_order(fused, item), fuse_first_stage(plain, 0.7), atol=1e-5, rtol=1e-5)


def test_fusion_of_a_list_without_spread():
    prior = fuse_first_stage(torch.zeros(3), 1.0)
    torch.testing.assert_close(fuse_first_stage(torch.full((3,), 7.0), 1.0), prior)
    assert prior[0] > prior[1] > prior[2]
    assert fuse_first_stage(torch.tensor([5.0]), 1.0).tolist() == [0.0]


@pytest.mark.parametrize("order", ["first_stage", "reversed", "shuffled", "both"])
def test_ties_keep_the_first_stages_order(order, backbone):
    """A head that attends every key alike, and passages of one length: all scores are the same."""
    uniform = copy.deepcopy(backbone)
    with torch.no_grad():
        uniform.model.layers[0].self_attn.q_proj.weight.zero_()
    item = candidates(["kkk", "jjj", "lll", "kkk"])
    settings = ScorerSettings(calibration="none", order=order)
    scored = Scorer(uniform, [Head(0, 0)], settings=settings).score([item])[0]
    assert len(set(scored.ranking.scores)) == 1
    assert scored.ranking.passage_ids == item.passage_ids


def test_one_text_under_two_ids_and_in_two_lists(backbone):
    lists = [candidates(["same", "same"], query_id="a"), candidates(["same", "other"], query_id="b")]
    first, second = Scorer(backbone, SOME).score(lists)
    assert sorted(first.ranking.passage_ids) == ["d0", "d1"]
    assert len(set(first.ranking.scores)) == 2  # each at its own place in the context
    assert sorted(second.ranking.passage_ids) == ["d0", "d1"]


def test_an_enormous_passage_is_cut(backbone):
    """A space and 255 letters: the rest of a million is not read, and the others' scores know nothing of it."""
    huge, cut = candidates(["k" * 1_000_000, "short"]), candidates(["k" * 255, "short"])
    scorer = Scorer(backbone, SOME)
    (read,) = scorer.score([huge])
    assert read.cut == ("d0",)
    assert replace(read, cut=()) == scorer.score([cut])[0]
    with pytest.raises(ValueError, match="max_passage_tokens"):
        Scorer(backbone, SOME, prompt=PromptSettings(max_passage_tokens=None)).score([huge])


@pytest.mark.parametrize("calibration", ["none", "residual", "log_ratio"])
def test_weights_of_heads(calibration, backbone):
    """A head of weight 0 is as good as not there, and every calibration knows the weights."""
    item = candidates(STRANGE[:4])
    settings = ScorerSettings(calibration=calibration)
    weighted = Scorer(backbone, SOME, weights=[1.0, 0.0, 2.0], settings=settings).score([item])[0]
    without = Scorer(backbone, (SOME[0], SOME[2]), weights=[1.0, 2.0], settings=settings).score([item])[0]
    unweighted = Scorer(backbone, SOME, settings=settings).score([item])[0]
    assert weighted.ranking.scores == pytest.approx(without.ranking.scores, abs=1e-5, rel=1e-5)
    assert weighted.ranking.scores != pytest.approx(unweighted.ranking.scores, abs=1e-3)


@pytest.mark.parametrize("norm", ["tokens", "sqrt_tokens"])
def test_length_norms_know_the_tokens_that_were_read(norm, backbone):
    item = candidates(["k" * 7, "k" * 400])  # 8 tokens; 256, for it is cut
    plain = Scorer(backbone, SOME, settings=ScorerSettings(calibration="none", eps=1e-12)).score([item])[0]
    normed = Scorer(backbone, SOME, settings=ScorerSettings(calibration="none", eps=1e-12, length_norm=norm))
    difference = in_first_stage_order(plain, item) - in_first_stage_order(normed.score([item])[0], item)
    want = torch.log(torch.tensor([8.0, 256.0])) / (1 if norm == "tokens" else 2)
    torch.testing.assert_close(difference, want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("rows", ["query", "instruction", "suffix"])
def test_query_rows_are_those_of_the_settings(rows, backbone):
    """The scorer reads the rows it says: its masses are those of a reading of these rows."""
    item = candidates(STRANGE[:3])
    scored = Scorer(backbone, SOME, settings=ScorerSettings(query_rows=rows)).score([item])[0]
    reader = ListReader(backbone, PromptBuilder(backbone.tokenizer), rows)
    reading = next(iter(reader.read([item], [(0, 1, 2)], SOME, with_null=False)))
    assert scored.context.masses == pytest.approx(reading.scores.query.sum(0).tolist())
    others = {"query", "instruction", "suffix"} - {rows}
    for other in others:
        settings = ScorerSettings(query_rows=other)
        assert Scorer(backbone, SOME, settings=settings).score([item])[0].context.masses != scored.context.masses


def test_bf16_states_give_fp32_scores_near_those_of_fp32(backbone):
    low = Backbone(
        copy.deepcopy(backbone.model).to(torch.bfloat16), backbone.tokenizer, 3, BackboneSettings("t", dtype="bfloat16")
    )
    item = candidates(STRANGE)
    heads = all_heads(1, 4)  # the first layer: what is read, not how errors grow through random layers
    readings = []
    for one in (backbone, low):
        reader = ListReader(one, PromptBuilder(backbone.tokenizer))
        (reading,) = reader.read([item], [tuple(range(len(STRANGE)))], heads, with_null=True)
        readings.append(reading.scores)
    assert readings[1].query.dtype == torch.float32
    torch.testing.assert_close(readings[1].query, readings[0].query, atol=2e-3, rtol=0.05)
    # no bf16 was made of them on the way: the scores are not on bf16's grid
    assert not torch.equal(readings[1].query, readings[1].query.bfloat16().float())
    ranked = [Scorer(one, heads).score([item])[0] for one in (backbone, low)]
    exact, rough = (in_first_stage_order(scored, item) for scored in ranked)
    assert torch.corrcoef(torch.stack([exact, rough]))[0, 1] > 0.95


def test_no_gradients_and_no_traces_are_kept(backbone):
    scored = Scorer(backbone, SOME).score([candidates(STRANGE[:2])])[0]
    assert all(isinstance(score, float) for score in scored.ranking.scores)
    assert all(parameter.grad is None for parameter in backbone.model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": "log"}, "ScorerSettings.calibration is 'log'"),
        ({"length_norm": "words"}, "ScorerSettings.length_norm is 'words'"),
        ({"order": "random"}, "ScorerSettings.order is 'random'"),
        ({"query_rows": "all"}, "ScorerSettings.query_rows is 'all'"),
        ({"token_filter": True}, "ScorerSettings.token_filter is True"),
        ({"token_filter": True, "calibration": "none", "power": 0.0}, "ScorerSettings.token_filter is True"),
        ({"batch_size": 0}, "ScorerSettings.batch_size is 0"),
        ({"tokens_per_batch": 0}, "ScorerSettings.tokens_per_batch is 0"),
        ({"eps": 0.0}, "ScorerSettings.eps is 0.0"),
    ],
)
def test_settings_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ScorerSettings(**options)


def test_heads_and_weights_that_do_not_fit(backbone):
    with pytest.raises(ValueError, match="2 weights for 3 heads"):
        Scorer(backbone, SOME, weights=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"heads 3-0, 0-4 \(layer-head\) are outside of a model of 3 layers"):
        Scorer(backbone, [Head(3, 0), Head(0, 4)])
    with pytest.raises(ValueError, match="no heads"):
        Scorer(backbone, [])
    with pytest.raises(ValueError, match="twice"):
        Scorer(backbone, [Head(0, 0), Head(0, 0)])


def test_orders_that_read_like_one_another_agree(backbone):
    """Two passages reversed, and the reversed list in first-stage order, are the same reading."""
    item = candidates(STRANGE[:3])
    turned = CandidateList(item.query, item.passages[::-1])
    a = Scorer(backbone, SOME, settings=ScorerSettings(order="reversed")).score([item])[0]
    b = Scorer(backbone, SOME).score([turned])[0]
    assert scores_by_id(a) == pytest.approx(scores_by_id(b))
