"""A figure of the report, drawn. Apart from the figures, so that it can be spoken of without importing matplotlib."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from headrank.evaluation.run_folder import RunResults

PNG = b"\x89PNG\r\n\x1a\n"


class Drawing(NamedTuple):
    """What a figure makes: the image (an SVG element as text, or the bytes of an SVG or PNG file) and a caption that
    says in a sentence or two what is seen; it is also the image's text for those who do not see it."""

    image: str | bytes
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Illustration:
    """The name of its file without ending, a title, a caption, and the image's bytes, an SVG's or a PNG's.

    Raises `ValueError` on an image that is neither.
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
        """The file's ending: .svg or .png."""
        return ".png" if self.image.startswith(PNG) else ".svg"

    @property
    def alternative(self) -> str:
        """The text that stands for the image."""
        return f"{self.title}: {self.caption}" if self.caption else self.title

    @property
    def address(self) -> str:
        """The figure as a data address. As an image its ids stay its own; inline, those of several figures clash."""
        kind = "png" if self.ending == ".png" else "svg+xml"
        return f"data:image/{kind};base64," + base64.b64encode(self.image).decode()


@runtime_checkable
class Figure(Protocol):
    """A figure of the report: any class with these, from this package or another (see CONTRIBUTING.md).

    name: of its file, letters, digits, - and _. title: what stands above its caption.
    """

    name: str
    title: str

    def make(self, runs: Sequence[RunResults]) -> Drawing | str | bytes | None:
        """Draw: an SVG or PNG image, with a caption as a `Drawing`; None if the data is not there.

        runs: the report's own run first, then those that are set beside it (`report.beside`).
        """
        ...


def draw_figures(figures: Iterable[Figure], runs: Sequence[RunResults]) -> list[Illustration]:
    """The figures that have something to show. What a figure raises is raised with its name noted."""
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
