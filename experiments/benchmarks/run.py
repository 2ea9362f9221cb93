"""Measures everything and writes results.json and results.md.

python -m experiments.benchmarks.run                     # minutes on one core; `make bench`
python -m experiments.benchmarks.run --quick             # the same in small
python -m experiments.benchmarks.run --profile large     # Qwen3-4B's shape on a GPU, bfloat16, lists of 8
"""

import argparse
import json
import logging
import time
from pathlib import Path

import torch
import transformers

from experiments.benchmarks.against import run_against
from experiments.benchmarks.growth import run_growth
from experiments.benchmarks.measure import Rate, machine
from experiments.benchmarks.models import Shared
from experiments.benchmarks.profiles import PROFILES, quick
from experiments.benchmarks.real import run_real
from experiments.benchmarks.switches import run_batching, run_switches
from experiments.benchmarks.table import markdown
from headrank.files import atomic_write

PARTS = ("against", "switches", "growth", "batching", "real")


def main() -> None:
    """Measure, print the tables, write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, default="cpu")
    parser.add_argument("--quick", action="store_true", help="in small, below three minutes on a core")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, on the processor")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--collection", default="sample/test", help="real lists: a folder or an ir_datasets id")
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for name in ("headrank", "sentence_transformers"):
        logging.getLogger(name).setLevel(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    profile = quick(PROFILES[options.profile]) if options.quick else PROFILES[options.profile]
    if profile.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"profile {profile.name} is for a GPU, and PyTorch sees none")
    begin, rate = time.perf_counter(), Rate(profile.dtype, profile.device)
    rate.measure()
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
    if {"against", "switches", "growth"} & set(options.parts):
        shared = Shared.load(profile)
        if "against" in options.parts:
            results["against"] = run_against(profile, shared, rate)
        rate.measure()
        if "switches" in options.parts:
            results["switches"] = run_switches(profile, shared)
        rate.measure()
        if "growth" in options.parts:
            results["growth"] = run_growth(profile, shared)
        del shared
    rate.measure()
    if "batching" in options.parts:
        results["batching"] = run_batching(*profile.batching, profile.device)
    if "real" in options.parts:
        results["real"] = run_real(options.collection, profile.real, profile.device)
    results |= {
        "matmul_rates": rate.measured,
        "matmul_rate": rate.median,
        "minutes": (time.perf_counter() - begin) / 60,
    }
    text = markdown(results)
    with atomic_write(options.output / "results.json") as file:
        json.dump(results, file, indent=1)
    with atomic_write(options.output / "results.md") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
