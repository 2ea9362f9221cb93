"""Many short texts on disk, read by number without being held in memory: passage ids and words of an index.

Two files: all texts in UTF-8, one after the other (`<name>.utf8`), and where each begins (`<name>.starts.npy`).
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np

_BLOCK = 4096  # texts decoded at once while iterating


def write_texts(folder: Path, name: str, texts: Iterable[bytes]) -> int:
    """Write the texts into an existing folder as they come; how many they were. Not atomic: for a folder that is."""
    starts = array("q", [0])  # 8 bytes a text
    with (folder / f"{name}.utf8").open("wb") as file:
        for text in texts:
            file.write(text)
            starts.append(starts[-1] + len(text))
    np.save(folder / f"{name}.starts.npy", np.frombuffer(starts, dtype=np.int64))
    return len(starts) - 1


class Texts(Sequence[bytes]):
    """What `write_texts` wrote, mapped into memory. Sorted texts can be searched with `bisect`."""

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / f"{name}.utf8"
        self._starts = np.load(folder / f"{name}.starts.npy", mmap_mode="r")
        # an empty file cannot be mapped
        self._utf8 = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.empty(0, np.uint8)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        return self._utf8[self._starts[index] : self._starts[index + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        for first in range(0, len(self), _BLOCK):
            starts = self._starts[first : first + _BLOCK + 1].tolist()
            block = self._utf8[starts[0] : starts[-1]].tobytes()
            yield from (block[a - starts[0] : b - starts[0]] for a, b in pairwise(starts))
