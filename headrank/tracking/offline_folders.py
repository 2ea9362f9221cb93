"""Manage the folders that W&B keeps for an offline run, so that `wandb sync` uploads only one of them.

W&B writes a new folder each time that the run starts or resumes. `wandb sync` uploads every folder it finds, in
arbitrary order, and folders of the same run overwrite each other. So a resumed run logs everything again, and the
newest folder replaces the older ones.
"""

import shutil
from pathlib import Path


class OfflineFolders:
    """The offline folders of one W&B run, of which `wandb sync` must upload only one.

    Args:
        folder: the run folder.
        run_id: the id of the W&B run.
        current: the newest folder, which W&B writes at present. If older ones exist, it is marked as uploaded, so that
            `wandb sync` ignores it until `replace` is called.
    """

    def __init__(self, folder: Path, run_id: str, current: Path) -> None:
        self.current = current
        found = (folder / "wandb").glob(f"offline-run-*-{run_id}")
        self.older = [path for path in found if path.resolve() != current.resolve()]
        if self.older:
            _hide(self.current)

    def replace(self) -> None:
        """Make `wandb sync` upload the newest folder and ignore the older ones."""
        for path in self.older:
            _hide(path)
        if self.older:
            _marker(self.current).unlink(missing_ok=True)

    def remove(self, *, complete: bool) -> None:
        """Delete the folders that are no longer needed. Call this method after W&B has closed the newest folder.

        Args:
            complete: whether the newest folder holds at least as much as the older ones. True: delete the older
                folders. False: delete the newest folder, if there are older ones.
        """
        if complete:
            for path in self.older:
                shutil.rmtree(path, ignore_errors=True)
        elif self.older and self.current.name.startswith("offline-"):
            shutil.rmtree(self.current, ignore_errors=True)


def _hide(folder: Path) -> None:
    """Mark a folder as uploaded, so that `wandb sync` skips it."""
    if folder.is_dir():
        _marker(folder).touch()


def _marker(folder: Path) -> Path:
    file = next(iter(folder.glob("*.wandb")), folder / f"run-{folder.name.rsplit('-', 1)[-1]}.wandb")
    return file.with_suffix(".wandb.synced")
