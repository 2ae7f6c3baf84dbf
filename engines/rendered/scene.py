"""What a scene is: something behind everything, things at depths, and things that run all along the road."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from engines.frames import Image
from engines.rendered.view import View

Brush = Callable[[Image], None]
Item = tuple[float, Brush]


class Scene(Protocol):
    """One kind of surroundings. All methods paint on the canvas in place."""

    def backdrop(self, canvas: Image, view: View) -> None:
        """Paint every pixel: sky and far land, the ground."""

    def items(self, view: View) -> list[Item]:
        """Return (depth, brush) of each thing that stands at a depth, traffic included."""
        ...

    def traffic(self, view: View) -> list[Item]:
        """Return the same of the vehicles alone."""
        ...

    def rails(self, canvas: Image, view: View) -> None:
        """Paint what runs along the whole road."""
