"""The queue of lists: batches those of all clients up to a token budget, and runs them in one worker thread.

No list waits for others: if the model is free, it starts at once, and a batch forms while the model works on another.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from headrank.errors import HeadRankError
from headrank.reranker import Reranker, RerankResult
from headrank.reranker.text_lengths import TextLengths
from headrank.serving.metrics import Metrics

TEMPLATE_TOKENS = 64  # of a prompt: chat template and instruction
PASSAGE_TOKENS = 8  # of a passage's label
BYTES_PER_TOKEN = 4
FIRST_SPEED = 1000.0  # tokens per second, until the first batch is measured
MAX_RETRY_SECONDS = 60
CPU_TOKENS = 4096  # of a batch: on processors larger ones save nothing, and all their lists wait for the last one

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A ranked list.

    results: all passages, best first.
    tokens: the number of tokens of the query and the passages, each up to its limit.
    cut: the indices (from 0, in the request) of the passages of which only a part was read.
    """

    results: list[RerankResult]
    tokens: int
    cut: frozenset[int]


@dataclass(eq=False, slots=True)
class Job:
    """A list that waits for the model.

    query, texts: the query and its passages in the order of the request.
    max_tokens: passages are cut to this number of tokens before the model reads them; None: not cut.
    explain: None to rank the list; otherwise the number of passages to explain (0: all).
    """

    query: str
    texts: tuple[str, ...]
    max_tokens: int | None = None
    explain: int | None = None
    query_tokens: int = 0
    passage_tokens: int = 0
    queued: float = field(default_factory=time.monotonic)
    done: "asyncio.Future[Any] | None" = None

    @property
    def passages(self) -> tuple[Any, ...]:
        """Jobs with equal values share one pass over the passages."""
        return self.texts, self.max_tokens, self.explain is not None and id(self)


def estimate_tokens(text: str, limit: int | None) -> int:
    """A cheap estimate of a text's tokens, from its bytes; at most `limit`."""
    tokens = len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN + 1
    return tokens if limit is None else min(tokens, limit)


def take_batch(waiting: Iterable[Job], budget: int) -> list[Job]:
    """The jobs that run next, from the first on, up to the token budget; always at least one.

    A job over the passages of an earlier one of the batch costs only its query. Such jobs may overtake others.
    """
    batch: list[Job] = []
    shared: set[tuple[Any, ...]] = set()
    tokens, full = 0, False
    for job in waiting:
        rides = job.passages in shared
        cost = job.query_tokens + (0 if rides else job.passage_tokens)
        if batch and (tokens + cost > budget or (full and not rides)):
            full = True
            continue
        batch.append(job)
        shared.add(job.passages)
        tokens += cost
    return batch


def batch_tokens(batch: Sequence[Job]) -> int:
    """The estimated tokens of a batch."""
    passages = {job.passages: job.passage_tokens for job in batch}
    return sum(job.query_tokens for job in batch) + sum(passages.values())


