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
