"""What every engine can do, and the frames it must refuse."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import numpy as np

from engines.errors import EngineError
from engines.frames import Image
from engines.scores import Features, Scores


class Precision(StrEnum):
    """What an engine computes the encoder in. Everything behind the encoder is float32 or wider in all of them."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


class Engine(Protocol):
    """A fused graph that is ready to run; every backend has one. ``engines.backends.open_engine`` returns it.

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

    def close(self) -> None:
        """Give back memory and handles now; idempotent. An engine that was closed cannot score."""


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
