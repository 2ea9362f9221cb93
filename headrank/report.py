"""Write one report over many runs: compare finished runs, average over seeds, list the other runs with their state.

    python -m headrank.report outputs/qwen3_4b/alignment_ablation        a sweep: all runs below
    python -m headrank.report 'outputs/*/seeds' outputs/nano --output comparison --metric mrr@10

Writes `comparison.md`, `comparison.html`, `comparison.csv` and `runs.csv`. The exit code is 1 if no run has results and
2 for wrong arguments.
"""

import argparse
import glob
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from headrank.evaluation.comparison.comparison import write_comparison
from headrank.evaluation.run_folder import find_run_folders, read_run_folder
from headrank.logs import set_up_logging


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="headrank report", description="One report over many runs.")
    parser.add_argument("folders", nargs="+", metavar="DIR", help="run folders, or folders above them; globs too")
    parser.add_argument("--output", type=Path, help="where to write; else the folder given, or comparison for several")
    parser.add_argument("--metric", help="the metric that leads; else the runs' objective")
    options = parser.parse_args(arguments)
    set_up_logging(logging.WARNING)
    roots = [Path(match) for pattern in options.folders for match in _matches(pattern)]
    output = options.output or (roots[0] if len(roots) == 1 else Path("comparison"))
    try:
        runs = [read_run_folder(folder) for folder in find_run_folders(roots)]
        written = write_comparison(output, runs, metric=options.metric)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(written.read_text(encoding="utf-8").split("\n\n## All metrics")[0])
    print(f"\nreport: {written.with_suffix('.html')}")
    return 0


def _matches(pattern: str) -> list[str]:
    """The sorted matches of a glob; a pattern without a match stays, so that the error names it."""
    return sorted(glob.glob(pattern, recursive=True)) or [pattern]


if __name__ == "__main__":
    sys.exit(main())
