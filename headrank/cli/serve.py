"""`headrank serve`: serves a reranker over HTTP."""

from typing import Annotated

import typer


def serve(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A run folder, a folder of Reranker.save, a hub id, or smollm2-135m-instruct."
        ),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0: all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free port, which the log names.")] = 8000,
    heads: Annotated[
        str | None, typer.Option(help="heads.json or a run folder, if the model's folder has none; all: every head.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    fuse: Annotated[
        bool,
        typer.Option(
            "--fuse", help="Add a document's rank in the request with the fitted weight; clients send the best first."
        ),
    ] = False,
    max_queue: Annotated[int, typer.Option(min=1, help="Requests in the server; further ones get 429.")] = 128,
    max_documents: Annotated[int, typer.Option(min=1, help="Documents of a request.")] = 1000,
    max_characters: Annotated[int, typer.Option(min=1, help="Characters of a query or a document.")] = 100_000,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of a request.")] = 8 * 2**20,
    tokens_per_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Estimated tokens ranked together; else as in heads.json, at most 4096 on a CPU."),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="HEADRANK_API_KEY", show_envvar=True, help="Requests need this key."),
    ] = None,
) -> None:
    """Serve a reranker over HTTP, with the APIs of Cohere, Jina, text-embeddings-inference and vLLM.

    Requests of all clients are batched. SIGTERM and Ctrl-C finish the accepted requests and exit with 0. The page at /
    ranks passages that you paste. docs/service.md describes routes, limits and deployment.

    Examples:

    headrank serve outputs/nano

    HEADRANK_API_KEY=secret headrank serve outputs/nano --host 0.0.0.0 --port 80 --device cuda --dtype bfloat16

    curl localhost:8000/v2/rerank -H 'content-type: application/json' -d '{"query": "why is the sky blue", "documents":
    ["Air scatters blue light.", "Bread rises."]}'
    """
    from headrank.cli.errors import one_line_errors
    from headrank.extras import require_extra
    from headrank.logs import set_up_logging

    set_up_logging()
    with one_line_errors():
        require_extra("serve", "headrank serve")
        from headrank.serving.settings import ServingSettings

        settings = ServingSettings(
            max_queue=max_queue,
            max_documents=max_documents,
            max_characters=max_characters,
            max_body=max_body,
            tokens_per_batch=tokens_per_batch,
            api_key=api_key,
        )
        from headrank.reranker import Reranker
        from headrank.serving import server

        with server.bind(host, port) as listener:
            server.serve(
                Reranker.from_pretrained(model, heads, device=device, dtype=dtype, fuse=fuse), settings, listener
            )
