"""Run all measurements and write results.json and results.md part by part. Parts are added to existing results.

python -m experiments.benchmarks.run                     # half an hour on one core; `make bench`
python -m experiments.benchmarks.run --quick             # a quick version
python -m experiments.benchmarks.run --profile large     # Qwen3-4B's shape on a GPU, bfloat16, lists of 8
"""

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from experiments.benchmarks.against import run_against
from experiments.benchmarks.apart import run_apart
from experiments.benchmarks.growth import run_growth
from experiments.benchmarks.measure import Rate, machine
from experiments.benchmarks.models import Shared
from experiments.benchmarks.profiles import PROFILES, quick
from experiments.benchmarks.real import run_real
from experiments.benchmarks.switches import run_batching, run_switches
from experiments.benchmarks.table import markdown
from headrank.io.files import atomic_write

PARTS = ("against", "switches", "apart", "growth", "batching", "real")
SHAPED: dict[str, Callable[..., Any]] = {
    "against": run_against,
    "switches": lambda profile, shared, _: run_switches(profile, shared),
    "apart": lambda profile, shared, _: run_apart(profile, shared),
    "growth": lambda profile, shared, _: run_growth(profile, shared),
}


def main() -> None:
    """Measure, print the tables and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, default="cpu")
    parser.add_argument("--quick", action="store_true", help="in small, below three minutes on a core")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, on the processor")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        help="parts to measure; other existing results are kept",
    )
    parser.add_argument("--passages", type=int, nargs="+", help="for part against: only these numbers of passages")
    parser.add_argument("--rounds", type=int, help="for part against: number of rounds, instead of the profile's")
    parser.add_argument("--collection", default="sample/test", help="real lists: a folder or an ir_datasets id")
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for name in ("headrank", "sentence_transformers"):
        logging.getLogger(name).setLevel(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    profile = quick(PROFILES[options.profile]) if options.quick else PROFILES[options.profile]
    numbers = {n: options.rounds or r for n, r in profile.passages.items() if n in (options.passages or [n])}
    profile = replace(profile, passages=numbers)
    if profile.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"profile {profile.name} needs a GPU, and PyTorch finds none")
    results = {
        "machine": machine().to_dict(),
        "shape": profile.shape_name,
        "dtype": profile.dtype,
        "depth": profile.depth,
        "layers": profile.shape["num_hidden_layers"],
        "lists": profile.lists,
        "switches_passages": profile.switches,
        "quick": options.quick,
    }
    kept = options.output / "results.json"
    if kept.is_file():
        found = json.loads(kept.read_text(encoding="utf-8"))
        if {name: found[name] for name in results} == results:
            results = found  # other parts, measured before on the same machine
    results.setdefault("minutes", 0.0)
    results.setdefault("matmul_rates", [])
    shared: Shared | None = None
    for part in options.parts:
        begin, rate = time.perf_counter(), Rate(profile.dtype, profile.device)
        rate.measure()
        if part in SHAPED:
            shared = shared or Shared.load(profile)
            results[part] = SHAPED[part](profile, shared, rate)
        else:
            shared = None
            results[part] = (
                run_batching(*profile.batching, profile.device)
                if part == "batching"
                else run_real(options.collection, profile.real, profile.device)
            )
        results["matmul_rates"] += rate.measured
        results["matmul_rate"] = statistics.median(results["matmul_rates"])
        results["minutes"] += (time.perf_counter() - begin) / 60
        with atomic_write(kept) as file:
            json.dump(results, file, indent=1)
        with atomic_write(options.output / "results.md") as file:
            file.write(markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
