"""What of a run folder is in its W&B run already: `tracking.json`, so that a resumed run logs nothing twice."""

import json
import uuid
from pathlib import Path
from typing import Any

from headrank.files import atomic_write

NAME = "tracking.json"


class Ledger:
    """The W&B run that a folder belongs to, and what was logged to it.

    A run is one configuration in one project: with another the ledger begins anew, under a new run id. Killed between
    logging and writing, a run logs an epoch again, at the same step, which W&B refuses when online.
    """

    def __init__(self, path: Path, configuration: str) -> None:
        self.path = path
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if content.get("configuration") != configuration:
            content = {"run_id": uuid.uuid4().hex[:12], "configuration": configuration}
        self.configuration = configuration
        self.run_id: str = content["run_id"]
        self.epochs: int = content.get("epochs", 0)  # how many are logged
        self.step: int = content.get("step", 0)  # of the next row of history, where W&B does not know better
        self.results: str | None = content.get("results")  # the key of the results that are logged
        self.files: dict[str, str] = content.get("files", {})  # artifact -> digest
        self.save()

    def save(self) -> None:
        """Write the file, atomically."""
        with atomic_write(self.path) as file:
            content = {
                "run_id": self.run_id,
                "configuration": self.configuration,
                "epochs": self.epochs,
                "step": self.step,
                "results": self.results,
                "files": self.files,
            }
            json.dump(content, file, indent=1)
            file.write("\n")
