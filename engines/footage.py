"""Recorded footage: from PATHs to drives, from drives to frames.

A PATH is a video file, a folder of images (one drive, sorted by name), or a folder of such, at any depth. The
drive is the unit of every split and every statistic. Pictures are reduced in the decoder's own scaler, in the
pass that converts them."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import av
import av.error
import av.video.frame
import cv2
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from engines.decoding import ON_PROCESSOR, CannotDecodeError, Decoding, on_host
from engines.errors import InputError
from engines.frames import Frame, Image
from engines.planes import planes, rgb_planes
from engines.reduction import reduced, reduced_rgb

if TYPE_CHECKING:
    from engines.resident import Keeper

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mkv", ".avi", ".mov", ".m4v", ".ts", ".mpg", ".mpeg", ".webm", ".h264", ".hevc"}
)
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
IMAGES_PER_SECOND = 10.0
"""Rate at which a folder of images is played, for want of times: stated, never guessed from the content."""

_FINGERPRINT_BYTES, _FINGERPRINT_BYTES_OF_AN_IMAGE = 1 << 20, 1 << 12


@dataclass(frozen=True, slots=True)
class Drive:
    """One recording: a video file (``files`` empty), or a folder of images sorted by name."""

    name: str
    path: Path
    files: tuple[Path, ...] = ()

    @property
    def is_video(self) -> bool:
        return not self.files

    @property
    def reads(self) -> tuple[Path, ...]:
        """The files that hold it."""
        return self.files or (self.path,)


def find_drives(paths: Iterable[Path | str]) -> list[Drive]:
    """Return every drive below ``paths`` with names unique among them; an unreadable or empty path raises
    InputError."""
    drives: list[Drive] = []
    for path in map(Path, paths):
        if not path.exists():
            raise InputError(
                path,
                "must be a video, a folder of images or a folder of such; it does not exist",
                "check the path",
            )
        found = list(_walk(path))
        if not found:
            raise InputError(
                path,
                "must hold videos or images; none was found in it",
                f"known videos: {_known(VIDEO_SUFFIXES)}",
            )
        drives += [d for d in found if d.path not in {known.path for known in drives}]
    return _uniquely_named(drives)


def _known(suffixes: frozenset[str]) -> str:
    return " ".join(sorted(suffixes))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort key by which frame_9 comes before frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _walk(path: Path) -> Iterator[Drive]:
    if path.is_file():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            yield Drive(path.stem, path, (path,))
        else:
            yield Drive(path.stem, path)
        return
    children = sorted((p for p in path.iterdir() if not p.name.startswith(".")), key=_natural)
    images = tuple(p for p in children if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if images:
        yield Drive(path.name, path, images)
    for child in children:
        if child.is_dir() or child.suffix.lower() in VIDEO_SUFFIXES:
            yield from _walk(child)


def _uniquely_named(drives: list[Drive]) -> list[Drive]:
    names = [d.name for d in drives]
    return [
        d if names.count(d.name) == 1 else Drive(f"{d.path.parent.name}/{d.name}", d.path, d.files)
        for d in drives
    ]


def fingerprint(drive: Drive) -> str:
    """Identity of a drive's content, whatever it is called and wherever it lies: the sha256 of the size and first
    MiB of a video, or of the names, sizes and first 4 KiB of a folder's images."""
    digest = hashlib.sha256()
    most = _FINGERPRINT_BYTES if drive.is_video else _FINGERPRINT_BYTES_OF_AN_IMAGE
    for file in drive.files or (drive.path,):
        name = "" if drive.is_video else file.name
        try:
            digest.update(f"{name} {file.stat().st_size}\n".encode("utf-8", "replace"))
            with file.open("rb") as opened:
                digest.update(opened.read(most))
        except OSError as error:
            raise InputError(
                file, f"must be a file that can be read: {error.strerror}", "check the file or leave it out"
            ) from error
    return digest.hexdigest()


