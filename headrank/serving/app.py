"""The application: routes, errors as JSON, admission."""

import logging
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from headrank.errors import HeadRankError
from headrank.reranker import Reranker
from headrank.serving.admission import PAGE, AdmissionMiddleware, body_too_large
from headrank.serving.problems import AsciiJSONResponse, Problem, invalid_body
from headrank.serving.routes.explain import explain_routes
from headrank.serving.routes.rerank import rerank_routes
from headrank.serving.routes.score import score_routes
from headrank.serving.routes.state import PAGE_FOLDER, state_routes
from headrank.serving.schemas.common import ErrorBody
from headrank.serving.service import Service
from headrank.serving.settings import ServingSettings

WORK = ("/v1/rerank", "/v2/rerank", "/rerank", "/score", "/v1/score", "/explain")
STATE = ("/", "/health", "/ready", "/metrics")

logger = logging.getLogger(__name__)


def make_app(reranker: Reranker, settings: ServingSettings | None = None) -> FastAPI:
    """The ASGI application that serves a reranker. `app.state.service` is its `Service`."""
    service = Service.of(reranker, settings or ServingSettings(), (*WORK, *STATE))
    errors: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorBody} for status in (400, 401, 408, 413, 422, 429, 500, 503)
    }
    app = FastAPI(
        title="HeadRank",
        version=version("headrank"),
        summary="Reranking from a language model's attention",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        default_response_class=AsciiJSONResponse,
    )
    app.state.service = service
    for router in (rerank_routes(service), score_routes(service), explain_routes(service)):
        app.include_router(router, responses=errors)
    app.include_router(state_routes(service))
    app.mount(PAGE, StaticFiles(directory=PAGE_FOLDER), name="page")
    app.add_middleware(AdmissionMiddleware, admission=service.admission, metrics=service.metrics)
    _answer_errors(app, service.settings)
    return app


def _answer_errors(app: FastAPI, settings: ServingSettings) -> None:
    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return invalid_body(error).response()

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 413:
            return body_too_large(settings.max_body).response()
        return Problem(error.status_code, str(error.detail), headers=error.headers).response()

    @app.exception_handler(HeadRankError)
    async def refused(_: Request, error: HeadRankError) -> JSONResponse:
        logger.warning("a request failed: %s", error)
        return Problem(500, str(error)).response()

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        return Problem(500, f"the server failed ({type(error).__name__}); its log has the details").response()
