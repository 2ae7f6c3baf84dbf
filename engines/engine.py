"""What every engine can do, the frames it must refuse, and how it takes more frames than fit at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import onnx
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.frames import Image, Resident
from engines.scores import Features, Scores

Arrays: TypeAlias = tuple[NDArray[np.float32], ...]
Rows = TypeVar("Rows", Image, list[Any])
"""Frames in one array, or one by one."""


class Precision(StrEnum):
    """What an engine computes the encoder in. Everything behind the encoder is float32 or wider in all of them."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


class Engine(Protocol):
    """A fused graph that is ready to run; every backend has one. ``engines.opening.open_engine`` returns it.

    Calls from several threads are safe, and run one after another where the library demands it."""

    @property
    def name(self) -> str:
        """The backend, a name of ``engines.backends.BACKENDS``."""

    @property
    def precision(self) -> Precision:
        """Of the encoder."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of frames in pixels."""

    def score(self, images: Image) -> Scores:
        """Score any number of uint8 N×H×W×3 RGB frames; other shapes or types raise EngineError. The images are
        only read, and the arrays that come back are the caller's own."""

    def features(self, images: Image) -> Features:
        """What the encoder says of the frames, before any density."""

    def bare(self, images: Image) -> Callable[[], object]:
        """The library's own call on ``images`` (contiguous, no more than fit at once) without anything that ``score``
        adds, for ``sightline bench`` to compare with."""

    def close(self) -> None:
        """Give back memory and handles now; idempotent. An engine that was closed cannot score."""


@runtime_checkable
class ResidentEngine(Engine, Protocol):
    """An engine that reduces decoded pictures, and scores them, in the memory in which they were decoded."""

    @property
    def device(self) -> str:
        """Whose memory: ``cuda`` or ``cpu``."""

    def reduction(self, graph: onnx.ModelProto) -> Callable[[Sequence[int]], Resident]:
        """Make a graph of ``engines.planar`` ready to run on planes, given by where they begin in that memory; they are
        no longer needed once it returned."""

    def score_resident(self, pictures: Sequence[Image | Resident]) -> Scores:
        """``score`` of pictures of which some are in that memory, from ``reduction``; the others are H×W×3."""


class Library(Protocol):
    """One inference library for one kind of processor. Every backend's module has a function ``library(name)`` that
    returns it; a package that is not installed raises ImportError, a processor that is not there EngineError."""

    def version(self) -> str:
        """Of the library."""

    def target(self) -> str:
        """What an engine is built for: the processor, in a few words. Never needs a GPU to be there."""

    def build(self, graph: onnx.ModelProto, precision: Precision) -> bytes:
        """Compile a fused graph; what it cannot hold raises EngineError with the node and its operator."""

    def load(self, built: bytes, precision: Precision) -> Engine:
        """Make what ``build`` returned ready to run; what is damaged or foreign raises EngineError."""


class OutOfMemoryError(EngineError):
    """The device has no room for a batch; fewer frames at once may fit."""


class Batches:
    """Hands frames to a library no more at once than it can take.

    most: the largest batch, None for any. After an OutOfMemoryError a batch is halved, and stays so."""

    def __init__(self, most: int | None = None) -> None:
        self.most = most

    def run(self, call: Callable[[Rows], Arrays], images: Rows) -> Arrays:
        """Return what ``call`` returns for ``images``, joined along the frames; a single frame that does not fit raises
        EngineError."""
        if self.most is None or len(images) <= self.most:
            try:
                return call(images)
            except OutOfMemoryError as error:
                if len(images) == 1:
                    raise EngineError(
                        error.where, f"{error.problem}, not even for a single frame", "free memory on it"
                    ) from error
                self.most = (len(images) + 1) // 2
        parts, start = [], 0
        while start < len(images):
            most = self.most
            parts.append(self.run(call, images[start : start + most]))
            start += most
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def checked(images: Image, input_size: tuple[int, int]) -> Image:
    """Return ``images``, contiguous (copied only if they are not); what no engine may score raises EngineError."""
    height, width = input_size
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (height, width, 3):
        raise EngineError(
            "images",
            f"must be uint8 N×{height}×{width}×3, got {images.dtype} {'×'.join(map(str, images.shape))}",
            "resize them",
        )
    if not len(images):
        raise EngineError("images", "must hold at least one frame, got 0", "skip empty batches")
    return np.ascontiguousarray(images)