class Recording:
    """The frames of one drive, reduced to ``size`` (height, width), every one of them in order.

    Iterating yields Frames with strictly increasing ``time_s``. ``every_s`` keeps only the first frame of
    each such interval. decoding: of a video, see ``engines.decoding``. After iteration ``notes`` tells what was
    damaged (a truncated file, unreadable images) and ``frames`` how many were read."""

    def __init__(
        self,
        drive: Drive,
        size: tuple[int, int],
        *,
        every_s: float = 0.0,
        images_per_second: float | None = None,
        decoding: Decoding = ON_PROCESSOR,
    ) -> None:
        self.drive, self.size, self.every_s, self.decoding = drive, size, every_s, decoding
        self.images_per_second = images_per_second or IMAGES_PER_SECOND
        self.notes: list[str] = []
        self.frames = 0

    def __iter__(self) -> Iterator[Frame]:
        self.notes, self.frames = [], 0
        yield from at_most(self._counted(), self.every_s)
        if not self.frames:
            raise InputError(
                self.drive.path,
                "must hold at least one readable frame; none could be decoded",
                "check the file",
            )

    def _counted(self) -> Iterator[Frame]:
        for frame in self._video() if self.drive.is_video else self._images():
            self.frames += 1
            yield frame

    @property
    def expected_frames(self) -> int:
        """How many frames the file says it holds; 0 where it does not say. For progress bars only."""
        if not self.drive.is_video:
            return len(self.drive.files)
        with _opened(self.drive.path) as container:
            stream = container.streams.video[0]
            if stream.frames:
                return int(stream.frames)
            seconds = float(container.duration or 0) / 1e6
            return int(seconds * float(stream.average_rate or 0))

    def _video(self) -> Iterator[Frame]:
        with _opened(self.drive.path, self.decoding) as container:
            stream = container.streams.video[0]
            fallback = self.decoding.fallback(container)
            self.notes += [fallback] if fallback is not None else []
            keeper = self.decoding.keeper() if fallback is None else None
            stream.thread_type = "AUTO"
            step_s = 1.0 / float(stream.average_rate or 25)
            first_s: float | None = None
            last_s, index = -np.inf, 0
            for picture, lost in self._pictures(container, stream):
                raw_s = picture.time if picture.time is not None else (index * step_s + (first_s or 0.0))
                first_s = raw_s if first_s is None else first_s
                # A repeated or backward time stamp would stop every clock downstream; the nominal step keeps
                # it moving.
                mistimed = picture.time is None or not raw_s - first_s > last_s
                time_s = last_s + step_s if index and mistimed else raw_s - first_s
                last_s = time_s
                frame = to_frame(picture, self.drive.name, index, time_s, self.size, keeper)
                yield replace(frame, damaged=frame.damaged or lost, mistimed=mistimed)
                index += 1
            if keeper is not None and keeper.problem is not None:
                self.notes.append(keeper.problem)
            if stream.frames and index < 0.98 * stream.frames - 1:
                self.notes.append(f"truncated: {index} of {stream.frames} frames could be read")
            # Matroska counts no frames, but its header states a duration, that of the longest stream.
            alone = "matroska" in container.format.name and len(container.streams) == 1
            stated_s = float(container.duration or 0) / 1e6 if alone else 0.0
            if index and last_s + step_s < 0.98 * stated_s - 1.0:
                self.notes.append(f"truncated: {last_s + step_s:.1f} of {stated_s:.1f} s could be read")

    def _pictures(
        self, container: InputContainer, stream: VideoStream
    ) -> Iterator[tuple[av.video.frame.VideoFrame, bool]]:
        """Yield every picture, and whether data before it could not be decoded; such data is noted and left
        out."""
        lost, broken = False, 0
        try:
            for packet in container.demux(stream):
                try:
                    pictures = packet.decode()
                except av.error.InvalidDataError:
                    lost, broken = True, broken + 1
                    continue
                for picture in pictures:
                    yield picture, lost
                    lost = False
        except av.error.FFmpegError as error:
            self.notes.append(f"damaged: reading ended early: {error.strerror}")
        if broken:
            self.notes.append(f"damaged: {broken} packets could not be decoded; they were left out")

    def _images(self) -> Iterator[Frame]:
        for index, file in enumerate(self.drive.files):
            data = np.fromfile(file, np.uint8)
            picture = None
            # One that says it is larger than OpenCV takes.
            with suppress(cv2.error):
                picture = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
            if picture is None:
                self.notes.append(f"{file.name} cannot be read as an image; it was left out")
                continue
            time_s = index / self.images_per_second
            # A picture that was left out damages none of the others.
            yield replace(rgb_frame(_u8(picture), self.drive.name, index, time_s, self.size), key=True)


def at_most(frames: Iterable[Frame], every_s: float) -> Iterator[Frame]:
    """Keep the first frame of each interval of ``every_s``."""
    due_s = -np.inf
    for frame in frames:
        # Half a millisecond of slack keeps 1/30 s steps from slipping by one frame through rounding.
        if frame.time_s >= due_s - 5e-4:
            # A little lag is kept, so that jitter costs no frames; the lag of a hole would be made up by a
            # burst of them.
            behind = frame.time_s - due_s >= 2 * every_s
            due_s = (frame.time_s if behind else due_s) + every_s
            yield frame


def _u8(array: object) -> Image:
    return np.asarray(array, np.uint8)


def _opened(path: Path, decoding: Decoding = ON_PROCESSOR) -> av.container.InputContainer:
    try:
        container = decoding.open(str(path))
    except CannotDecodeError as error:
        raise InputError(path, str(error), "use --decode auto or cpu") from error
    except (av.error.FFmpegError, OSError) as error:
        reason = (
            "the file is empty"
            if path.is_file() and not path.stat().st_size
            else (error.strerror or str(error))
        )
        raise InputError(
            path, f"must be a readable video: {reason}", "check the file or leave it out"
        ) from error
    if not container.streams.video:
        container.close()
        raise InputError(path, "must hold a video stream; it has none", "check the file or leave it out")
    return container


def to_frame(
    picture: av.video.frame.VideoFrame,
    stream: str,
    index: int,
    time_s: float,
    size: tuple[int, int],
    keeper: Keeper | None = None,
) -> Frame:
    """Reduce one decoded picture to ``size`` (height, width) RGB, as ``engines.reduction`` defines it, and keep its planes
    at full resolution. keeper: reduces it where it was decoded, if that can be."""
    here = on_host(picture)
    resident = keeper.keep(picture, here) if keeper is not None else None
    luma, chroma = planes(here)
    return Frame(
        stream=stream,
        index=index,
        time_s=time_s,
        arrival_s=time.monotonic(),
        image=reduced(here, size) if resident is None else resident.image,
        luma=luma,
        key=bool(picture.key_frame),
        chroma=chroma,
        damaged=bool(picture.is_corrupt),
        resident=resident,
    )


def rgb_frame(picture: Image, stream: str, index: int, time_s: float, size: tuple[int, int]) -> Frame:
    """Return the same for an RGB picture (height × width × 3 uint8)."""
    luma, chroma = rgb_planes(picture)
    return Frame(stream, index, time_s, time.monotonic(), reduced_rgb(picture, size), luma, chroma=chroma)
