"""Store short texts in a memory-mapped array. An index stores its passage ids and its words in such arrays.

An array consists of two files: the concatenated texts in UTF-8 (`<name>.utf8`) and their start offsets
(`<name>.starts.npy`).
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np

_BLOCK = 4096  # texts read at once during iteration


def write_texts(folder: Path, name: str, texts: Iterable[bytes]) -> int:
    """Write texts to `<name>.utf8` and their start offsets to `<name>.starts.npy`, and return the number of texts.

    `Texts` reads them. The write is not atomic, so the folder, which must exist, should be a temporary one.
    """
    starts = array("q", [0])  # 8 bytes a text
    with (folder / f"{name}.utf8").open("wb") as file:
        for text in texts:
            file.write(text)
            starts.append(starts[-1] + len(text))
    np.save(folder / f"{name}.starts.npy", np.frombuffer(starts, dtype=np.int64))
    return len(starts) - 1


class Texts(Sequence[bytes]):
    """A memory-mapped array that `write_texts` wrote, as a sequence of bytes. If it is sorted, `bisect` searches it."""

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
            raise IndexError(f"index {index}; expected 0 to {len(self) - 1}, the number of texts is {len(self)}")
        return self._utf8[self._starts[index] : self._starts[index + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        for first in range(0, len(self), _BLOCK):
            starts = self._starts[first : first + _BLOCK + 1].tolist()
            block = self._utf8[starts[0] : starts[-1]].tobytes()
            yield from (block[a - starts[0] : b - starts[0]] for a, b in pairwise(starts))
