"""Sliding windows from the back of a list (RankGPT, arXiv 2304.09542, section 3.2): each window is permuted in place,
so that what is best in it moves on into the next one, nearer the top.

RankGPT's code stops before a first window that would be cut by the top of the list, and reads nothing of a list that
is shorter than a window. As in RankLLM, the last window here starts at the top, however short it is.
"""

from collections.abc import Sequence


class SlidingWindows:
    """The order of a list of `size` candidates while windows of it are permuted.

        windows = SlidingWindows(100, window=20, step=10)
        while current := windows.current:
            windows.permute(...)  # of the candidates in `current`
        windows.order

    Raises `ValueError` where window and step do not fit: 1 <= step <= window, and a window of 2 or more.
    """

    def __init__(self, size: int, *, window: int, step: int) -> None:
        check_windows(window, step)
        self.order: list[int] = list(range(size))  # candidates by their first-stage positions, best first
        self._step = step
        self._start, self._end = max(0, size - window), size

    @property
    def current(self) -> tuple[int, ...]:
        """The candidates of the window that is to be permuted next, in their present order; none when done."""
        inside = self.order[self._start : self._end]
        return tuple(inside) if len(inside) > 1 else ()  # a single passage has one order

    def permute(self, permutation: Sequence[int]) -> None:
        """Order the current window's candidates by `permutation` (positions in `current`) and go on to the next one.

        Raises `ValueError` if it is no permutation of the window.
        """
        inside = self.current
        if sorted(permutation) != list(range(len(inside))):
            raise ValueError(f"{list(permutation)} is no permutation of a window of {len(inside)}")
        self.order[self._start : self._end] = [inside[position] for position in permutation]
        if self._start == 0:
            self._end = 0  # the top is ordered
        else:
            self._start, self._end = max(0, self._start - self._step), self._end - self._step


def check_windows(window: int, step: int) -> None:
    """Refuse windows that would leave passages out or never move."""
    if window < 2 or not 1 <= step <= window:
        raise ValueError(f"window {window}, step {step}: expected a window of at least 2 and 1 <= step <= window")
