"""What a figure is, and how a list of them is drawn."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from headrank.evaluation.report.figures.rendered_figure import Drawing, Illustration
from headrank.evaluation.run_folder import RunResults


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


def draw(figures: Iterable[Figure], runs: Sequence[RunResults]) -> list[Illustration]:
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
