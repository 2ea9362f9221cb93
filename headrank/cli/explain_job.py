"""The work of `headrank explain`: finds one candidate list, explains it and writes the explanation."""

import sys
from dataclasses import dataclass
from pathlib import Path

from headrank.cli.output import check_output, json_text
from headrank.cli.rerank_job import Skipped, Source
from headrank.data.records import iter_passages
from headrank.errors import ConfigError, FormatError
from headrank.io.files import atomic_write
from headrank.ranking import CandidateList, Query
from headrank.reranker import Reranker


@dataclass(frozen=True, slots=True)
class ListSource:
    """Where the candidate list comes from: a query and passages, requests, or queries, passages and a run.

    query, docs: the query's text, and a JSONL file of its passages in the first stage's order; `-` is stdin.
    requests, queries, docs, run, depth: as in `headrank.cli.rerank_job.Source`.
    query_id: the query of the requests or the run; None: the first.

    Raises `ConfigError` if files are missing or too many are given.
    """

    query: str | None
    docs: str | None
    requests: str | None = None
    queries: Path | None = None
    run: Path | None = None
    query_id: str | None = None
    depth: int | None = None

    def __post_init__(self) -> None:
        named = {"requests": self.requests, "queries": self.queries, "run": self.run, "query-id": self.query_id}
        given = [f"--{name}" for name, value in {"query": self.query, "docs": self.docs, **named}.items() if value]
        alone = self.query is not None and (self.docs is None or any(value is not None for value in named.values()))
        if alone or (self.query is None and self.requests is None and None in (self.queries, self.run, self.docs)):
            raise ConfigError(
                f"{', '.join(given) or 'no input'}: expected --query and --docs; --requests; or --queries, --docs and "
                "--run; with the last two optionally --query-id"
            )
        if self.query is None:
            self._files()  # checks them

    def _files(self) -> Source:
        docs = None if self.docs is None else Path(self.docs)
        return Source(self.queries, docs, self.run, self.requests, depth=self.depth)

    def read(self) -> CandidateList:
        """Read the list.

        Raises `FormatError` for malformed input, and if no list has the query id.
        """
        if self.query is not None:
            found = iter_passages(sys.stdin.buffer if self.docs == "-" else Path(str(self.docs)))
            try:
                item = CandidateList(Query("", self.query), tuple(passage for _, passage in found))
            except ValueError as error:
                raise FormatError(f"{self.docs}: {error}") from None
            return item if self.depth is None else item.top(self.depth)
        with self._files().items(0, Skipped()) as (items, _):
            for item in items:
                if self.query_id in (None, item.candidates.query.id):
                    return item.candidates
        name = "the input holds no list" if self.query_id is None else f"no list of the query {self.query_id!r}"
        raise FormatError(f"{self.requests or self.run}: {name}")


def explain_job(
    model: str,
    source: ListSource,
    output: Path | None,
    form: str,
    *,
    heads: str | None = None,
    top_k: int | None = None,
    per_head: bool = False,
    device: str = "auto",
    dtype: str = "float32",
    overwrite: bool = False,
) -> None:
    """Explain a list and write the explanation.

    Args:
        model, heads, device, dtype: as in `Reranker.from_pretrained`.
        source: the list.
        output: the file to write; None: stdout.
        form: `ansi`, `html` or `json`.
        top_k, per_head: as in `Reranker.explain`.
        overwrite: whether an existing file is replaced.

    Raises `ConfigError` for an existing output, `FormatError` for malformed input, and what `Reranker.from_pretrained`
    raises.
    """
    if output is not None:
        check_output(output, overwrite=overwrite)
    item = source.read()
    reranker = Reranker.from_pretrained(model, heads, dtype=dtype, device=device, fuse=None)
    explanation = reranker.explain(item.query.text, item.passages, top_k, per_head=per_head)
    if form == "html":
        text = explanation.html()
    else:
        text = json_text(explanation.to_dict()) if form == "json" else explanation.ansi()
    if output is None:
        sys.stdout.buffer.write(text.encode("utf-8"))
        sys.stdout.buffer.flush()
        return
    with atomic_write(output) as file:
        file.write(text)
