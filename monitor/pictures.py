"""Pictures for people: snapshots of events and a filmstrip, without a second decode.

A frame keeps its luma at full resolution and its colours at the model's; a picture joins the two, as video
codecs do."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from engines.frames import Frame, Image

STILL_PX, EVIDENCE_PX = 480, 960
"""Widths of pictures in reports, and of those that are kept as files."""
THUMBNAIL_PX = 160
RECENT_EVERY_S = 0.25
RECENT_S = 12.0
MOST_THUMBNAILS = 48


def picture(frame: Frame, width: int = STILL_PX) -> Image:
    """Return ``frame`` as BGR at most ``width`` pixels wide, in the camera's own aspect."""
    height_px, width_px = frame.luma.shape
    width = min(width, width_px)
    size = (width, max(1, round(width * height_px / width_px)))
    luma = np.asarray(cv2.resize(frame.luma, size, interpolation=cv2.INTER_AREA), np.uint8)
    chroma = cv2.cvtColor(frame.image, cv2.COLOR_RGB2YCrCb)
    colours = np.asarray(cv2.resize(chroma, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    colours[:, :, 0] = _full_range(luma, colours[:, :, 0])
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_YCrCb2BGR), np.uint8)


def _full_range(luma: Image, reference: Image) -> Image:
    """Bring a video's limited range (16-235) to that of the converted picture, by matching mean and
    deviation."""
    gain = min(1.3, max(0.8, (float(reference.std()) + 1.0) / (float(luma.std()) + 1.0)))
    matched = (luma.astype(np.float32) - float(luma.mean())) * gain + float(reference.mean())
    return np.asarray(np.clip(matched, 0, 255), np.uint8)


def jpeg(image: Image) -> bytes:
    """Encode a BGR picture."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return bytes(data)


class Album:
    """The pictures of one stream: the last few seconds, and a filmstrip of bounded length over all of it."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, Image]] = deque()
        self._strip: list[tuple[float, Image]] = []
        self._strip_every_s = 0.5

    def add(self, frame: Frame) -> None:
        """Keep a small copy of ``frame`` if one is due."""
        if not self._recent or frame.time_s - self._recent[-1][0] >= RECENT_EVERY_S:
            self._recent.append((frame.time_s, picture(frame)))
            while self._recent[0][0] < frame.time_s - RECENT_S:
                self._recent.popleft()
        if not self._strip or frame.time_s - self._strip[-1][0] >= self._strip_every_s:
            self._strip.append((frame.time_s, picture(frame, THUMBNAIL_PX)))
            if len(self._strip) > MOST_THUMBNAILS:
                self._strip, self._strip_every_s = self._strip[::2], 2 * self._strip_every_s

    def before(self, time_s: float) -> bytes | None:
        """JPEG of the last kept picture at least a second before ``time_s``, if there is one."""
        earlier = [image for t, image in self._recent if t <= time_s - 1.0]
        return jpeg(earlier[-1]) if earlier else None

    def strip(self) -> tuple[tuple[float, bytes], ...]:
        """The filmstrip: (time, JPEG) from first to last."""
        return tuple((t, jpeg(image)) for t, image in self._strip)
