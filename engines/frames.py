"""The frame: one picture of one stream, as every other part of the system sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]


class Resident(Protocol):
    """A picture in the memory of the engine that reduced it and will score it."""

    @property
    def image(self) -> Image:
        """Its copy in the processor's memory, uint8 H×W×3."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture.

    stream: name of the camera or recording it belongs to.
    index: position in the stream, from 0, counted in decoded frames.
    time_s: media time in seconds from the stream's first frame (exact presentation time for recordings).
    arrival_s: monotonic clock when the picture was decoded; never used in a decision.
    image: uint8, height × width × 3, RGB, already at the model's input size.
    luma: uint8, the luma plane at the camera's own resolution; a read-only view into the decoder's buffer.
    key: true where the encoded stream could be entered at this frame.
    chroma: Cb and Cr, uint8 with 128 for no colour, at the resolution they were coded in, often half of luma's;
    read-only views, None where the picture has no colour.
    damaged: true where the decoder says that it had to repair the picture, or packets before it were lost.
    mistimed: true where its time stamp was absent, repeated or ran backwards, so that ``time_s`` is made up.
    late_s: by how much it was held up on its way, judged by its time stamp; 0 for recordings.
    resident: ``image`` where the engine computes, if it was reduced there; see ``engines.resident``.
    """

    stream: str
    index: int
    time_s: float
    arrival_s: float
    image: Image
    luma: Image
    key: bool = False
    chroma: tuple[Image, Image] | None = None
    damaged: bool = False
    mistimed: bool = False
    late_s: float = 0.0
    resident: Resident | None = None
