"""Write pictures as a video file that is whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av

from engines.errors import InputError, OutputError
from engines.frames import Image

FORMATS = {".mp4": ("mp4", 90_000), ".mkv": ("matroska", 1000), ".mov": ("mov", 90_000)}
"""Container by suffix, and the ticks a second in which free times are written: Matroska knows but milliseconds."""

_TREE_ROW = 8 * 16
"""Where a row is no multiple of eight macroblocks of 16 pixels, x264's macroblock tree reads memory that nobody has written
(with AVX-512): the same pictures would make another file each time. There it is left out."""


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
    """The same for (time_s, image) pairs, each shown at its own time.

    Times must rise. They are kept to 1/90000 s, in Matroska to a millisecond; where two fall on one tick, the later
    one comes on the next. fps is only what they are expected to be like: it spaces key frames and guides the encoder.
    """
    rate = Fraction(fps).limit_denominator(1001)
    target = Path(path)
    check_format(target)
    clock_hz = FORMATS[target.suffix.lower()][1]
    return _write(target, _ticks(frames, clock_hz), Fraction(1, clock_hz), rate, crf)


def _ticks(frames: Iterable[tuple[float, Image]], clock_hz: int) -> Iterator[tuple[int, Image]]:
    last = -1
    for time_s, image in frames:
        last = max(round(time_s * clock_hz), last + 1)
        yield last, image


def _write(
    target: Path, frames: Iterable[tuple[int, Image]], tick: Fraction, rate: Fraction, crf: int
) -> int:
    check_format(target)
    partial = target.with_name(f".{target.name}.part")
    try:
        count = _encode(partial, FORMATS[target.suffix.lower()][0], frames, tick, rate, crf)
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
                if width % _TREE_ROW:
                    stream.codec_context.options = {**stream.codec_context.options, "x264-params": "mbtree=0"}
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
