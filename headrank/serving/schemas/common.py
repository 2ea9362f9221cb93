"""What the bodies of several APIs share."""

from typing import Annotated

from pydantic import BaseModel, Field

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[list[str], Field(min_length=1)]


class Usage(BaseModel):
    """The tokens of the query and the documents, as far as they were read; without the words of the prompt."""

    prompt_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, tokens: int) -> "Usage":
        """The usage of this number of tokens; nothing is generated, so that both counts are equal."""
        return cls(prompt_tokens=tokens, total_tokens=tokens)


class ErrorBody(BaseModel):
    """The body of every answer with a status from 400."""

    message: str
    error: str = Field(description="Equal to `message`; the name that clients of TEI read.")
    error_type: str
    field: str | None = Field(None, description="The field of the request's body that is wrong.")
    limit: int | None = Field(None, description="The limit that is exceeded.")
