"""Write pictures as a video file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av

from engines.errors import InputError, OutputError
from engines.frames import Image


def write_video(path: str | os.PathLike[str], frames: Iterable[Image], fps: float, crf: int = 20) -> int:
    """Write H × W × 3 uint8 RGB frames as H.264 (yuv420p, a key frame each second); return how many were
    written.

    The file appears under its name only when it is whole. Odd sizes lose their last row or column, since the
    colour of H.264 has half the resolution. Raises OutputError where the file cannot be written, InputError
    for no frames, or frames of unequal size.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.part")
    try:
        count = _encode(partial, target.suffix, frames, fps, crf)
        partial.replace(target)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(
            target, f"must be writable, but: {reason}", "choose another folder or name"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return count


def _encode(partial: Path, suffix: str, frames: Iterable[Image], fps: float, crf: int) -> int:
    rate = Fraction(fps).limit_denominator(1001)
    forms = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
    if suffix.lower() not in forms:
        raise OutputError(partial.name[1:-5], f"must end in {', '.join(forms)}, not {suffix or 'nothing'}")
    count = 0
    with av.open(str(partial), "w", format=forms[suffix.lower()]) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        stream.gop_size = max(1, round(fps))
        for image in frames:
            height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
            if count == 0:
                stream.width, stream.height = width, height
            elif (stream.width, stream.height) != (width, height):
                raise InputError(
                    f"frame {count}", f"must be {stream.width}x{stream.height}, is {width}x{height}"
                )
            frame = av.VideoFrame.from_ndarray(image[:height, :width], format="rgb24")
            frame.pts, frame.time_base = count, 1 / rate
            container.mux(stream.encode(frame))
            count += 1
        if count == 0:
            raise InputError("video", "must have a frame, has none")
        container.mux(stream.encode())
    return count
