"""What the detector says: events, intervals of media time in which a stream was not all right."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What is believed of a stream at one moment.

    CANT_TELL: something is wrong, and the evidence for the camera and for the scene is about as strong. NO_SIGNAL: there
    is no link to the camera. STALE: there is one, but pictures have stopped or come too late.
    """

    OK = "ok"
    LEFT_DOMAIN = "left_domain"
    CAMERA_FAULT = "camera_fault"
    CANT_TELL = "cant_tell"
    NO_SIGNAL = "no_signal"
    STALE = "stale"


SILENT = (Verdict.NO_SIGNAL, Verdict.STALE)
"""Verdicts of a stream without pictures."""


class Phase(StrEnum):
    """Which part of an event's life a message tells."""

    START = "start"
    UPDATE = "update"
    END = "end"


class Level(StrEnum):
    """How bad it is at the moment of the message; ``INFO`` asks for nothing now; ``STALE`` means that nobody
    knows."""

    OK = "OK"
    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"
    STALE = "STALE"


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The explanation that came next to the one believed. channel: the statistic that speaks for it; closeness: how much
    of its own threshold that reaches, 1 at it."""

    kind: Verdict
    mode: str
    channel: str
    closeness: float


@dataclass(frozen=True, slots=True)
class Event:
    """One message about one event. All times are media seconds of the stream.

    number: ordinal of the event within its stream, from 1; the same in all phases of one event.
    mode: the fault mode for ``camera_fault``, else empty.
    onset_s: when the evidence began; detected_s: when it was believed; the difference is the debounce.
    time_s: when this message was made. end_s: when the evidence ended; None until phase ``end``.
    channel: the statistic that spoke; value and threshold are in that channel's own ``unit``.
    peak, peak_s: the largest excess of the channel so far, and when.
    p_value: how likely a drive like those that calibrated the channel reaches ``value`` (conformal, so never below
    1 / (drives + 1)); None for what is certain or not calibrated. budget_per_hour: the false alarms that all calibrated
    channels together may raise in an hour; None for what is certain.
    runner_up: at the moment of detection; None where nothing else spoke.
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
    unit: str = ""
    p_value: float | None = None
    budget_per_hour: float | None = None
    runner_up: RunnerUp | None = None
