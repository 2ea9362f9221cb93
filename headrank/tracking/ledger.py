"""Record in `tracking.json` what was logged to the W&B run of a run folder, so a resumed run logs nothing twice."""

import json
import uuid
from pathlib import Path
from typing import Any

from headrank.io.files import atomic_write

NAME = "tracking.json"


class Ledger:
    """The id of a run folder's W&B run, and a record of what was logged to it.

    A start is one execution of the run; a resumed run has several starts. In offline mode W&B writes a separate folder
    for each start. So if the present start or the one before it is offline, the present start logs everything again.
    `tracking.json` is then not written until the present start has logged as much as the one before (`complete`).

    A run that is killed between logging an epoch and saving the ledger logs that epoch again at the same step; W&B
    ignores the duplicate when online.

    Args:
        path: `tracking.json` in the run folder.
        configuration: a hash of the configuration. If the file holds another one, a new W&B run is started.
        offline: whether the present start is offline.
    """

    def __init__(self, path: Path, configuration: str, *, offline: bool = False) -> None:
        self.path = path
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if content.get("configuration") != configuration:
            content = {"run_id": uuid.uuid4().hex[:12], "configuration": configuration}
        self.configuration, self.offline = configuration, offline
        self.run_id: str = content["run_id"]
        again = offline or content.get("offline", False)
        self.earlier: dict[str, Any] = content if again else {}
        if again:
            content = {}
        self.epochs: int = content.get("epochs", 0)  # number of epochs logged
        self.step: int = content.get("step", 0)  # of the next history row, unless W&B has a later one
        self.results: str | None = content.get("results")  # key of the logged results
        self.files: dict[str, str] = content.get("files", {})  # artifact -> digest
        self.save()

    @property
    def complete(self) -> bool:
        """Whether the present start has logged at least as much as the one before; uploads of models do not count.

        Always true for the first start, or if neither start is offline.
        """
        earlier = self.earlier
        files = {name for name in earlier.get("files", {}) if not name.startswith("model-")}
        return (
            self.epochs >= earlier.get("epochs", 0)
            and files <= self.files.keys()
            and (self.results is not None or earlier.get("results") is None)
        )

    def save(self) -> None:
        """Write `tracking.json` atomically if `complete` is true; otherwise do nothing."""
        if not self.complete:
            return
        with atomic_write(self.path) as file:
            content = {
                "run_id": self.run_id,
                "configuration": self.configuration,
                "offline": self.offline,
                "epochs": self.epochs,
                "step": self.step,
                "results": self.results,
                "files": self.files,
            }
            json.dump(content, file, indent=1)
            file.write("\n")
