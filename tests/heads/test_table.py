"""The head table: read in shuffled orders, averaged, kept on disk."""

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from headrank.data.labelled import LabelledList, label
from headrank.heads import (
    EntropyRegularized,
    HeadTable,
    LabelledScores,
    read_head_table,
    select_heads,
)
from headrank.model import (
    BatchSettings,
    CalibrationSettings,
    Head,
    HeadScores,
    ListReader,
    Prompt,
    PromptBuilder,
    Reading,
    all_heads,
)
from headrank.model.calibration import filter_tokens
from headrank.model.prompt import PromptSettings
from headrank.ranking import CandidateList, Passage, Query, shuffled_order

HEADS = (Head(0, 1), Head(1, 3), Head(2, 0))
QRELS = {"q1": {"d0": 2, "d2": 1, "elsewhere": 3}, "q2": {"d1": -2, "d0": 1}, "q3": {"d0": 1, "d1": 1}}


def labelled(query_id: str, *texts: str) -> LabelledList:
    passages = tuple(Passage(f"d{i}", text) for i, text in enumerate(texts))
    return label(CandidateList(Query(query_id, f"the query {query_id}?"), passages), QRELS.get(query_id, {}))


LISTS = [
    labelled("q1", "the first", "", "a longer passage than the others", "x"),
    labelled("q2", "one", "two"),
    labelled("q3", "all of", "one grade"),
    labelled("unjudged", "a", "b"),
]


@pytest.fixture
def reader(backbone) -> ListReader:
    return ListReader(backbone, PromptBuilder(backbone.tokenizer))


def test_grades():
    """Unjudged candidates and grades below 0 count as 0; judged passages that are no candidates count nothing."""
    assert [one.grades for one in LISTS] == [(2, 0, 1, 0), (1, 0), (1, 1), (0, 0)]


def test_lists_of_one_grade_are_not_used(reader):
    done = []
    table = read_head_table(reader, LISTS, HEADS, seeds=[0, 1], on_list=lambda: done.append(1))
    assert [item.query_id for item in table.lists] == ["q1", "q2"]
    assert len(done) == 4  # two lists in two orders
    assert table.heads == HEADS
    for item in table.lists:
        assert item.filtered is None
        assert item.scores.query.shape == (3, len(item.grades))


@pytest.mark.parametrize(("limit", "cut"), [(None, False), (2, True)])
def test_cut_passages_are_told_and_nothing_is_said_of_none(limit, cut, backbone, caplog):
    prompts = PromptBuilder(backbone.tokenizer, PromptSettings(max_passage_tokens=limit))
    with caplog.at_level("INFO", logger="headrank"):
        read_head_table(ListReader(backbone, prompts), LISTS, HEADS, seeds=(0,))
    assert (" cut " in caplog.text) == cut


@pytest.mark.parametrize("lists", [LISTS[2:], []], ids=["one grade, no labels", "no lists"])
def test_without_two_grades_there_is_nothing_to_select_from(lists, reader):
    with pytest.raises(ValueError, match=f"none among {len(lists)} "):
        read_head_table(reader, lists, HEADS, seeds=[0])


def test_a_seed_is_needed(reader):
    with pytest.raises(ValueError, match="seeds"):
        read_head_table(reader, LISTS, HEADS, seeds=[])


@pytest.mark.parametrize("batch_size", [1, 4])
def test_averaging_over_seeds_equals_separate_reads(batch_size, backbone, reader):
    batched = replace(reader, batches=BatchSettings(batch_size))
    together = read_head_table(batched, LISTS, HEADS, seeds=[4, 6, 9], filtered=True)
    apart = [read_head_table(reader, LISTS, HEADS, seeds=[seed], filtered=True) for seed in (4, 6, 9)]
    for n, item in enumerate(together.lists):
        singles = [table.lists[n] for table in apart]
        assert n or not torch.allclose(singles[0].scores.query, singles[1].scores.query, atol=1e-4)
        for name in ("query", "null"):
            mean = torch.stack([getattr(single.scores, name) for single in singles]).mean(0)
            torch.testing.assert_close(getattr(item.scores, name), mean, atol=1e-5, rtol=0)
        filtered = torch.stack([single.filtered for single in singles]).mean(0)
        torch.testing.assert_close(item.filtered, filtered, atol=1e-5, rtol=0)
        for context, single in zip(item.context_scores, singles, strict=True):  # each order is kept, by its seed
            torch.testing.assert_close(context, single.scores.query, atol=1e-5, rtol=0)
            assert single.context_scores.shape == (1, *context.shape)


def test_columns_are_in_first_stage_order(reader):
    """One shuffled reading, taken back to the first stage's order by hand."""
    item = LISTS[0]
    table = read_head_table(reader, [item], HEADS, seeds=[1], filtered=True)
    order = shuffled_order(item.item, 1)
    assert order != (0, 1, 2, 3)
    (reading,) = reader.read([item.item], [order], HEADS, with_null=True, per_token=True)
    got = table.lists[0]
    tokens = reading.scores.tokens
    filtered = filter_tokens(tokens.query - tokens.null, tokens.passage, 4)
    for position, candidate in enumerate(order):
        torch.testing.assert_close(got.scores.query[:, candidate], reading.scores.query[:, position])
        torch.testing.assert_close(got.scores.null[:, candidate], reading.scores.null[:, position])
        torch.testing.assert_close(got.filtered[:, candidate], filtered[:, position])
        assert got.scores.lengths[candidate] == reading.scores.lengths[position]
    # a tiny tokenizer's tokens: " the first" has 7, an empty text is one, " x" are two
    assert got.scores.lengths[[1, 3]].tolist() == [1, 2]
    assert got.grades.tolist() == [2, 0, 1, 0]


