"""A figure of the report, drawn. Apart from figures.py, so that it can be spoken of without importing matplotlib."""

import base64
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Illustration:
    """The name of its file without ending, a title, a caption in a sentence or two, and the SVG element as text."""

    name: str
    title: str
    caption: str
    svg: str

    @property
    def address(self) -> str:
        """The figure as a data address. As an image its ids stay its own; inline, those of several figures clash."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()
