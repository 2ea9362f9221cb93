"""The interface of the report's figures. Importing this module does not import matplotlib."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from headrank.evaluation.run_folder import RunResults

PNG = b"\x89PNG\r\n\x1a\n"


class Drawing(NamedTuple):
    """The output of a figure.

    image: an SVG element as text, or the bytes of an SVG or PNG file.
    caption: one or two sentences on what the figure shows, also used in the alternative text of the image.
    """

    image: str | bytes
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Illustration:
    """A rendered figure.

    name: the name of its file, without suffix.
    title: the heading of its caption.
    caption: one or two sentences on what the figure shows.
    image: the bytes of an SVG or PNG image.

    Raises:
        ValueError: the image is neither SVG nor PNG.
    """

    name: str
    title: str
    caption: str
    image: bytes

    def __post_init__(self) -> None:
        if not self.image.startswith(PNG) and b"<svg" not in self.image[:2000]:
            raise ValueError(f"figure {self.name!r} made {self.image[:40]!r}…, expected an SVG or a PNG image")

    @property
    def ending(self) -> str:
        """The suffix of the image's file: .svg or .png."""
        return ".png" if self.image.startswith(PNG) else ".svg"

    @property
    def alternative(self) -> str:
        """The alternative text of the image."""
        return f"{self.title}: {self.caption}" if self.caption else self.title

    @property
    def address(self) -> str:
        """The image as a data URL for HTML. Inline SVG elements are not used, because their ids would clash."""
        kind = "png" if self.ending == ".png" else "svg+xml"
        return f"data:image/{kind};base64," + base64.b64encode(self.image).decode()


@runtime_checkable
class Figure(Protocol):
    """A figure of the report: any class with these members, from any package (see CONTRIBUTING.md).

    name: the name of the figure's file, without suffix: letters, digits, - and _.
    title: the heading of its caption.
    """

    name: str
    title: str

    def make(self, runs: Sequence[RunResults]) -> Drawing | str | bytes | None:
        """Draw the figure.

        Args:
            runs: the run of the report, then the runs to compare with it (`report.compared_runs`).

        Returns:
            An SVG or PNG image, or a `Drawing` with a caption; None if the runs lack the data.
        """
        ...


def draw_figures(figures: Iterable[Figure], runs: Sequence[RunResults]) -> list[Illustration]:
    """Draw the figures, without those that return None.

    An exception of a figure is raised again, with a note that names the figure.

    Args:
        figures: the figures.
        runs: the run of the report, then the runs to compare with it.
    """
    drawn = []
    for figure in figures:
        try:
            made = figure.make(runs)
            if made is not None:
                image, caption = made if isinstance(made, Drawing) else (made, "")
                content = image if isinstance(image, bytes) else image.encode()
                drawn.append(Illustration(figure.name, figure.title, caption, content))
        except Exception as error:
            error.add_note(f"while drawing the report's figure {figure.name!r}")
            raise
    return drawn
