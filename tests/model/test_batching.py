"""Passes: what goes together, how much of it is padding, and what happens where memory is out."""

import logging
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headrank.model import BatchSettings, Head, ListReader, PromptBuilder, PromptSettings
from headrank.model import reader as list_reader
from headrank.model.batching import MAX_WASTE, BatchRunner, is_out_of_memory, padded_tokens, plan_batches
from headrank.model.plain_text import plain_text_tokenizer
from headrank.ranking import CandidateList, Passage, Query

HEADS = (Head(0, 1), Head(1, 3))


def waste(sizes, batches) -> float:
    padded = sum(padded_tokens([sizes[i] for i in batch]) for batch in batches)
    return 1 - sum(map(sum, sizes)) / padded


def lists_of(lengths: list[int]) -> list[CandidateList]:
    chance = random.Random(0)
    return [
        CandidateList(
            Query(f"q{n}", "why"), (Passage("a", "".join(chance.choices("abcdefg ", k=k))), Passage("b", "x"))
        )
        for n, k in enumerate(lengths)
    ]


def read_all(reader: ListReader, lists) -> dict[int, torch.Tensor]:
    orders = [tuple(range(len(item))) for item in lists]
    return {r.number: r.scores.query for r in reader.read(lists, orders, HEADS, with_null=True)}


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 300)), max_size=60),
    st.integers(1, 20),
    st.integers(1, 20000),
)
def test_plans_keep_to_their_limits(sizes, lists, tokens):
    batches = plan_batches(sizes, BatchSettings(lists, tokens))
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    for batch in batches:
        inside = [sizes[i] for i in batch]
        padded = padded_tokens(inside)
        assert len(batch) == 1 or (len(batch) <= lists and padded <= tokens)
        assert padded - sum(map(sum, inside)) <= MAX_WASTE * padded or len(batch) == 1


def test_lists_of_like_length_share_a_pass():
    sizes = [(100, 10), (50, 10), (101, 10), (99, 12), (50, 10)]
    assert plan_batches(sizes, BatchSettings()) == [[2, 0, 3], [1, 4]]
    assert plan_batches(sizes, BatchSettings(lists=2)) == [[2, 0], [3], [1, 4]]
    assert plan_batches(sizes, BatchSettings(tokens=230)) == [[2, 0], [3], [1, 4]]
    assert plan_batches([], BatchSettings()) == []


def test_padding_of_a_real_mix_of_lengths():
    """40 passages a list, lognormal lengths as MS MARCO's (mean about 75 tokens, a long tail cut at 256)."""
    chance = random.Random(1)
    sizes = [
        (sum(min(256, 4 + int(chance.lognormvariate(4.1, 0.6))) for _ in range(40)), 2 * chance.randint(45, 70))
        for _ in range(500)
    ]
    batches = plan_batches(sizes, BatchSettings(lists=8, tokens=40000))
    assert waste(sizes, batches) < 0.05
    assert len(batches) < 70  # about as few passes as 500 / 8 allows
    unsorted = [list(range(i, min(i + 8, 500))) for i in range(0, 500, 8)]
    assert waste(sizes, unsorted) > 0.08  # the mix is one that sorting matters for


def test_memory_out_halves_the_pass_and_goes_on(backbone, caplog):
    """The error is a real one: an allocation that no machine can serve, wherever a pass is over a limit."""
    asked = []

    def refuse(module, args, kwargs):
        tokens = kwargs["input_ids"].numel()
        asked.append(tokens)
        if tokens > 1500:
            torch.empty(2**60)

    lists = lists_of([150, 151, 152, 150, 149, 153, 40, 41])
    reader = ListReader(backbone, PromptBuilder(backbone.tokenizer))
    want = read_all(reader, lists)
    handle = backbone.model.register_forward_pre_hook(refuse, with_kwargs=True)
    try:
        with caplog.at_level(logging.WARNING, "headrank.model.batching"):
            got = read_all(reader, lists)
    finally:
        handle.remove()
    assert asked[0] > 1500
    assert sum(tokens > 1500 for tokens in asked) <= 2, "later passes are planned smaller, not tried and failed again"
    assert "out of memory with 7 lists" in caplog.text
    assert got.keys() == want.keys()
    for number, scores in want.items():
        torch.testing.assert_close(got[number], scores, atol=1e-6, rtol=1e-5)


def test_one_list_too_large_says_so(backbone):
    handle = backbone.model.register_forward_pre_hook(lambda *_: torch.empty(2**60))
    try:
        with pytest.raises(RuntimeError, match="allocate memory") as caught:
            read_all(ListReader(backbone, PromptBuilder(backbone.tokenizer)), lists_of([10]))
    finally:
        handle.remove()
    assert "prompt.max_passage_tokens" in caught.value.__notes__[0]


def test_other_errors_are_not_taken_for_it():
    def fail(batch):
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(BatchRunner(BatchSettings()).run([(5, 1), (5, 1)], fail))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))


def test_chunks_change_nothing_and_texts_are_tokenised_once(backbone, monkeypatch):
    lists = lists_of([30, 10, 20, 40, 30])
    lists.append(CandidateList(Query("again", "why"), lists[0].passages))
    prompts = PromptBuilder(backbone.tokenizer, PromptSettings())
    want = read_all(ListReader(backbone, prompts), lists)
    encoded = []

    class Spy:
        def __init__(self):
            self.inner = plain_text_tokenizer(backbone.tokenizer)

        def encode_batch(self, texts, **options):
            encoded.extend(texts)
            return self.inner.encode_batch(texts, **options)

    prompts.text_tokenizer = Spy()
    monkeypatch.setattr(list_reader, "CHUNK", 35)
    got = read_all(ListReader(backbone, prompts), lists)
    texts = [text for text in encoded if "[" not in text]  # the labels are made for each chunk
    assert len(texts) == len(set(texts)) == len({p.text for item in lists for p in item.passages} | {"why"})
    assert got.keys() == want.keys()
    for number, scores in want.items():
        torch.testing.assert_close(got[number], scores, atol=1e-6, rtol=1e-5)


def test_what_fails_while_tokenising_is_raised(backbone):
    lists = lists_of([10])
    reader = ListReader(backbone, PromptBuilder(backbone.tokenizer))
    with pytest.raises(IndexError):
        list(reader.read(lists, [(0, 7)], HEADS, with_null=True))


@pytest.mark.parametrize("options", [{"lists": 0}, {"tokens": 0}])
def test_settings_that_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} is 0"):
        BatchSettings(**options)


def test_one_pass_reads_what_batches_read_and_keeps_the_callers_order(backbone):
    reader = ListReader(backbone, PromptBuilder(backbone.tokenizer))
    lists = lists_of([3, 9, 1])
    orders = [tuple(reversed(range(len(item)))) for item in lists]
    batched = {one.number: one for one in reader.read(lists, orders, HEADS, with_null=True)}
    readings = reader.read_pass(lists, orders, HEADS, with_null=True)
    assert [one.number for one in readings] == [0, 1, 2]
    for one in readings:
        assert one.scores.query.requires_grad
        assert one.scores.null is not None
        assert (one.order, one.cut, one.query_cut) == (orders[one.number], (), False)
        torch.testing.assert_close(one.scores.query.detach(), batched[one.number].scores.query, rtol=1e-4, atol=1e-6)
    assert backbone.depth == 3, "all layers are back"
