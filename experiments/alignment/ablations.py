"""Compare each job of an alignment ablation with its base and test the difference over queries.

python -m experiments.alignment.ablations outputs/small/alignment_ablation
"""

import argparse
from pathlib import Path

from experiments.alignment.table import METRIC, number
from headrank.evaluation import compare, read_results
from headrank.experiment import MAIN_SYSTEM, UNALIGNED_SYSTEM

BASE = "base"


def main() -> None:
    """Print a Markdown table of the finished jobs' first benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="the sweep's folder")
    jobs = {
        job.name.removeprefix("ablation-").partition("__")[0]: read_results(job).benchmarks[0].systems
        for job in sorted(parser.parse_args().sweep.glob("ablation-*"))
        if any(job.glob("metrics/*.json"))  # jobs equal to another job have none
    }
    base = jobs[BASE][MAIN_SYSTEM].per_query[METRIC]
    print("| changed | before | after | against the base (p) |\n| --- | ---: | ---: | ---: |")
    for name, systems in jobs.items():
        before, after = systems[UNALIGNED_SYSTEM], systems[MAIN_SYSTEM]
        found = compare(after.per_query[METRIC], base)
        print(
            f"| {name} | {number(before.means[METRIC])} | {number(after.means[METRIC])} | "
            f"{number(found.difference, signed=True)} ({found.p_randomization:.3f}) |"
        )


if __name__ == "__main__":
    main()
