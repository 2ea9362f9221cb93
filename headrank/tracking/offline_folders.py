"""The folders that W&B keeps for an offline run: one for each start, of which `wandb sync` must see one alone.

`wandb sync` replays every folder that it finds, several of one run at once and in no order, and each overwrites what
another uploaded. So a later start logs everything again, and its folder replaces the earlier ones.
"""

import shutil
from pathlib import Path


class OfflineFolders:
    """The folders of one W&B run.

    current: the folder of this start, which `wandb sync` skips until it `replaces` the others. folder: the run folder.
    """

    def __init__(self, folder: Path, run_id: str, current: Path) -> None:
        self.current = current
        found = (folder / "wandb").glob(f"offline-run-*-{run_id}")
        self.older = [path for path in found if path.resolve() != current.resolve()]
        if self.older:
            _hide(self.current)

    def replace(self) -> None:
        """Have `wandb sync` take this start's folder in place of the older ones."""
        for path in self.older:
            _hide(path)
        if self.older:
            _marker(self.current).unlink(missing_ok=True)

    def remove(self, *, whole: bool) -> None:
        """Delete the older folders if this start's, now closed, is `whole`; otherwise delete this start's, an offline
        folder that holds less than the older ones."""
        if whole:
            for path in self.older:
                shutil.rmtree(path, ignore_errors=True)
        elif self.older and self.current.name.startswith("offline-"):
            shutil.rmtree(self.current, ignore_errors=True)


def _hide(folder: Path) -> None:
    """Mark a folder as one that was uploaded, which `wandb sync` skips."""
    if folder.is_dir():
        _marker(folder).touch()


def _marker(folder: Path) -> Path:
    file = next(iter(folder.glob("*.wandb")), folder / f"run-{folder.name.rsplit('-', 1)[-1]}.wandb")
    return file.with_suffix(".wandb.synced")
