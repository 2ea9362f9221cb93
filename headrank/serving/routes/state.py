"""The routes about the service itself: `/health`, `/ready`, `/metrics`, and the page at `/`."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from headrank.serving.problems import Problem
from headrank.serving.service import Service

PAGE_FOLDER = Path(__file__).parents[1] / "page"
PAGE_HEADERS = {"content-security-policy": "default-src 'self'; img-src data:; frame-ancestors 'none'"}


def state_routes(service: Service) -> APIRouter:
    """The routes of this service."""
    routes = APIRouter()

    @routes.get("/health", tags=["state"], summary="Whether the process answers, and what it serves")
    async def health() -> dict[str, Any]:
        return {
            "status": "draining" if service.admission.draining else "ok",
            "model": service.model,
            "scores": "probability" if service.gives_probabilities else "bounded",
            "requests_in_flight": service.admission.in_flight,
        }

    @routes.get("/ready", tags=["state"], summary="200 if requests are accepted, 503 if they are not")
    async def ready() -> dict[str, str]:
        if service.admission.draining:
            raise Problem(503, "the server is shutting down")
        if service.admission.in_flight >= service.settings.max_queue:
            raise Problem(503, "the queue is full", limit=service.settings.max_queue)
        return {"status": "ready"}

    @routes.get("/metrics", tags=["state"], summary="Metrics for Prometheus")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE_FOLDER / "index.html", headers=PAGE_HEADERS)

    return routes
