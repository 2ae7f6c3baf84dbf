"""Clips: a stretch of video as the camera sent it, put into a file without encoding anew."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import av.error
import cv2
from av.container import InputContainer
from av.video.stream import VideoStream

from engines.errors import InputError, OutputError
from engines.footage import Drive
from engines.frames import Image
from engines.video import write_timed
from monitor.evidence.packets import MOST_BYTES, Coded, Coding, coded

FORMATS = {".mp4": ("mp4", {"movflags": "+faststart"}), ".mkv": ("matroska", {})}
LATE_S = 0.05
BACK_S = (0.0, 5.0, 20.0, 60.0)
"""How far before the wanted moment a recording is entered, one after another until a key frame lies before it."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that was written. begins_s: media time of its first picture. codec: as libav calls its decoder. notes: what
    it lacks, in sentences."""

    path: Path
    begins_s: float
    codec: str
    notes: tuple[str, ...] = ()


def suffix(coding: Coding) -> str:
    """``.mp4``, or ``.mkv`` for what MP4 cannot hold."""
    return ".mp4" if coding.name in _mp4_codecs() else ".mkv"


def clip_suffix(drive: Drive) -> str:
    """What the name of a recording's clips ends in; empty where there can be none."""
    if not drive.is_video:
        return ".mp4"
    try:
        with av.open(str(drive.path)) as container:
            return suffix(Coding(container.streams.video[0]))
    except (av.error.FFmpegError, OSError, ValueError, IndexError):
        return ""


def write_clip(path: Path, coding: Coding, packets: Sequence[Coded]) -> None:
    """Write packets, the first of which is a key frame, as they are; the file appears whole or not at all.

    Time stamps are moved so that the first picture is at 0; pictures that are shown before it are left out, since they
    cannot be decoded. Raises OutputError where the file cannot be written, InputError for packets without time
    stamps."""
    if not packets:
        raise InputError(path.name, "must have a packet, has none")
    form, options = FORMATS[path.suffix]
    partial = path.with_name(f".{path.name}.part")
    try:
        with av.open(str(partial), "w", format=form, options=dict(options)) as container:
            stream = container.add_stream_from_template(coding.template, opaque=True)
            for one in _stamped(path.name, packets):
                packet = av.Packet(one.data)
                packet.pts, packet.dts, packet.duration = one.pts, one.dts, one.duration
                packet.time_base, packet.is_keyframe, packet.stream = coding.time_base, one.key, stream
                container.mux(packet)
        _sync(partial)
        partial.replace(path)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            path, f"must be writable: {reason}", "free space, or choose another folder"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def cut(drive: Drive, stem: Path, wanted_s: float, until_s: float, images_per_second: float) -> Clip:
    """Cut media times ``wanted_s`` to ``until_s`` out of a recording, from the key frame before, to ``stem`` with a
    suffix. A folder of images has no packets: these are encoded.

    Raises InputError where there is nothing to cut, OutputError where the file cannot be written."""
    if not drive.is_video:
        return _encoded(drive, stem.with_name(f"{stem.name}.mp4"), wanted_s, until_s, images_per_second)
    try:
        container = av.open(str(drive.path))
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(drive.path, f"must be readable: {error.strerror}") from error
    with closing(container):
        stream = container.streams.video[0]
        try:
            coding = Coding(stream)
        except ValueError as error:
            raise InputError(drive.path, str(error)) from error
        packets, begins_s, over = _stretch(container, stream, wanted_s, until_s)
        path = stem.with_name(stem.name + suffix(coding))
        write_clip(path, coding, packets)
        return Clip(path, begins_s, coding.name, notes(begins_s, wanted_s, over))


def notes(begins_s: float, wanted_s: float, over: str) -> tuple[str, ...]:
    """Say what a clip lacks: when it begins if that is too late, and why it ends if that is too early."""
    late_s = begins_s - wanted_s
    late = f"the clip begins {late_s:.1f} s later than asked for, at {begins_s:.1f} s: no earlier key frame was kept"
    return (*([late] if late_s > LATE_S else []), *([f"the clip ends early: {over}"] if over else []))


