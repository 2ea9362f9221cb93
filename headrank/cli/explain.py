"""`headrank explain`: shows which tokens made the scores of a candidate list."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class View(StrEnum):
    """The form of the output."""

    ANSI = "ansi"
    HTML = "html"
    JSON = "json"


ENDINGS = {".html": View.HTML, ".htm": View.HTML, ".json": View.JSON}
"""The form of an output file by its ending."""


def _default_view(output: Path | None) -> View:
    """The form by the file's ending; without a file, ANSI in a terminal and JSON in a pipe."""
    if output is None:
        return View.ANSI if sys.stdout.isatty() else View.JSON
    if output.suffix.lower() not in ENDINGS:
        from headrank.errors import ConfigError

        raise ConfigError(f"output is {output}; expected a name that ends in {', '.join(ENDINGS)}, or --format")
    return ENDINGS[output.suffix.lower()]


def explain(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A run folder, a folder of Reranker.save, a hub id, or smollm2-135m-instruct."
        ),
    ],
    query: Annotated[str | None, typer.Option(help="The query's text; the passages are those of --docs.")] = None,
    docs: Annotated[str | None, typer.Option(help="Passages: JSONL; with --query, - is stdin.")] = None,
    requests: Annotated[str | None, typer.Option(help="JSONL, a query with its candidates a line; - is stdin.")] = None,
    queries: Annotated[Path | None, typer.Option(help="Queries: TSV or JSONL, with --docs and --run.")] = None,
    run: Annotated[Path | None, typer.Option(help="The first stage's run: TREC, with --queries and --docs.")] = None,
    query_id: Annotated[
        str | None, typer.Option(help="The query of --requests or --run to explain; else the first.")
    ] = None,
    output: Annotated[str, typer.Option(help="A file; - is stdout.")] = "-",
    view: Annotated[
        View | None, typer.Option("--format", help="Else by the output's name; in a terminal ansi, piped json.")
    ] = None,
    heads: Annotated[
        str | None, typer.Option(help="heads.json or a run folder, if the model's folder has none; all: every head.")
    ] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Rerank the first candidates only.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Explain the best only.")] = None,
    per_head: Annotated[bool, typer.Option("--per-head", help="Also what every head contributes.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Show which tokens of the passages, and of the query, made the scores of one candidate list.

    The candidates come in one of three forms: --query and --docs; --requests; or --queries, --docs and --run.

    Examples:

    headrank explain outputs/nano --query "why is the sky blue" --docs passages.jsonl

    headrank explain outputs/nano --requests requests.jsonl --query-id q7 --top-k 5 --output q7.html

    Exit codes: 0 done, 1 bad data or model, 2 wrong arguments, 128 + n ended by signal n.
    """
    from headrank.cli.errors import one_line_errors
    from headrank.logs import set_up_logging

    set_up_logging()
    with one_line_errors():
        from headrank.cli.explain_job import ListSource, explain_job

        source = ListSource(query, docs, requests, queries, run, query_id=query_id, depth=depth)
        path = None if output == "-" else Path(output)
        form = view or _default_view(path)
        explain_job(
            model, source, path, form.value, heads=heads, top_k=top_k, per_head=per_head, device=device, dtype=dtype,
            overwrite=overwrite,
        )  # fmt: skip
