"""The limits of the HTTP service."""

from typing import Annotated

from annotated_types import MinLen

from headrank.settings import Ge, field, settings


@settings
class ServingSettings:
    """The limits of the HTTP service. Memory for texts stays below about `max_queue` times `max_body`."""

    max_queue: Annotated[int, Ge(1)] = 128  # requests that are read, wait or run; further ones get 429
    max_documents: Annotated[int, Ge(1)] = 1000  # per request; as Cohere recommends
    max_characters: Annotated[int, Ge(1)] = 100_000  # of a query or a document
    max_body: Annotated[int, Ge(1)] = 8 * 2**20  # bytes of a request's body
    body_seconds: Annotated[float, Ge(0)] = 60.0  # from the headers to the end of the body
    # estimated tokens of the lists that are ranked together; None: see `Batcher`
    tokens_per_batch: Annotated[int, Ge(1)] | None = None
    api_key: Annotated[str, MinLen(1)] | None = field(default=None, repr=False)
