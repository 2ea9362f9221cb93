"""`headrank rerank`: reranks candidate lists from files with a saved reranker. No judgements are needed."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Form(StrEnum):
    """The form of the output."""

    TREC = "trec"
    JSONL = "jsonl"


def rerank(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A run folder, a folder of Reranker.save, a hub id, or smollm2-135m-instruct."
        ),
    ],
    queries: Annotated[Path | None, typer.Option(help="Queries: TSV (id, text) or JSONL.")] = None,
    docs: Annotated[Path | None, typer.Option(help="Passages: JSONL.")] = None,
    run: Annotated[Path | None, typer.Option(help="The first stage's run: TREC.")] = None,
    requests: Annotated[
        str | None, typer.Option(help="Instead of the three: JSONL, a query with its candidates a line; - is stdin.")
    ] = None,
    output: Annotated[str, typer.Option(help="A TREC run, or JSONL if it ends in .jsonl; - is stdout.")] = "-",
    form: Annotated[Form | None, typer.Option("--format", help="The form of the output; else by its name.")] = None,
    heads: Annotated[
        str | None, typer.Option(help="heads.json or a run folder, if the model's folder has none; all: every head.")
    ] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Rerank the first candidates only.")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Write the best only.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    fuse: Annotated[
        bool | None,
        typer.Option(
            "--fuse/--no-fuse", help="Add the first stage's rank with the fitted weight. Default: if one was fitted."
        ),
    ] = None,
    tag: Annotated[str, typer.Option(help="The last column of the TREC run.")] = "headrank",
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Count and skip malformed lines of --requests instead of ending.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Rerank candidate lists with a saved reranker. No judgements are needed.

    Every file may end in .gz. The input is streamed: memory does not grow with it. After an interruption, the same
    command continues the output. A request is {"query": {"qid": "q1", "text": "..."}, "candidates": [{"docid": "d1",
    "score": 9.1, "doc": {"contents": "..."}}]}, as Anserini and rank_llm write.

    Examples:

    headrank rerank outputs/nano --queries q.tsv --docs docs.jsonl --run bm25.trec --output reranked.trec

    headrank rerank outputs/nano --requests requests.jsonl.gz --output reranked.jsonl --top-k 10

    zcat requests.jsonl.gz | headrank rerank outputs/nano --requests - > reranked.trec

    Exit codes: 0 done, 1 bad data or model, 2 wrong arguments, 128 + n ended by signal n.
    """
    from headrank.cli.errors import one_line_errors
    from headrank.logs import set_up_logging

    set_up_logging()
    with one_line_errors():
        from headrank.cli.rerank_job import RerankJob, Source

        path = None if output == "-" else Path(output)
        jsonl = form == Form.JSONL or (form is None and output.removesuffix(".gz").endswith(".jsonl"))
        source = Source(queries, docs, run, requests, depth=depth, skip_invalid=skip_invalid)
        RerankJob(
            model, source, path, heads=heads, top_k=top_k, device=device, dtype=dtype, tag=tag, jsonl=jsonl,
            overwrite=overwrite, fuse=fuse,
        ).main()  # fmt: skip
