"""Sliding windows from the end of a candidate list to its start (RankGPT, arXiv 2304.09542, section 3.2).

Each window is permuted in place, so its best passages are also in the next window. RankGPT's code skips the last window
if it does not fit, and does not read a list shorter than a window. Here, as in RankLLM, the last window starts at the
first passage of the list and can be shorter.
"""

from collections.abc import Sequence


class SlidingWindows:
    """The order of a list's candidates while its windows are permuted.

        windows = SlidingWindows(100, window=20, step=10)
        while current := windows.current:
            windows.permute(...)  # a permutation of the candidates in `current`
        windows.order

    Args:
        size: the number of candidates.
        window: the number of candidates in a window.
        step: the number of positions by which the window moves.

    Raises `ValueError` unless window >= 2 and 1 <= step <= window.
    """

    def __init__(self, size: int, *, window: int, step: int) -> None:
        check_windows(window, step)
        self.order: list[int] = list(range(size))  # candidates by their first-stage positions, best first
        self._step = step
        self._start, self._end = max(0, size - window), size

    @property
    def current(self) -> tuple[int, ...]:
        """The candidates (first-stage positions) of the next window, in their present order; empty when done."""
        inside = self.order[self._start : self._end]
        return tuple(inside) if len(inside) > 1 else ()  # a single passage has one order

    def permute(self, permutation: Sequence[int]) -> None:
        """Reorder the current window and move to the next window.

        permutation: positions in `current`, from 0, best candidate first.

        Raises `ValueError` if it is not a permutation of the window.
        """
        inside = self.current
        if sorted(permutation) != list(range(len(inside))):
            raise ValueError(f"expected a permutation of {len(inside)} positions, found {list(permutation)}")
        self.order[self._start : self._end] = [inside[position] for position in permutation]
        if self._start == 0:
            self._end = 0  # the top is ordered
        else:
            self._start, self._end = max(0, self._start - self._step), self._end - self._step


def check_windows(window: int, step: int) -> None:
    """Raise `ValueError` for a window or step that would skip passages or never move."""
    if window < 2 or not 1 <= step <= window:
        raise ValueError(f"window {window}, step {step}: expected a window of at least 2 and 1 <= step <= window")
