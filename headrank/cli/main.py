"""Define the command `headrank` and its subcommands.

Nothing heavy is imported until a subcommand needs it. `run`, `doctor`, `report`, `prompts` and `dashboard` are also
modules (`python -m headrank.run`), which read their own arguments.
"""

import importlib
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from headrank.cli.explain import explain
from headrank.cli.prepare import prepare
from headrank.cli.rerank import rerank
from headrank.cli.serve import serve

FORWARDED = {
    "run": ("headrank.run", "Run an experiment, from selecting heads to the report (a Hydra application)."),
    "doctor": ("headrank.doctor.__main__", "Report what an experiment needs, what is missing, and how to fix it."),
    "report": ("headrank.report", "Compare finished runs."),
    "prompts": ("headrank.prompts", "Show the prompt of every system of an experiment."),
    "dashboard": ("headrank.dashboard", "Make the W&B dashboard of an experiment."),
}
"""Subcommand -> the module with its `main`, and its line in the help."""

HELP = """Fast, trainable reranking without decoding: relevance read from a language model's attention.

[bold]Examples[/bold]

headrank rerank outputs/nano --queries q.tsv --docs docs.jsonl --run bm25.trec --output reranked.trec

headrank explain outputs/nano --query "why is the sky blue" --docs passages.jsonl

headrank run +experiment=qwen3_4b

headrank doctor +experiment=qwen3_4b

[bold]Exit codes[/bold]

0: done. 1: an error of data, model or machine; the message is one line. 2: wrong arguments or configuration.
128 + n: ended by signal n; the same command resumes.
"""

app = typer.Typer(
    name="headrank", help=HELP, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False
)


def _version(value: bool) -> bool:
    if value:
        print(f"headrank {version('headrank')}")
        raise typer.Exit
    return value


@app.callback()
def options(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Declare the options of `headrank` itself, in front of a subcommand."""


app.command()(rerank)
app.command()(explain)
app.command()(serve)
app.command()(prepare)


def _forward(name: str, module: str, summary: str) -> None:
    def call(context: typer.Context) -> None:
        sys.argv[1:] = context.args
        sys.exit(importlib.import_module(module).main())

    app.command(
        name,
        help=summary,
        add_help_option=False,  # the module has its own
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(call)


for _name, (_module, _summary) in FORWARDED.items():
    _forward(_name, _module, _summary)


def main() -> None:
    """Run the command `headrank` with the arguments of this process."""
    arguments = sys.argv[1:]
    if arguments and (arguments[0].startswith("+") or "=" in arguments[0]):
        print(f"error: {arguments[0]}: no subcommand; did you mean headrank run {arguments[0]}?", file=sys.stderr)
        sys.exit(2)
    app()


if __name__ == "__main__":
    main()
