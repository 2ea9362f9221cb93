"""`/rerank`: the bodies of text-embeddings-inference."""

from typing import Literal

from pydantic import BaseModel, Field

from headrank.serving.schemas.common import Text, Texts


class TeiRequest(BaseModel):
    """A query and the texts to rank."""

    query: Text
    texts: Texts
    raw_scores: bool = Field(False, description="Whether `score` is the raw score.")
    return_text: bool = Field(False, description="Whether results contain their texts.")
    truncate: bool | None = Field(
        None, description="false: a text that is longer than the model's limit is an error; otherwise it is cut."
    )
    truncation_direction: Literal["right", "Right"] = Field("Right", description="Only the end of a text is cut.")


class TeiResult(BaseModel):
    """One ranked text: its position in the request and its score, with the text if it is asked for."""

    index: int
    score: float
    text: str | None = None
