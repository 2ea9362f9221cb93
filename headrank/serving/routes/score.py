"""The routes that score without sorting: `/score` and `/v1/score` (vLLM)."""

import time
import uuid

from fastapi import APIRouter, Request, Response

from headrank.serving.queue import Job, Ranked
from headrank.serving.routes.rerank import TRUNCATED
from headrank.serving.schemas.common import Usage
from headrank.serving.schemas.vllm import Score, ScoreAnswer, ScoreRequest
from headrank.serving.scores import served_scores
from headrank.serving.service import Service


def score_routes(service: Service) -> APIRouter:
    """The routes of this service."""
    routes = APIRouter(tags=["score"])

    @routes.post("/score", summary="Score pairs: vLLM's API")
    @routes.post("/v1/score", summary="Score pairs: vLLM's API")
    async def score(body: ScoreRequest, request: Request, response: Response) -> ScoreAnswer:
        """Pairs with the same query form one list; their scores are comparable with each other."""
        pairs = body.pairs()
        lists: dict[str, list[int]] = {}
        for number, (query, _) in enumerate(pairs):
            lists.setdefault(query, []).append(number)
        service.check_sizes(list(lists), [text for _, text in pairs], "text_1", "text_2")
        jobs = [Job(query, tuple(pairs[number][1] for number in numbers)) for query, numbers in lists.items()]
        outcomes: list[Ranked] = await service.run(request, jobs)
        scores = [0.0] * len(pairs)
        for numbers, ranked in zip(lists.values(), outcomes, strict=True):
            values = served_scores(ranked.results, raw=not body.use_activation)
            for one, value in zip(ranked.results, values, strict=True):
                scores[numbers[one.index]] = value
        response.headers[TRUNCATED] = str(sum(len(ranked.cut) for ranked in outcomes))
        return ScoreAnswer(
            id=f"score-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=service.model,
            data=[Score(index=number, score=value) for number, value in enumerate(scores)],
            usage=Usage.of(sum(ranked.tokens for ranked in outcomes)),
        )

    return routes
