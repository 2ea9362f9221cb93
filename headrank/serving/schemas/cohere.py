"""`/v1/rerank` and `/v2/rerank`: the bodies of Cohere's API, with the fields of Jina's."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from headrank.serving.problems import Problem
from headrank.serving.schemas.common import Text, Usage

Document = Annotated[str | dict[str, Any], Field(description="A text, or an object with the text in `text`.")]


class RerankRequest(BaseModel):
    """A query and the documents to rank."""

    model: str | None = Field(None, description="Any name: the server has one model, which it names in the answer.")
    query: Text
    documents: Annotated[list[Document], Field(min_length=1)]
    top_n: Annotated[int, Field(ge=1)] | None = Field(None, description="The number of results; null: all.")
    return_documents: bool = Field(False, description="Whether results contain their documents.")
    rank_fields: list[str] | None = Field(None, description="The fields of document objects to rank by, in order.")
    max_tokens_per_doc: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Longer documents are cut; the model's own limit holds too."
    )
    raw_scores: bool = Field(False, description="Whether `relevance_score` is the raw score [HeadRank].")

    def texts(self) -> tuple[str, ...]:
        """The text of each document. Raises `Problem` for an object without one."""
        return tuple(self._text(number, document) for number, document in enumerate(self.documents))

    def _text(self, number: int, document: str | dict[str, Any]) -> str:
        if isinstance(document, str):
            return document
        fields = self.rank_fields or ["text"]
        values = [value for name in fields if isinstance(value := document.get(name), str)]
        if not values:
            raise Problem(
                422, f"documents[{number}]: expected a text under {', '.join(fields)}", field=f"documents[{number}]"
            )
        return "\n".join(values)


class RerankResultBody(BaseModel):
    """One ranked document: its position in the request and its score, with the document if it is asked for."""

    index: int
    relevance_score: float
    document: dict[str, Any] | None = None


class Meta(BaseModel):
    """What Cohere's answers say of a request. `warnings` reports cut documents and scores that are no probabilities."""

    api_version: dict[str, str]
    billed_units: dict[str, int] = {"search_units": 1}
    tokens: dict[str, int]
    warnings: list[str] | None = None


class RerankAnswer(BaseModel):
    """The ranked documents, best first."""

    id: str
    object: str = "list"
    model: str
    results: list[RerankResultBody]
    usage: Usage
    meta: Meta
