"""Where video is decoded: on the processor, or by a GPU's own decoder (NVDEC, through libav).

Pictures come to the processor's memory either way, since the health checks look at luma and chroma at the camera's own
resolution there; ``engines.resident`` keeps them in the GPU's as well. H.264, HEVC, VP9 and AV1 prescribe every bit of a
decoded picture, and ``engines.footage`` makes the same Frame of the GPU's layout (nv12) as of the processor's (yuv420p),
so that scores do not depend on it. libav decodes on the GPU what the GPU has a decoder for; the rest stays on the
processor under ``auto``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

import av
import av.video.frame
from av.codec import Codec
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from engines.errors import EngineError, first_line

if TYPE_CHECKING:
    from engines.resident import Keeper

LEAST_PYAV = (18, 1)
"""Before, pictures from a GPU lost their colour tags, and with them their colours (PyAV issue 2231)."""

_PROBE = "h264"
"""What every decoder of NVIDIA's can decode."""


class Decode(StrEnum):
    """Where to decode. AUTO: on the GPU where that is possible. CUDA: there or not at all. RESIDENT: the same, and frames
    are to stay there until they are scored."""

    CPU = "cpu"
    AUTO = "auto"
    CUDA = "cuda"
    RESIDENT = "resident"


class CannotDecodeError(ValueError):
    """The GPU has no decoder for any video in a file or stream that must be decoded on it."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """What was settled. accelerator: for libav; None for the processor. must: whether the processor may not step in.
    stays: whether frames are to stay on the GPU. reason: why something is done on the processor although the GPU was asked
    for, in a few words. keeper: makes what keeps the frames of one stream on the GPU; None where they come back."""

    accelerator: HWAccel | None = None
    must: bool = False
    stays: bool = False
    reason: str = ""
    keeper: Callable[[], Keeper | None] = lambda: None

    def open(self, file: str, **options: Any) -> InputContainer:
        """Open ``file`` as ``av.open`` does, with the same errors, and CannotDecodeError."""
        try:
            container: InputContainer = av.open(file, hwaccel=self.accelerator, **options)
        except av.FFmpegError:
            raise
        except RuntimeError as error:
            raise CannotDecodeError("must be video that the GPU has a decoder for, is none") from error
        return container

    def fallback(self, container: InputContainer) -> str | None:
        """Say that the video of ``container`` is decoded on the processor although it might have been on the GPU."""
        context = container.streams.video[0].codec_context
        if self.accelerator is None or context.is_hwaccel:
            return None
        return f"decoded on the processor: the GPU has no decoder for {context.name}"


ON_PROCESSOR = Decoding()


def decoding(wanted: Decode) -> Decoding:
    """Settle where to decode; CUDA where that is impossible raises EngineError. A GPU is only looked for when asked."""
    if wanted == Decode.CPU:
        return ON_PROCESSOR
    _, problem = _device()
    must = wanted != Decode.AUTO
    if not problem:
        accelerator = HWAccel("cuda", allow_software_fallback=not must)
        return Decoding(accelerator, must, stays=wanted == Decode.RESIDENT)
    if must:
        raise EngineError(
            f"decode {wanted}", f"must find a GPU that decodes, but {problem}", "use auto or cpu"
        )
    return Decoding(reason=f"decoding on the processor: {problem}")


def shares_memory() -> bool:
    """Whether other libraries can read what the GPU decoded."""
    device, _ = _device()
    return device is not None and device.is_hw_owned


def on_host(picture: av.video.frame.VideoFrame) -> av.video.frame.VideoFrame:
    """Return ``picture`` in the processor's memory, itself if it is there. Waits until the GPU has decoded it."""
    if picture.sw_format is None:
        return picture
    return picture.reformat(format=picture.sw_format.name)


@cache
def _device() -> tuple[HWAccel | None, str]:
    """A device that decodes, kept for the life of the process, and why there is none; looked up once.

    It is of the GPU's primary context if it can be, which CUDA's other users share: libav takes that only from before
    they began, with its own flags."""
    found = tuple(int(part) for part in av.__version__.split(".")[:2] if part.isdigit())
    if found < LEAST_PYAV:
        return None, f"PyAV {av.__version__} loses colours there (18.1 does not)"
    for shared in (True, False):
        try:
            return HWAccel("cuda", is_hw_owned=shared).create(Codec(_PROBE, "r")), ""
        except NotImplementedError:
            return None, "this build of libav was made without it"
        except av.FFmpegError as error:
            # libav says no more than "operation not permitted" where the driver's library is missing.
            reason = error.strerror or first_line(error)
    return None, f"no CUDA device can be opened ({reason}; is its driver there?)"
