"""The routes that rank: `/v1/rerank`, `/v2/rerank` (Cohere, Jina) and `/rerank` (text-embeddings-inference, Jina)."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from pydantic import Discriminator, Tag

from headrank.serving.problems import DIALECT, Problem
from headrank.serving.queue import Job, Ranked
from headrank.serving.schemas.cohere import Meta, RerankAnswer, RerankRequest, RerankResultBody
from headrank.serving.schemas.common import Usage
from headrank.serving.schemas.tei import TeiRequest, TeiResult
from headrank.serving.scores import served_scores
from headrank.serving.service import Service

TRUNCATED = "headrank-truncated-documents"
"""The header with the number of documents of which only a part was read."""

_TEI, _COHERE = f"{DIALECT}tei", f"{DIALECT}cohere"


def _dialect(body: Any) -> str:
    cohere = isinstance(body, RerankRequest) or (isinstance(body, dict) and "documents" in body)
    return _COHERE if cohere else _TEI


EitherRequest = Annotated[
    Annotated[TeiRequest, Tag(_TEI)] | Annotated[RerankRequest, Tag(_COHERE)], Discriminator(_dialect)
]


def rerank_routes(service: Service) -> APIRouter:
    """The routes of this service."""
    routes = APIRouter(tags=["rerank"])

    @routes.post("/v1/rerank", summary="Rank documents: Cohere's API v1, Jina's API", response_model_exclude_none=True)
    async def rerank_v1(body: RerankRequest, request: Request, response: Response) -> RerankAnswer:
        return await _as_cohere(service, body, request, response, version="1")

    @routes.post("/v2/rerank", summary="Rank documents: Cohere's API v2", response_model_exclude_none=True)
    async def rerank_v2(body: RerankRequest, request: Request, response: Response) -> RerankAnswer:
        return await _as_cohere(service, body, request, response, version="2")

    @routes.post(
        "/rerank",
        summary="Rank texts: the API of text-embeddings-inference; with `documents` that of `/v1/rerank`",
        response_model_exclude_none=True,
    )
    async def rerank(
        body: Annotated[EitherRequest, Body()], request: Request, response: Response
    ) -> list[TeiResult] | RerankAnswer:
        if isinstance(body, RerankRequest):
            return await _as_cohere(service, body, request, response, version="1")
        return await _as_tei(service, body, request, response)

    return routes


async def _as_cohere(
    service: Service, body: RerankRequest, request: Request, response: Response, *, version: str
) -> RerankAnswer:
    texts = body.texts()
    service.check_sizes([body.query], texts, "query", "documents")
    ranked: Ranked = (await service.run(request, [Job(body.query, texts, body.max_tokens_per_doc)]))[0]
    response.headers[TRUNCATED] = str(len(ranked.cut))
    scores = served_scores(ranked.results, raw=body.raw_scores)
    results = [
        RerankResultBody(
            index=one.index,
            relevance_score=score,
            document=_document(body.documents[one.index]) if body.return_documents else None,
        )
        for one, score in zip(ranked.results[: body.top_n], scores, strict=False)
    ]
    return RerankAnswer(
        id=str(uuid.uuid4()),
        model=service.model,
        results=results,
        usage=Usage.of(ranked.tokens),
        meta=Meta(
            api_version={"version": version},
            tokens={"input_tokens": ranked.tokens, "output_tokens": 0},
            warnings=_warnings(ranked, raw=body.raw_scores) or None,
        ),
    )


def _document(document: str | dict[str, Any]) -> dict[str, Any]:
    return {"text": document} if isinstance(document, str) else document


def _warnings(ranked: Ranked, *, raw: bool) -> list[str]:
    found = []
    if ranked.cut:
        found.append(f"only a part of {len(ranked.cut)} of {len(ranked.results)} documents was read")
    if raw:
        found.append("relevance_score is the raw score z")
    elif ranked.results[0].probability is None:
        found.append("relevance_score has no unit: the heads have no map to probabilities for this list")
    return found


async def _as_tei(service: Service, body: TeiRequest, request: Request, response: Response) -> list[TeiResult]:
    service.check_sizes([body.query], body.texts, "query", "texts")
    ranked: Ranked = (await service.run(request, [Job(body.query, tuple(body.texts))]))[0]
    if ranked.cut and body.truncate is False:
        field, limit = f"texts[{min(ranked.cut)}]", service.batcher.lengths.limits.max_passage_tokens
        raise Problem(422, f"{field}: more than {limit} tokens, and truncate is false", field=field, limit=limit)
    response.headers[TRUNCATED] = str(len(ranked.cut))
    return [
        TeiResult(index=one.index, score=score, text=body.texts[one.index] if body.return_text else None)
        for one, score in zip(ranked.results, served_scores(ranked.results, raw=body.raw_scores), strict=True)
    ]
