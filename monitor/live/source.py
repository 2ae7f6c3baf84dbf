"""Where a live camera's pictures come from: what a camera URL means, and how libav is asked to read it."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from engines.decoding import ON_PROCESSOR, Decoding
from engines.errors import ConfigError

# These deliver pictures as they happen. All else (HLS segments, files) comes in bursts and must be paced.
LIVE_FORMATS = frozenset({"rtsp", "mpjpeg", "mjpeg", "mpegts", "flv", "video4linux2,v4l2"})
# Streams without time stamps: libav invents them from an assumed 25 fps, so only the arrival tells the time.
UNTIMED_FORMATS = frozenset({"mpjpeg", "mjpeg"})


@dataclass(frozen=True, slots=True)
class Reading:
    """What one packet gave: pictures with their presentation times in seconds (None: unknown), often none.

    damaged: the packet could not be decoded, or only with visible repairs. packet: itself. start_s: what its time
    stamps lack, since a loop has begun anew.
    """

    pictures: tuple[tuple[av.VideoFrame, float | None], ...]
    damaged: bool
    packet: av.Packet[VideoStream]
    start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CameraSource:
    """How to open one camera: address, demuxer and options for libav; whether its end leads to its start."""

    address: str
    demuxer: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    loop: bool = False

    def open(self, timeouts: tuple[float, float], decoding: Decoding = ON_PROCESSOR) -> InputContainer:
        """Open the source; ``timeouts`` in seconds are for opening and for each read.

        Raises av.FFmpegError when it can't be opened in time and ValueError when it carries no video, or none that can
        be decoded where it must be.
        """
        container = decoding.open(
            self.address, format=self.demuxer, options=dict(self.options), timeout=timeouts
        )
        if not container.streams.video:
            container.close()
            raise ValueError("it carries no video stream")
        stream = container.streams.video[0]
        # Frame threads would hold back one picture each; a live camera needs the newest one.
        stream.thread_type, stream.thread_count = "SLICE", 1
        return container

    def readings(self, container: InputContainer) -> Generator[Reading, None, None]:
        """Yield one reading a packet until the stream ends; a loop has no end and no seam in time."""
        stream = container.streams.video[0]
        timed = container.format.name not in UNTIMED_FORMATS
        period_s = 1.0 / float(stream.average_rate or 25)
        start_s = 0.0
        while True:
            end_s = None
            for packet in container.demux(stream):
                try:
                    decoded = packet.decode()
                except av.error.InvalidDataError:
                    yield Reading((), True, packet, start_s)
                    continue
                times = [start_s + p.time if timed and p.time is not None else None for p in decoded]
                end_s = max((t + period_s for t in times if t is not None), default=end_s)
                damaged = any(p.is_corrupt for p in decoded)
                yield Reading(tuple(zip(decoded, times, strict=True)), damaged, packet, start_s)
            if not self.loop or end_s is None:
                return
            container.seek(0)
            start_s = end_s


def parse(where: str, url: str, rtsp_transport: str, options: Mapping[str, str]) -> CameraSource:
    """Return what ``url`` means; ``options`` go to libav on top (``video_size`` for a USB camera, say).

    | URL                           | source                                                               |
    |-------------------------------|----------------------------------------------------------------------|
    | ``rtsp://``, ``rtsps://``     | an IP camera, over ``rtsp_transport``: tcp, udp, udp_multicast, http |
    | ``http://``, ``https://``     | MJPEG, HLS, or any video libav reads over HTTP                       |
    | ``usb:0``, ``/dev/video0``    | a V4L2 device (Linux)                                                |
    | ``loop:PATH``                 | a video file, in real time, over and over                            |
    | ``lavfi:testsrc2=size=64x48`` | a synthetic camera: any libavfilter source                           |

    Raises ConfigError, naming ``where``, for anything else.
    """
    kind, _, rest = url.partition(":")
    # Without nobuffer the first second after opening is a backlog, played fast.
    network = {"fflags": "nobuffer"}
    if kind in ("rtsp", "rtsps") and rest.startswith("//"):
        # By default libav analyses a slow stream for 5 s: no picture until then, and all of the open timeout.
        rtsp = {
            "rtsp_transport": rtsp_transport,
            "allowed_media_types": "video",
            "analyzeduration": "1000000",
        }
        return CameraSource(url, options=network | rtsp | dict(options))
    if kind in ("http", "https") and rest.startswith("//"):
        return CameraSource(url, options=network | dict(options))
    if kind == "lavfi" and rest:
        return CameraSource(rest, "lavfi", dict(options))
    if kind == "loop" and rest:
        return CameraSource(rest, options=dict(options), loop=True)
    device = re.fullmatch(r"(?:usb:|/dev/video)(\d+)", url)
    if device:
        return CameraSource(f"/dev/video{device[1]}", "v4l2", network | dict(options))
    raise ConfigError(
        where,
        f"its URL must begin with rtsp:// http:// https:// usb: /dev/video loop: or lavfi:, got {url!r}",
        "correct the camera's URL",
    )
