"""Read the epoch log of an alignment, `training/epochs.csv`, which has one row of numbers per epoch."""

import csv
from pathlib import Path


def read_epoch_log(path: Path) -> list[dict[str, float | int]]:
    """Read the rows of an epoch log.

    Args:
        path: the CSV file; it need not exist.

    Returns:
        One dict per epoch: `epoch` (from 0) and each logged value by name. A value that was not logged in an epoch is
        absent from its row. Empty if the file does not exist.

    Raises:
        ValueError, KeyError, TypeError, csv.Error: the file is damaged.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row | {"epoch": int(row["epoch"])} for row in rows]