def _stretch(
    container: InputContainer, stream: VideoStream, wanted_s: float, until_s: float
) -> tuple[list[Coded], float, str]:
    """The packets, the media time of their first picture, and why they end early, if so."""
    tick_s, origin = float(stream.time_base or 0), stream.start_time or 0
    packets: list[Coded] = []
    for back_s in BACK_S:
        target = origin + int((wanted_s - back_s) / tick_s)
        try:
            container.seek(max(origin, target), stream=stream, backward=True)
        except av.error.FFmpegError as error:
            raise InputError(
                stream.codec_context.name, "must have time stamps to be cut by, has none"
            ) from error
        packets, over = _read(
            container, stream, origin + int(wanted_s / tick_s), origin + int(until_s / tick_s)
        )
        if (packets and ((packets[0].pts or 0) - origin) * tick_s <= wanted_s + LATE_S) or target <= origin:
            break
    if not packets or packets[0].pts is None:
        raise InputError(stream.codec_context.name, "must have a key frame with a time stamp there, has none")
    return packets, (packets[0].pts - origin) * tick_s, over


def _read(container: InputContainer, stream: VideoStream, wanted: int, until: int) -> tuple[list[Coded], str]:
    """Read from the last key frame up to tick ``wanted``, or else the first after it, to tick ``until``."""
    packets: list[Coded] = []
    size = 0
    try:
        for packet in container.demux(stream):
            one = coded(packet)
            stamp = one.stamp
            if stamp is not None and stamp > until:
                break
            if one.key and one.pts is not None and (not packets or one.pts <= wanted):
                packets, size = [], 0
            elif not packets:
                continue
            size += len(one.data)
            if size > MOST_BYTES:
                return packets, f"a clip may hold {MOST_BYTES >> 20} MiB"
            packets += [one] if one.data else []
    except av.error.FFmpegError as error:
        return packets, f"the recording is damaged ({error.strerror})"
    return packets, ""


def _stamped(where: str, packets: Sequence[Coded]) -> Iterator[Coded]:
    """Yield packets with time stamps a file can hold: from 0, decoded in order, none shown before it is decoded."""
    origin = packets[0].pts
    if origin is None or any(packet.pts is None for packet in packets):
        raise InputError(where, "its packets must have time stamps, have none")
    shown = [packet for packet in packets if packet.pts is not None and packet.pts >= origin]
    pts = [(packet.pts or 0) - origin for packet in shown]
    dts = [None if packet.dts is None else packet.dts - origin for packet in shown]
    for one, show, decode in zip(shown, pts, _decoding(pts, dts), strict=True):
        yield Coded(one.data, max(show, decode), decode, one.duration, one.key)


def _decoding(pts: Sequence[int], dts: Sequence[int | None]) -> list[int]:
    """``dts`` if it rises and nothing is shown before it is decoded; else the times of showing in their order, early
    enough for all."""
    known = [stamp for stamp in dts if stamp is not None]
    rises = len(known) == len(dts) and all(a < b for a, b in pairwise(known))
    if rises and all(d <= p for d, p in zip(known, pts, strict=True)):
        return known
    order = sorted(pts)
    ahead = max(o - p for o, p in zip(order, pts, strict=True))
    made: list[int] = []
    for stamp in order:
        made.append(max(stamp - ahead, made[-1] + 1 if made else stamp - ahead))
    return made


def _encoded(drive: Drive, path: Path, wanted_s: float, until_s: float, images_per_second: float) -> Clip:
    first = max(0, int(wanted_s * images_per_second))
    files = drive.files[first : int(until_s * images_per_second) + 1]

    def images() -> Iterator[tuple[float, Image]]:
        size: tuple[int, int] | None = None
        for i, file in enumerate(files):
            picture = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
            if picture is None or size not in (None, picture.shape[:2]):
                continue
            size = (picture.shape[0], picture.shape[1])
            yield i / images_per_second, picture.astype("uint8", copy=False)

    write_timed(path, images(), images_per_second)
    return Clip(path, first / images_per_second, "h264", ("the clip was encoded from a folder of images",))


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        # Without this a power cut could leave the name on an empty file.
        os.fsync(handle)
    finally:
        os.close(handle)


def _mp4_codecs() -> frozenset[str]:
    """Names of the codecs that MP4 can hold, of their decoders as of the codecs themselves."""
    with av.open(io.BytesIO(), "w", format="mp4") as container:
        return frozenset(container.supported_codecs)
