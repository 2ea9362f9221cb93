"""Stand-ins of collections and of the hub for a test, and the environment in which a process uses nothing else."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
_NO_NETWORK = "http://127.0.0.1:9"  # nothing listens on the discard port: a download fails at once


def stand_in_home(folder: Path, *, queries: int, seed: int = 0) -> Path:
    """`folder`, filled by `scripts/make_stand_ins.py`."""
    command = [sys.executable, ROOT / "scripts/make_stand_ins.py", folder, f"--queries={queries}", f"--seed={seed}"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder


def hub_requests(folder: Path) -> int:
    """How many requests the hub with its models in `folder` has had."""
    return (folder.parent / "hub.log").read_text().count(' HTTP/1.1" ')


@contextmanager
def hub(folder: Path) -> Iterator[str]:
    """The endpoint of `scripts/stand_in_hub.py`, which runs until the block ends and keeps its models in `folder`."""
    with (folder.parent / "hub.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, ROOT / "scripts/stand_in_hub.py", folder], stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    try:
        endpoint = next((line for line in process.stdout if line.startswith("HF_ENDPOINT=")), None)
        assert endpoint is not None, (folder.parent / "hub.log").read_text()
        yield endpoint.strip().removeprefix("HF_ENDPOINT=")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def rehearsal_environment(home: Path, *, endpoint: str = _NO_NETWORK, hf_home: Path | None = None) -> dict[str, str]:
    """Environment variables of a process that reads collections from `home`, models from `endpoint`, and no network."""
    offline = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")  # set for the tests; here the hub is the stand-in
    return {name: value for name, value in os.environ.items() if name not in offline} | {
        "IR_DATASETS_HOME": str(home),
        "IR_DATASETS_SKIP_DISK_FREE": "true",
        "IR_DATASETS_DL_TRIES": "1",
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(hf_home or home / "hf"),
        "HTTPS_PROXY": _NO_NETWORK,
        "HTTP_PROXY": _NO_NETWORK,
        "NO_PROXY": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
