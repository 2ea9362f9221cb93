"""Run an experiment undisturbed, then with `kill -9` at random moments. Both must end with the same results.

python -m experiments.study.kills --output outputs/kills --kills 3 -- +experiment=nano alignment.epochs=1

Overrides after `--` are those of `python -m headrank.run`, except `name` and `paths.output`. All files except those
with times (see `compare.py`) are compared byte by byte. The exit code is 1 if any file differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from experiments.study.compare import differing_files


def start(output: Path, name: str, overrides: list[str]) -> subprocess.Popen:
    """Start the experiment in a new process group and append its output to a log."""
    command = [sys.executable, "-m", "headrank.run", *overrides, f"name={name}", f"paths.output={output}"]
    with (output / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def where(folder: Path) -> str:
    """Return the current stage of a run and the number of its finished files."""
    status = folder / "status.json"
    stage = json.loads(status.read_text())["stage"] if status.is_file() else "start"
    return f"{stage}, {sum(1 for path in folder.rglob('*') if path.is_file())} files"


def main() -> None:
    """Run, kill, resume and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/kills"))
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("overrides", nargs="+")
    options = parser.parse_args()
    output: Path = options.output.resolve()
    output.mkdir(parents=True)  # fails if it exists: a finished run would be reused
    began = time.monotonic()
    if start(output, "undisturbed", options.overrides).wait():
        sys.exit(f"the undisturbed run failed: {output}/undisturbed.log")
    whole = time.monotonic() - began
    print(f"undisturbed: {whole:.0f} s", flush=True)
    moments = random.Random(options.seed)
    spent = 0.0
    for number in range(1, options.kills + 1):
        process = start(output, "killed", options.overrides)
        seconds = whole * moments.uniform(0.1, 0.9) / options.kills + 20  # 20 s for starting
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
    different = differing_files(output / "undisturbed", output / "killed")
    print(f"{len(different)} files differ{': ' if different else ''}{', '.join(different)}")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