@pytest.mark.parametrize("seeds", [[0], [0, 3]])
@pytest.mark.parametrize("filtered", [False, True])
def test_round_trip(filtered, seeds, reader, tmp_path):
    table = read_head_table(reader, LISTS, HEADS, seeds=seeds, filtered=filtered)
    table = HeadTable(table.heads, (replace(table.lists[0], relevance_threshold=2), *table.lists[1:]))
    table.save(tmp_path / "table.safetensors")
    again = HeadTable.load(tmp_path / "table.safetensors")
    assert again.heads == table.heads
    assert [item.relevance_threshold for item in again.lists] == [2, 1]
    assert [item.query_id for item in again.lists] == [item.query_id for item in table.lists]
    for a, b in zip(again.lists, table.lists, strict=True):
        assert torch.equal(a.grades, b.grades)
        assert a.relevance_threshold == b.relevance_threshold
        assert torch.equal(a.scores.query, b.scores.query)
        assert torch.equal(a.scores.null, b.scores.null)
        assert torch.equal(a.scores.lengths, b.scores.lengths)
        assert torch.equal(a.context_scores, b.context_scores)
        assert len(a.context_scores) == len(seeds)
        assert a.scores.heads == b.scores.heads
        assert (a.filtered is None) == (b.filtered is None) == (not filtered)
        if filtered:
            assert torch.equal(a.filtered, b.filtered)


def test_odd_query_ids_and_views_survive_the_file(tmp_path):
    """Ids with line ends and quotes; tensors that are parts of one another, and no null scores."""
    base = torch.rand(4, 6)
    scores = HeadScores(HEADS, base[:3, :2], None, torch.tensor([1, 1]))
    lists = tuple(LabelledScores(query_id, torch.tensor([0, 1]), scores) for query_id in ('a"\n', "0/query", "数"))
    HeadTable(HEADS, lists).save(tmp_path / "t")
    again = HeadTable.load(tmp_path / "t")
    assert [item.query_id for item in again.lists] == ['a"\n', "0/query", "数"]
    assert torch.equal(again.lists[2].scores.query, base[:3, :2])
    assert again.lists[0].scores.null is None
    with safe_open(tmp_path / "t", framework="pt") as file:
        assert "query_ids" in file.metadata()


def made_up_reading(number: int, order: tuple[int, ...], relevant: int) -> Reading:
    """Head 0 attends the passages that come early in the context; head 1 the relevant one a little more."""
    place = torch.arange(len(order)).float()
    reads_position = 0.5 - 0.01 * place
    reads_relevance = 0.1 + 0.001 * torch.tensor([float(c == relevant) for c in order]) + 0.0001 * (place % 2)
    query = torch.stack([reads_position, reads_relevance])
    scores = HeadScores((Head(0, 0), Head(1, 0)), query, torch.zeros_like(query), torch.ones(len(order)).long())
    return Reading(number, order, scores, Prompt((), (), ()))


class MadeUpReader(ListReader):
    """Says what `made_up_reading` says; the first candidate of every list is the relevant one."""

    def read(self, lists, orders, heads, *, with_null, per_token=False):
        for number, order in enumerate(orders):
            yield made_up_reading(number, tuple(order), relevant=0)


def test_a_head_that_reads_position_is_not_chosen(backbone):
    lists = [replace(labelled(f"q{i}", *["text"] * 10), grades=(1, *[0] * 9)) for i in range(20)]
    heads = (Head(0, 0), Head(1, 0))
    criterion, calibrate = EntropyRegularized(weight=0.0, count=1), CalibrationSettings("none")
    made_up = MadeUpReader(backbone, PromptBuilder(backbone.tokenizer))
    shuffled = read_head_table(made_up, lists, heads, seeds=[0, 1])
    chosen = select_heads(shuffled, criterion, calibrate)
    assert chosen.heads == (Head(1, 0),)
    assert chosen.discriminability[0] < 0.75

    # in first-stage order it would have been: there, place and relevance are one
    kept = [made_up_reading(n, tuple(range(10)), relevant=0) for n in range(20)]
    grades = torch.tensor([1] + [0] * 9)
    naive = HeadTable(heads, tuple(LabelledScores(f"q{n}", grades, r.first_stage_order()) for n, r in enumerate(kept)))
    assert select_heads(naive, criterion, calibrate).heads == (Head(0, 0),)  # ties with head 1, the lower layer wins


def test_every_head_of_a_model_can_be_read_at_once(reader):
    table = read_head_table(reader, LISTS[:1], all_heads(3, 4), seeds=[0])
    sums = table.lists[0].scores.query.sum(1)
    assert table.lists[0].scores.query.shape == (12, 4)
    assert (sums > 0).all()
    assert (sums < 1).all()  # the rest of a row is the prompt's own


def test_reading_is_picked_by_head():
    scores = HeadScores(HEADS, torch.rand(3, 2), torch.rand(3, 2), torch.tensor([1, 2]))
    picked = scores.pick([Head(2, 0), Head(0, 1)])
    assert torch.equal(picked.query, scores.query[[2, 0]])
    assert torch.equal(picked.null, scores.null[[2, 0]])
    assert picked.heads == (Head(2, 0), Head(0, 1))
    with pytest.raises(KeyError, match=r"\(7, 7\)"):
        scores.pick([Head(7, 7)])
