"""What the detector says: events, intervals of media time in which a stream was not all right."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What is believed of a stream at one moment."""

    OK = "ok"
    LEFT_DOMAIN = "left_domain"
    CAMERA_FAULT = "camera_fault"


class Phase(StrEnum):
    """Which part of an event's life a message tells."""

    START = "start"
    UPDATE = "update"
    END = "end"


class Fault(StrEnum):
    """Modes of a camera fault that are told apart; ``monitor.health.checks`` says which of the 36 known ones
    each stands for."""

    NO_FRAMES = "no_frames"
    IRREGULAR_FRAMES = "irregular_frames"
    MACROBLOCKS = "macroblocks"
    BLACK = "black"
    WHITE = "white"
    UNDER_EXPOSED = "under_exposed"
    EXPOSURE_OSCILLATION = "exposure_oscillation"
    TEST_PATTERN = "test_pattern"
    COVERED = "covered"
    FREEZE = "freeze"
    PARTIAL_FREEZE = "partial_freeze"
    LOOP = "loop"
    FLIPPED = "flipped"
    WRONG_SIZE = "wrong_size"
    DISTORTION = "distortion"
    MOVED = "moved"
    VIBRATION = "vibration"
    NO_DEMOSAIC = "no_demosaic"
    MONOCHROME = "monochrome"
    CHANNEL_SWAP = "channel_swap"
    COLOUR_CAST = "colour_cast"
    CHROMATIC_ABERRATION = "chromatic_aberration"
    BANDING = "banding"
    DEAD_PIXELS = "dead_pixels"
    NOISE = "noise"
    BLUR = "blur"


@dataclass(frozen=True, slots=True)
class Event:
    """One message about one event. All times are media seconds of the stream.

    number: ordinal of the event within its stream, from 1; the same in all phases of one event.
    mode: the fault mode for ``camera_fault``, empty for ``left_domain``.
    onset_s: when the evidence began; detected_s: when it was believed; the difference is the debounce.
    time_s: when this message was made. end_s: when the evidence ended; None until phase ``end``.
    channel: the statistic that spoke; value and threshold are in that channel's own unit.
    peak, peak_s: the largest excess of the channel so far, and when.
    """

    stream: str
    number: int
    phase: Phase
    kind: Verdict
    mode: str
    onset_s: float
    detected_s: float
    time_s: float
    end_s: float | None
    channel: str
    value: float
    threshold: float
    peak: float
    peak_s: float
