"""Runs an experiment undisturbed, and again with `kill -9` at random moments; both have to end with the same numbers.

python -m experiments.study.kills --output outputs/kills --kills 3 -- +experiment=nano alignment.epochs=1

Overrides behind `--` are those of `python -m headrank.run`, but for `name` and `paths.output`. Compared are heads, the
aligned model, all scores (TREC runs), all metrics and the tables of the report, byte by byte. Exit code 1 where
anything differs.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

COMPARED = ("heads.json", "heads/*.json", "checkpoint/*.safetensors", "checkpoint/heads.json", "runs/*/*", "metrics/*",
            "tables/main.*", "tables/changes.*", "tables/middle_zone.*")  # fmt: skip


def start(output: Path, name: str, overrides: list[str]) -> subprocess.Popen:
    """The experiment in a process group of its own, its output at the end of a log."""
    command = [sys.executable, "-m", "headrank.run", *overrides, f"name={name}", f"paths.output={output}"]
    with (output / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def where(folder: Path) -> str:
    """The stage that a run is in, and how many files it has finished."""
    status = folder / "status.json"
    stage = json.loads(status.read_text())["stage"] if status.is_file() else "start"
    return f"{stage}, {sum(1 for path in folder.rglob('*') if path.is_file())} files"


def files(folder: Path) -> dict[str, str]:
    """What is compared: relative name -> digest."""
    found = sorted({path for pattern in COMPARED for path in folder.glob(pattern) if path.is_file()})
    return {str(path.relative_to(folder)): hashlib.sha256(content(path)).hexdigest() for path in found}


def content(path: Path) -> bytes:
    """A file's bytes; of the scores in context order without the seconds and the memory that reading them took."""
    if not path.name.endswith(".contexts.json"):
        return path.read_bytes()
    kept = {name: value for name, value in json.loads(path.read_bytes()).items() if name != "facts"}
    return json.dumps(kept, sort_keys=True).encode()


def main() -> None:
    """Run, kill, run on, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/kills"))
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("overrides", nargs="+")
    options = parser.parse_args()
    output: Path = options.output.resolve()
    output.mkdir(parents=True)  # an old folder would be taken up, and nothing run
    began = time.monotonic()
    if start(output, "undisturbed", options.overrides).wait():
        sys.exit(f"the undisturbed run failed: {output}/undisturbed.log")
    whole = time.monotonic() - began
    print(f"undisturbed: {whole:.0f} s", flush=True)
    moments = random.Random(options.seed)
    spent = 0.0
    for number in range(1, options.kills + 1):
        process = start(output, "killed", options.overrides)
        seconds = whole * moments.uniform(0.1, 0.9) / options.kills + 20  # what starting takes
        try:
            process.wait(seconds)
            print(f"start {number}: ended before its kill after {seconds:.0f} s", flush=True)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            spent += seconds
            print(f"kill {number} after {seconds:.0f} s: {where(output / 'killed')}", flush=True)
    began = time.monotonic()
    if start(output, "killed", options.overrides).wait():
        sys.exit(f"the last start failed: {output}/killed.log")
    print(
        f"last start: {time.monotonic() - began:.0f} s, all starts {spent + time.monotonic() - began:.0f} s", flush=True
    )
    one, other = files(output / "undisturbed"), files(output / "killed")
    different = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    print(f"{len(one)} files compared, {len(different)} differ{': ' if different else ''}{', '.join(different)}")
    sys.exit(bool(different) or not one)


if __name__ == "__main__":
    main()
