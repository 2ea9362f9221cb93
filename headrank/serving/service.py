"""What the routes share: the reranker with its queue, the checks of sizes, and the wait for a result."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request

from headrank.reranker import Reranker
from headrank.serving.admission import Admission
from headrank.serving.metrics import Metrics
from headrank.serving.problems import Problem
from headrank.serving.queue import Batcher, Job
from headrank.serving.settings import ServingSettings


@dataclass(frozen=True, slots=True)
class Service:
    """A reranker that is served.

    model: its name in answers.
    """

    model: str
    reranker: Reranker
    settings: ServingSettings
    metrics: Metrics
    batcher: Batcher
    admission: Admission

    @classmethod
    def of(cls, reranker: Reranker, settings: ServingSettings, paths: tuple[str, ...]) -> "Service":
        """A service of this reranker; `paths` are those of its routes."""
        metrics = Metrics(paths)
        batcher = Batcher(reranker, metrics, settings.tokens_per_batch)
        model = reranker.backbone.settings.model
        name = Path(model).name if Path(model).exists() else model  # a folder's path is not the clients' concern
        return cls(name, reranker, settings, metrics, batcher, Admission(settings, batcher.retry_after))

    @property
    def gives_probabilities(self) -> bool:
        """Whether scores are probabilities of relevance (for lists in one prompt)."""
        return self.reranker.heads.used_probability is not None

    def check_sizes(self, queries: Sequence[str], texts: Sequence[str], query_field: str, text_field: str) -> None:
        """Raise `Problem` if there are too many texts, or one is too long.

        query_field, text_field: the names of the fields in the request's body.
        """
        most, longest = self.settings.max_documents, self.settings.max_characters
        if len(texts) > most:
            raise Problem(422, f"{text_field}: {len(texts)}, expected at most {most}", field=text_field, limit=most)
        for field, values in ((query_field, queries), (text_field, texts)):
            for number, text in enumerate(values):
                if len(text) > longest:
                    name = field if len(values) == 1 and field == "query" else f"{field}[{number}]"
                    message = f"{name}: {len(text)} characters, expected at most {longest}"
                    raise Problem(422, message, field=name, limit=longest)

    async def run(self, request: Request, jobs: Sequence[Job]) -> list[Any]:
        """The outcome of each job. If the client disconnects first, its jobs leave the queue.

        Raises `Problem` with status 499 after a disconnect; nobody receives that answer.
        """
        work = asyncio.ensure_future(self.batcher.submit(jobs))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            raise Problem(499, "the client has disconnected")
        finally:
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
