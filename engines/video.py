"""Write pictures as a video file that is whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av

from engines.errors import InputError, OutputError
from engines.frames import Image

FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
CLOCK_HZ = 90_000
"""Ticks a second in which free times are written: the clock of MPEG and of RTP."""


def write_video(path: str | os.PathLike[str], frames: Iterable[Image], fps: float, crf: int = 20) -> int:
    """Write H × W × 3 uint8 RGB frames as H.264 (yuv420p, a key frame each second); return how many were
    written.

    The file appears under its name only when it is whole. Odd sizes lose their last row or column, since the
    colour of H.264 has half the resolution. Raises OutputError where the file cannot be written, InputError
    for no frames, or frames of unequal size.
    """
    rate = Fraction(fps).limit_denominator(1001)
    return _write(Path(path), enumerate(frames), 1 / rate, rate, crf)


def write_timed(
    path: str | os.PathLike[str], frames: Iterable[tuple[float, Image]], fps: float, crf: int = 20
) -> int:
    """The same for (time_s, image) pairs, each shown at its own time, to 1/90000 s.

    Times must rise. fps is only what they are expected to be like: it spaces key frames and guides the encoder.
    """
    rate = Fraction(fps).limit_denominator(1001)
    return _write(Path(path), _ticks(frames), Fraction(1, CLOCK_HZ), rate, crf)


def _ticks(frames: Iterable[tuple[float, Image]]) -> Iterator[tuple[int, Image]]:
    last = -1
    for time_s, image in frames:
        last = max(round(time_s * CLOCK_HZ), last + 1)
        yield last, image


def _write(
    target: Path, frames: Iterable[tuple[int, Image]], tick: Fraction, rate: Fraction, crf: int
) -> int:
    check_format(target)
    partial = target.with_name(f".{target.name}.part")
    try:
        count = _encode(partial, FORMATS[target.suffix.lower()], frames, tick, rate, crf)
        partial.replace(target)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            target, f"must be writable, but: {reason}", "choose another folder or name"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return count


def check_format(path: Path) -> None:
    """Raise OutputError unless the name says a format that can be written."""
    if path.suffix.lower() not in FORMATS:
        raise OutputError(path, f"must end in {', '.join(FORMATS)}, not {path.suffix or 'nothing'}")


def _encode(
    partial: Path, form: str, frames: Iterable[tuple[int, Image]], tick: Fraction, rate: Fraction, crf: int
) -> int:
    count = 0
    with av.open(str(partial), "w", format=form) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = tick
        stream.gop_size = max(1, round(rate))
        for pts, image in frames:
            height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
            if count == 0:
                stream.width, stream.height = width, height
            elif (stream.width, stream.height) != (width, height):
                raise InputError(
                    f"frame {count}", f"must be {stream.width}x{stream.height}, is {width}x{height}"
                )
            frame = av.VideoFrame.from_ndarray(image[:height, :width], format="rgb24")
            frame.pts, frame.time_base = pts, tick
            container.mux(stream.encode(frame))
            count += 1
        if count == 0:
            raise InputError("video", "must have a frame, has none")
        container.mux(stream.encode())
    return count
