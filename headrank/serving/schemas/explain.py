"""`/explain`: the bodies of this project's explanations."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from headrank.serving.schemas.common import Text, Texts


class ExplainRequest(BaseModel):
    """A query and the passages to rank and explain."""

    query: Text
    passages: Texts
    top_k: Annotated[int, Field(ge=1)] | None = Field(None, description="The number of passages; null: all.")


class TokenBody(BaseModel):
    """A token: its characters in the text, counted as Unicode code points, and what it adds."""

    start: int
    end: int
    contribution: float


class PassageBody(BaseModel):
    """A ranked passage and what its tokens add to its score; `score` is the raw score."""

    model_config = ConfigDict(extra="allow")

    index: int
    rank: int
    score: float
    text: str
    truncated: bool
    contribution: float
    rest: float
    tokens: list[TokenBody]


class ExplainAnswer(BaseModel):
    """The passages, best first. `headrank.Explanation` describes all fields."""

    model_config = ConfigDict(extra="allow")

    query: str
    query_tokens: list[TokenBody]
    adds_up_to: str
    calibration: Any
    passages: list[PassageBody]
