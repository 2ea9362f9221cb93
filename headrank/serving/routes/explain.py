"""The route that explains scores: `/explain`."""

from typing import Any

from fastapi import APIRouter, Request

from headrank.serving.queue import Job
from headrank.serving.schemas.explain import ExplainAnswer, ExplainRequest
from headrank.serving.service import Service


def explain_routes(service: Service) -> APIRouter:
    """The route of this service."""
    routes = APIRouter(tags=["explain"])

    @routes.post("/explain", summary="Rank passages and show what each token adds", response_model=ExplainAnswer)
    async def explain(body: ExplainRequest, request: Request) -> dict[str, Any]:
        service.check_sizes([body.query], body.passages, "query", "passages")
        job = Job(body.query, tuple(body.passages), explain=body.top_k or 0)
        return (await service.run(request, [job]))[0]

    return routes
