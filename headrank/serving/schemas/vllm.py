"""`/score` and `/v1/score`: the bodies of vLLM."""

from typing import Annotated

from pydantic import AliasChoices, BaseModel, Field

from headrank.serving.problems import Problem
from headrank.serving.schemas.common import Text, Texts, Usage


class ScoreRequest(BaseModel):
    """One query with several documents, or as many queries as documents."""

    model: str | None = Field(None, description="Any name: the server has one model, which it names in the answer.")
    text_1: Annotated[Text | Annotated[list[Text], Field(min_length=1)], Field(description="The query or queries.")] = (
        Field(validation_alias=AliasChoices("text_1", "queries"))
    )
    text_2: Annotated[str | Texts, Field(description="The document or documents.")] = Field(
        validation_alias=AliasChoices("text_2", "documents", "items")
    )
    use_activation: bool = Field(True, description="false: `score` is the raw score.")

    def pairs(self) -> list[tuple[str, str]]:
        """The (query, document) pairs; one query is paired with every document.

        Raises `Problem` if several queries do not have one document each.
        """
        queries = [self.text_1] if isinstance(self.text_1, str) else self.text_1
        documents = [self.text_2] if isinstance(self.text_2, str) else self.text_2
        if len(queries) == 1:
            queries = queries * len(documents)
        if len(queries) != len(documents):
            raise Problem(
                422,
                f"text_1 has {len(queries)} texts, text_2 {len(documents)}; expected one text_1, or as many as text_2",
                field="text_1",
            )
        return list(zip(queries, documents, strict=True))


class Score(BaseModel):
    """The score of one pair; `index` is its position in the request."""

    index: int
    object: str = "score"
    score: float


class ScoreAnswer(BaseModel):
    """The scores, in the order of the request."""

    id: str
    object: str = "list"
    created: int
    model: str
    data: list[Score]
    usage: Usage
