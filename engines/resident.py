"""Frames that stay on the GPU from decode to score: reduced where they were decoded, scored where they were reduced.

Their planes come down once, for the health checks, and are read down first: libav waits there for its decoder, so that
they are finished in the GPU's memory too. The small picture is the engine's own memory, so that no surface of the decoder
is held while a batch fills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import av.video.frame
import numpy as np
from av.codec.hwaccel import HWAccel

from engines.decoding import Decoding, shares_memory
from engines.engine import Engine, ResidentEngine
from engines.errors import EngineError
from engines.frames import Frame, Image, Resident
from engines.planar import Layout, layout_of, planar
from engines.reduction import reduced, siting
from engines.scores import Scores

CHECKED_EVERY = 512
"""Pictures of a stream from one that the processor reduces as well to the next; the first is one."""

_ALLOWED_LEVELS, _ALLOWED_SHARE = 1, 0.02
"""By how much, and in what share of its values, a picture may differ from the processor's."""

GPU = "cuda"
_BACK = "pictures are reduced on the processor"


def resident(decoding: Decoding, engine: Engine) -> Decoding:
    """Return ``decoding`` with frames that stay on the GPU, if that is wanted, the GPU decodes and ``engine`` computes there;
    else with the reason why they do not."""
    if decoding.accelerator is None or not decoding.stays:
        return decoding
    if not isinstance(engine, ResidentEngine) or engine.device != GPU:
        return replace(decoding, reason=f"{_BACK}: {engine.name} takes none from the GPU's memory")
    if not shares_memory():
        return replace(decoding, reason=f"{_BACK}: the decoder's memory on the GPU is its own")
    kept = HWAccel(GPU, allow_software_fallback=not decoding.must, is_hw_owned=True)
    return replace(decoding, accelerator=kept, keeper=partial(Keeper, engine))


def score(engine: Engine, frames: Sequence[Frame], images: Sequence[Image]) -> Scores:
    """Score ``images``, those of ``frames`` or what was made of them, from the engine's own memory where they are there."""
    rows: list[Image | Resident] = [
        frame.resident if frame.resident is not None and image is frame.image else image
        for frame, image in zip(frames, images, strict=True)
    ]
    if isinstance(engine, ResidentEngine) and not all(isinstance(row, np.ndarray) for row in rows):
        return engine.score_resident(rows)
    return engine.score(np.stack(images))


class Keeper:
    """Reduces the pictures of one stream in the memory of ``engine``.

    problem: why the processor reduces them instead, in one line; None while it need not."""

    def __init__(self, engine: ResidentEngine) -> None:
        self._engine = engine
        self._layout: Layout | None = None
        self._reduce: Callable[[Sequence[int]], Resident] | None = None
        self._until_check = 0
        self.problem: str | None = None

    def keep(self, picture: av.video.frame.VideoFrame, on_host: av.video.frame.VideoFrame) -> Resident | None:
        """Return ``picture`` at the engine's size; None where the processor must reduce it.

        on_host: the same in the processor's memory. A layout that could not be had is not tried again, a new one is."""
        layout = layout_of(picture)
        if layout is None or (picture.format.name == GPU) != (self._engine.device == GPU):
            self._give_up(None, f"{on_host.format.name} pictures cannot be reduced where they are")
            return None
        try:
            if layout != self._layout:
                self._begin(layout, on_host)
            if self._reduce is None:
                return None
            found = self._reduce([plane.buffer_ptr for plane in picture.planes])
            if self._until_check <= 0:
                self._check(found, on_host)
            self._until_check -= 1
            return found if self._reduce is not None else None
        except EngineError as error:
            self._give_up(layout, error.problem)
            return None

    def _begin(self, layout: Layout, on_host: av.video.frame.VideoFrame) -> None:
        size = self._engine.input_size
        lies = siting(on_host, reduced(on_host, size))
        self._reduce = self._engine.reduction(planar(layout, size, lies))
        self._layout, self._until_check, self.problem = layout, 0, None

    def _check(self, found: Resident, on_host: av.video.frame.VideoFrame) -> None:
        self._until_check = CHECKED_EVERY
        apart = np.abs(found.image.astype(int) - reduced(on_host, self._engine.input_size))
        if apart.max() > _ALLOWED_LEVELS or np.mean(apart > 0) > _ALLOWED_SHARE:
            self._give_up(self._layout, f"those of the GPU differ by up to {apart.max()} grey levels")

    def _give_up(self, layout: Layout | None, problem: str) -> None:
        self._layout, self._reduce, self.problem = layout, None, f"{_BACK}: {problem}"
