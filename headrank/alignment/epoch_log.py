"""The record of an alignment, `epochs.csv`: one row an epoch, as plain numbers. Needs no Lightning to be read."""

import csv
from pathlib import Path


def read_record(path: Path) -> list[dict[str, float | int]]:
    """The rows of an epoch record, `epoch` (from 0) and what was logged by name; none if the file is not there.

    A value that an epoch lacks (heads are not selected again after each) is absent from its row.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row | {"epoch": int(row["epoch"])} for row in rows]