class Batcher:
    """Ranks lists of concurrent callers in batches. All methods but `_run` belong to the event loop.

    Args:
        reranker: the reranker.
        metrics: receives counts and times.
        budget: the estimated tokens of a batch; None: `scorer.tokens_per_batch` of the reranker, on processors at most
            `CPU_TOKENS`.
    """

    def __init__(self, reranker: Reranker, metrics: Metrics, budget: int | None = None) -> None:
        self.reranker, self.metrics = reranker, metrics
        most = reranker.heads.scorer.tokens_per_batch
        self.budget = budget or (min(most, CPU_TOKENS) if reranker.device.type == "cpu" else most)
        self.waiting: deque[Job] = deque()
        self.lengths = TextLengths(reranker)
        self._speed = FIRST_SPEED
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._worker: asyncio.Task[None] | None = None

    def retry_after(self) -> int:
        """The seconds, from 1, that the waiting lists will probably take."""
        return max(1, min(MAX_RETRY_SECONDS, round(batch_tokens(self.waiting) / self._speed)))

    async def submit(self, jobs: Sequence[Job]) -> list[Any]:
        """Rank or explain lists; return a `Ranked` or an explanation for each.

        If the caller is cancelled, or a list fails, those that still wait are removed from the queue.
        """
        limits, loop = self.lengths.limits, asyncio.get_running_loop()
        for job in jobs:
            per_text = min((n for n in (limits.max_passage_tokens, job.max_tokens) if n is not None), default=None)
            job.query_tokens = TEMPLATE_TOKENS + estimate_tokens(job.query, limits.max_query_tokens)
            job.passage_tokens = sum(PASSAGE_TOKENS + estimate_tokens(text, per_text) for text in job.texts)
            job.done = loop.create_future()
        self.waiting.extend(jobs)
        self.metrics.waiting.set(len(self.waiting))
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        try:
            return [await job.done for job in jobs if job.done is not None]
        except BaseException:
            self._abandon(jobs)
            raise

    def _abandon(self, jobs: Sequence[Job]) -> None:
        left = {id(job) for job in jobs}
        kept = [job for job in self.waiting if id(job) not in left]
        self.metrics.abandoned.inc(len(self.waiting) - len(kept))
        self.waiting = deque(kept)
        self.metrics.waiting.set(len(kept))
        for job in jobs:
            if job.done is not None and not job.done.cancel() and not job.done.cancelled():
                job.done.exception()  # seen

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self.waiting:
            batch = take_batch(self.waiting, self.budget)
            taken = {id(job) for job in batch}
            self.waiting = deque(job for job in self.waiting if id(job) not in taken)
            self.metrics.waiting.set(len(self.waiting))
            tokens, start = batch_tokens(batch), time.monotonic()
            for job in batch:
                self.metrics.wait.observe(start - job.queued)
            outcomes = await loop.run_in_executor(self._thread, self._run, batch)
            seconds = time.monotonic() - start
            self._speed = (self._speed + tokens / max(seconds, 1e-6)) / 2
            self.metrics.batch_lists.observe(len(batch))
            self.metrics.batch_tokens.observe(tokens)
            self.metrics.batch_seconds.observe(seconds)
            for job, outcome in zip(batch, outcomes, strict=True):
                self._finish(job, outcome)

    def _finish(self, job: Job, outcome: Any) -> None:
        if isinstance(outcome, Ranked):
            self.metrics.documents.inc(len(outcome.results))
            self.metrics.truncated.inc(len(outcome.cut))
        if job.done is None or job.done.done():  # its client left while the model worked
            return
        if isinstance(outcome, Exception):
            job.done.set_exception(outcome)
        else:
            job.done.set_result(outcome)

    def _run(self, batch: list[Job]) -> list[Any]:
        """The outcome of each job, in the worker thread: a `Ranked`, an explanation, or an exception.

        If ranking together fails, each list is ranked alone, so that no client gets another's error.
        """
        ranked = [job for job in batch if job.explain is None]
        try:
            outcomes = dict(zip(map(id, ranked), self._rank(ranked), strict=True))
        except Exception as error:
            logger.warning("a batch of %d lists failed (%s); each is ranked alone", len(ranked), type(error).__name__)
            outcomes = {}
        return [outcomes[id(job)] if id(job) in outcomes else self._alone(job) for job in batch]

    def _alone(self, job: Job) -> Any:
        try:
            return self._rank([job])[0] if job.explain is None else self._explain(job)
        except HeadRankError as error:
            return error
        except Exception as error:
            logger.exception("a list of %d passages failed", len(job.texts))
            return error

    def _rank(self, jobs: Sequence[Job]) -> list[Ranked]:
        lists = [(job.query, self._texts(job)) for job in jobs]
        ranked = self.reranker.rank_many(lists)
        return [
            Ranked(
                results,
                self.lengths.tokens(query, texts),
                frozenset(one.index for one in results if one.truncated or texts[one.index] != job.texts[one.index]),
            )
            for job, (query, texts), results in zip(jobs, lists, ranked, strict=True)
        ]

    def _texts(self, job: Job) -> Sequence[str]:
        limit, own = job.max_tokens, self.lengths.limits.max_passage_tokens
        if limit is None or (own is not None and limit >= own):
            return job.texts
        return [self.lengths.cut(text, limit) for text in job.texts]

    def _explain(self, job: Job) -> dict[str, Any]:
        return self.reranker.explain(job.query, list(job.texts), top_k=job.explain or None).to_dict()
