"""Faults of the encoded stream, made on real H.264 packets: encoded by libx264, damaged on the way, decoded by libav.

One picture goes in and one comes out: without B-frames or threads the codec has no delay. Where the decoder gives
nothing, the viewer keeps what it last had, which at the very beginning is a buffer of zeros: green."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import av.error
import cv2
import numpy as np
from av.codec.context import Flags

from engines.faults.timing import Timed
from engines.frames import Image

GOP = 25
"""Pictures from one key frame to the next, and so how long damage can last."""
_GOOD, _SLICES = 26, 6
"""The quantiser of a stream with nothing to complain of, and slices in a picture."""
_SLICE = re.compile(rb"\x00\x00\x01(?:[\x01\x21\x41\x61]|([\x05\x25\x45\x65]))")
"""The beginning of a slice, in a group of its own if of a key frame."""
_SLICE_HEADER = 12
"""Bytes from there that stay, so that the decoder knows the slice that it then fails in."""

Damage = Callable[[bytes], bytes]
"""What happens to a packet on its way; an empty one is lost."""


def over_compression(image: Image, severity: int, seed: int) -> Image:
    """One picture as a key frame at a quantiser from 40 to 51, at severity 5 in half its size."""
    return _Link(image.shape, *_coarse(severity)).through(image, bytes)


def over_compressed(frames: Iterator[Timed], severity: int, seed: int) -> Iterator[Timed]:
    """A clip at a quantiser from 40 to 51, the coarsest of H.264, at severity 5 in half its size."""
    return _sent(frames, bytes, *_coarse(severity))


def _coarse(severity: int) -> tuple[int, int]:
    """Return the quantiser, and how many times smaller the picture is sent."""
    return ((40, 1), (43, 1), (46, 1), (50, 1), (51, 2))[severity - 1]


def macroblocks(image: Image, severity: int, seed: int) -> Image:
    """One picture as a key frame, with damaged bytes."""
    return _Link(image.shape).through(image, _Damaging(severity, seed))


def damaged_stream(frames: Iterator[Timed], severity: int, seed: int) -> Iterator[Timed]:
    """A clip with damaged bytes and lost packets; damage travels with motion until the next key frame."""
    return _sent(frames, _Damaging(severity, seed))


class _Damaging:
    """Overwrites bytes inside slices, after which the rest of the slice is lost, and at worse severities loses
    whole packets. Every key frame is hit, so damage lasts; pictures between them are now and then."""

    def __init__(self, severity: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._share, self._intact, self._now_and_then, self._lost = (
            (0.17, 0.7, 0.008, 0.0), (0.17, 0.3, 0.016, 0.0), (0.5, 0.12, 0.04, 0.0), (0.7, 0.08, 0.1, 0.03),
            (1.0, 0.02, 0.3, 0.15),
        )[severity - 1]  # fmt: skip

    def __call__(self, packet: bytes) -> bytes:
        rng, slices = self._rng, list(_SLICE.finditer(packet))
        starts = [found.start() for found in slices]
        order, struck = rng.permutation(len(starts)), rng.random(len(starts)) < self._now_and_then
        if any(found[1] for found in slices):
            struck[order[: max(1, round(self._share * len(starts)))]] = True
        damaged = bytearray(packet)
        for start, end, hit in zip(starts, [*starts[1:], len(packet)], struck, strict=True):
            first, burst = start + _SLICE_HEADER, rng.integers(0, 256, 8, np.uint8).tobytes()
            at = first + int((end - first) * min(1.0, self._intact + 0.2 * rng.random()))
            if hit and at < end:
                damaged[at:end] = (burst + damaged[at + len(burst) :])[: end - at]
        return b"" if rng.random() < self._lost else bytes(damaged)


def reencoded_freeze(frames: Iterator[Timed], severity: int, seed: int) -> Iterator[Timed]:
    """The first picture again and again, but encoded anew with a trace of noise; with none left at severity 5.

    Consecutive pictures differ by the noise and by the codec's key frames, never by motion.
    """
    sigma = (2.0, 1.2, 0.7, 0.3, 0.0)[severity - 1]
    rng = np.random.default_rng(seed)

    def held() -> Iterator[Timed]:
        still: Image | None = None
        for time_s, image in frames:
            still = image.copy() if still is None else still
            grain = np.float32(sigma) * rng.standard_normal((*still.shape[:2], 1), np.float32)
            yield Timed(time_s, np.clip(np.rint(still + grain), 0, 255).astype(np.uint8))

    return _sent(held(), bytes)


def _sent(
    frames: Iterator[Timed], damage: Damage, quantiser: int = _GOOD, smaller: int = 1
) -> Iterator[Timed]:
    link: _Link | None = None
    for time_s, image in frames:
        if link is None or link.shape != image.shape:
            link = _Link(image.shape, quantiser, smaller)
        yield Timed(time_s, link.through(image, damage))


class _Link:
    """An encoder, the way of its packets, and a decoder, in lock step."""

    def __init__(self, shape: tuple[int, ...], quantiser: int = _GOOD, smaller: int = 1) -> None:
        self.shape = shape
        height, width = (-(-side // (2 * smaller)) * 2 for side in shape[:2])
        encoder = av.VideoCodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base = Fraction(1, 25)
        encoder.flags |= Flags.global_header
        parameters = f"keyint={GOP}:scenecut=0:slices={_SLICES}:threads=1:sliced-threads=0"
        encoder.options = {
            "preset": "veryfast", "tune": "zerolatency", "qp": str(quantiser), "x264-params": parameters
        }  # fmt: skip
        encoder.open()
        decoder = av.VideoCodecContext.create("h264", "r")
        # Parameter sets go round the damaged way, as RTSP sends them in its session description.
        decoder.extradata = encoder.extradata
        decoder.thread_count = 1
        # Nothing is concealed, as by the chips in most viewers: what is lost stays green, or stale.
        decoder.options = {"flags": "output_corrupt+low_delay", "flags2": "showall", "ec": "0"}
        self._encoder, self._decoder, self._count = encoder, decoder, 0
        self._seen = av.VideoFrame.from_ndarray(np.zeros((height * 3 // 2, width), np.uint8), "yuv420p")

    def through(self, image: Image, damage: Damage) -> Image:
        """Return what a viewer sees after ``image`` was sent."""
        height, width = self.shape[:2]
        sent = self._seen.width, self._seen.height
        if sent[0] < width:
            fitting = cv2.resize(image, sent, interpolation=cv2.INTER_AREA)
        else:
            fitting = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        frame = av.VideoFrame.from_ndarray(np.asarray(fitting, np.uint8), format="rgb24")
        frame.pts, self._count = self._count, self._count + 1
        for packet in self._encoder.encode(frame):
            self._receive(damage(bytes(packet)))
        seen = self._seen.to_ndarray(format="rgb24")
        if sent[0] < width:
            return cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]
        return np.ascontiguousarray(seen[:height, :width], np.uint8)

    def _receive(self, packet: bytes) -> None:
        if not packet:
            return
        try:
            for frame in self._decoder.decode(av.Packet(packet)):
                if (frame.width, frame.height) == (self._seen.width, self._seen.height):
                    self._seen = frame
        except av.error.FFmpegError:
            return  # too damaged to be a picture: the viewer keeps what it has
