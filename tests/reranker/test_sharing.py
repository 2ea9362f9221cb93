"""Threads and event loops share a reranker, and rerankers share a backbone; streams of lists."""

import asyncio
import gc
import itertools
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from headrank import Reranker
from headrank.errors import ConfigError
from headrank.model import PromptSettings, load_backbone
from headrank.model.backbone import BackboneSettings
from headrank.reranker.turns import turns

TEXTS = [f"passage {number} " + "about tides " * (number % 7) for number in range(12)]
LISTS = [(f"query {number}", TEXTS[number % 5 : number % 5 + 3 + number % 4]) for number in range(24)]


def make(model_folder, heads, **options) -> Reranker:
    return Reranker.from_pretrained(model_folder, heads, device="cpu", **options)


@pytest.fixture
def reranker(model_folder) -> Reranker:
    return make(model_folder, [(1, 2), (0, 3)])


@pytest.fixture
def rerankers(model_folder) -> list[Reranker]:
    """Two rerankers with other heads and depths on one backbone."""
    deep = make(model_folder, [(2, 1), (0, 0)])
    shallow = make(model_folder, [(0, 3)])
    return [deep, Reranker(deep.backbone, shallow.heads)]


def overlapping_passes(reranker) -> list[int]:
    """The number of passes that run when one starts, for every pass from now on."""
    counts, running = [], []

    def enter(*_):
        running.append(None)
        counts.append(len(running))
        time.sleep(0.002)  # another thread gets the interpreter

    model = reranker.backbone.model
    model.register_forward_pre_hook(enter)
    model.register_forward_hook(lambda *_: running.pop() and None)
    return counts


def test_many_threads_get_the_results_of_one(rerankers):
    alone = [[one.rank(*item) for item in LISTS] for one in rerankers]
    counts = overlapping_passes(rerankers[0])
    jobs = [(one, item) for item in LISTS for one in rerankers]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: job[0].rank(*job[1]), jobs))
    assert found[::2] == alone[0]
    assert found[1::2] == alone[1]
    assert len(counts) == len(jobs)
    assert set(counts) == {1}, "two threads used the model at once"


def test_threads_with_stored_states(model_folder, tmp_path):
    blocks = PromptSettings(attention="blocks")
    reranker = make(model_folder, [(1, 2)], prompt=blocks)
    reranker.index(TEXTS[:4], tmp_path / "states")
    alone = [reranker.rank(*item) for item in LISTS]
    with ThreadPoolExecutor(6) as pool:
        indexed = pool.submit(reranker.index, TEXTS, tmp_path / "states")
        found = list(pool.map(lambda item: reranker.rank(*item), LISTS))
    assert indexed.result() == 8
    for results, expected in zip(found, alone, strict=True):
        assert [r.id for r in results] == [r.id for r in expected]
        assert [r.score for r in results] == pytest.approx([r.score for r in expected], abs=1e-5)


def test_the_event_loop_stays_free_and_calls_keep_their_order(reranker):
    alone = [reranker.rank(*item) for item in LISTS]
    counts, done = overlapping_passes(reranker), []

    async def call(number):
        results = await reranker.arank(*LISTS[number])
        done.append(number)
        return results

    async def main():
        tasks = [asyncio.create_task(call(number)) for number in range(len(LISTS))]
        ticks = 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            ticks += 1
        return [task.result() for task in tasks], ticks

    found, ticks = asyncio.run(main())
    assert found == alone
    assert done == list(range(len(LISTS)))
    assert set(counts) == {1}
    assert ticks > len(LISTS)
    assert asyncio.run(reranker.arank(*LISTS[0], top_k=1)) == alone[0][:1]  # in another loop


def test_arank_waits_without_blocking_while_another_thread_ranks(reranker):
    async def main():
        with turns(reranker.backbone.model).lock:  # as a thread in a long call
            task = asyncio.create_task(reranker.arank(*LISTS[0]))
            waiting = asyncio.create_task(reranker.arank(*LISTS[1]))
            await asyncio.sleep(0.05)
            assert not task.done()
            waiting.cancel()
        return await task, await asyncio.gather(waiting, return_exceptions=True)

    results, (cancelled,) = asyncio.run(main())
    assert results == reranker.rank(*LISTS[0])
    assert isinstance(cancelled, asyncio.CancelledError)


def test_errors_of_arank_are_those_of_rank(reranker):
    with pytest.raises(TypeError, match=r"passages\[0\]"):
        asyncio.run(reranker.arank("query", [3]))


def test_the_warning_of_cut_passages_comes_once_from_many_threads(model_folder, caplog):
    reranker = make(model_folder, [(0, 3)], max_passage_tokens=2)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: reranker.rank(*item), LISTS))
    assert len(caplog.records) == 1


def test_streams_are_read_as_results_are_taken(reranker):
    taken = []

    def stream():
        for number in itertools.count():
            taken.append(number)
            yield LISTS[number % len(LISTS)]

    results = reranker.rank_iter(stream(), top_k=2, step=4)
    assert taken == []
    first = list(itertools.islice(results, 6))
    assert len(taken) == 8
    assert first == [*reranker.rank_many(LISTS[:4], top_k=2), *reranker.rank_many(LISTS[4:8], top_k=2)][:6]


def test_a_whole_stream(reranker):
    assert list(reranker.rank_iter(iter(LISTS))) == reranker.rank_many(LISTS)
    assert list(reranker.rank_iter([])) == []
    with pytest.raises(TypeError, match=r"passages of lists\[1\]\[0\]"):
        list(reranker.rank_iter([LISTS[0], ("query", [3])], step=1))


@pytest.mark.parametrize(
    ("options", "kind"), [({"step": 0}, ConfigError), ({"step": 1.5}, TypeError), ({"top_k": 0}, ConfigError)]
)
def test_wrong_options_of_a_stream_are_errors_at_once(options, kind, reranker):
    with pytest.raises(kind):
        reranker.rank_iter(LISTS, **options)


def test_a_reranker_can_be_pickled(reranker):
    asyncio.run(reranker.arank(*LISTS[0]))
    again = pickle.loads(pickle.dumps(reranker))
    assert again.rank(*LISTS[0]) == reranker.rank(*LISTS[0])


def test_turns_end_with_their_model(model_folder):
    backbone = load_backbone(BackboneSettings(str(model_folder), device="cpu"), depth=1)
    assert turns(backbone.model) is turns(backbone.model)
    worker = turns(backbone.model).worker.submit(threading.current_thread).result()
    assert worker.is_alive()
    del backbone
    gc.collect()
    worker.join(timeout=10)
    assert not worker.is_alive()
