"""The alert: the only public wire type, a CloudEvents 1.0 envelope in JSON around one message about one
event.

Decoding ignores fields it does not know and keeps open words (kind, mode, level) as plain strings, so that
old and new programs understand each other. Encoding is deterministic: equal alerts are equal bytes.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import quote

import msgspec

from engines.health import MODES
from monitor.drift import Proposal
from monitor.events import Event, Level
from monitor.verdict import level

TOPIC_ROOT = "alert/"
TYPE = "sightline.alert"
SCHEMA = "urn:sightline:alert:1"
DRIFT, NOTICE = "drift", "notice"
"""Kind and phase of what is no event: a proposal to calibrate anew. It has no end."""


class Basis(StrEnum):
    """Where a capture time comes from."""

    RTCP = "rtcp"
    WALLCLOCK = "wallclock"
    PTS = "pts"


class CaptureTime(msgspec.Struct, frozen=True):
    """When the frame at media time ``t`` was captured.

    value: Unix seconds, or None where only media time is known (basis ``pts``: most recordings).
    """

    value: float | None = None
    basis: str = Basis.PTS.value


class Nearest(msgspec.Struct, frozen=True):
    """A picture of normal footage that is like the snapshot: the drive it is of, media seconds in that, its distance in
    the bundle's whitened latent, and the picture's path."""

    drive: str
    t: float
    distance: float
    picture: str


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was kept of the event. Paths are relative to ``folder``, on the publisher's host, where there is one.

    clip: in phases before ``end`` where it will be, in ``end`` where it is. clip_from: media time of its first picture,
    once that is there. nearest: the nearest first. usual_distance: from a picture of normal footage to the nearest of
    another moment, in the median. notes: in plain sentences, what is missing and why."""

    folder: str | None = None
    snapshot: str | None = None
    heat_map: str | None = None
    clip: str | None = None
    clip_from: float | None = None
    nearest: tuple[Nearest, ...] = ()
    usual_distance: float | None = None
    notes: tuple[str, ...] = ()


class RunnerUp(msgspec.Struct, frozen=True):
    """The explanation that came next to the one believed. closeness: how much of its own threshold the statistic that
    speaks for it reaches, 1 at it."""

    kind: str
    mode: str
    channel: str
    closeness: float


class Model(msgspec.Struct, frozen=True):
    """Which bundle judged: its name and the SHA-256 of its model, in hexadecimal."""

    id: str
    sha256: str


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """One message about one event. Times named ``t`` are media seconds of the camera's stream.

    event_id: the same in every phase of one event. kind, mode, phase: as in ``monitor.events``.
    t: when this message was made, the moment ``capture_time`` belongs to; t_onset: when the evidence began;
    t_detect: when it was believed; t_end: when it ended, None before phase ``end``; t_peak: when it was
    strongest. score, threshold, peak: in ``unit``, that of ``channel``; None where the statistic was not finite.
    group: the known camera faults that look like this, one name or more; empty unless ``kind`` is ``camera_fault``.
    p_value: how likely a normal drive comes so far in this channel, None for what is certain or not calibrated.
    budget_per_hour: the false alarms that all calibrated channels together may raise; None for what is certain.
    runner_up: what else it might have been.
    muted: whether nobody is to be woken by this message, since the event began in a mute window that is not over.
    advice: what to do, where there is something.
    """

    event_id: str
    phase: str
    kind: str
    mode: str
    level: str
    camera: str
    t: float
    t_onset: float
    t_detect: float
    t_end: float | None
    t_peak: float
    capture_time: CaptureTime
    channel: str
    score: float | None
    threshold: float | None
    peak: float | None
    model: Model
    unit: str = ""
    group: tuple[str, ...] = ()
    p_value: float | None = None
    budget_per_hour: float | None = None
    runner_up: RunnerUp | None = None
    evidence: Evidence | None = None
    muted: bool = False
    advice: str = ""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """The CloudEvents envelope. ``sequence`` is empty until the journal numbers the alert.

    time: RFC 3339 in UTC when the capture time is known. sequence: 20 decimal digits, so that text order is
    number order, as the CloudEvents sequence extension asks.
    """

    specversion: str = "1.0"
    id: str
    source: str
    type: str = TYPE
    time: str | None = None
    datacontenttype: str = "application/json"
    dataschema: str = SCHEMA
    sequence: str = ""
    data: Data

    @property
    def number(self) -> int:
        """The sequence number, from 1; 0 for an alert that has none yet."""
        return int(self.sequence or 0)


_decoder = msgspec.json.Decoder(Alert)
_encoder = msgspec.json.Encoder(order="deterministic")


def encode(alert: Alert) -> bytes:
    """Return the alert as JSON, byte for byte the same for equal alerts."""
    return _encoder.encode(alert)


def decode(payload: bytes) -> Alert:
    """Return the alert in ``payload``; raise ``msgspec.DecodeError`` when it is not one."""
    return _decoder.decode(payload)


def numbered(alert: Alert, sequence: int) -> Alert:
    """Return the alert with its place in the journal, from 1."""
    return msgspec.structs.replace(alert, sequence=f"{sequence:020d}")


def topic(alert: Alert) -> str:
    """Return ``alert/<camera>/<kind>/``.

    Topics match by prefix: the closing slash keeps ``cam1`` from receiving ``cam10``, and the camera's name
    is percent-encoded so that it cannot bring a slash of its own.
    """
    return f"{TOPIC_ROOT}{quote(alert.data.camera, safe='')}/{alert.data.kind}/"


def alert(
    event: Event,
    *,
    source: str,
    session: str,
    model: Model,
    capture_time: CaptureTime = CaptureTime(),
    evidence: Evidence | None = None,
    muted: bool = False,
) -> Alert:
    """Return the alert that tells ``event``; pure, reads no clock.

    source: URI reference of who says it. session: tells apart runs whose event numbers begin again at 1, so
    that ids stay unique. capture_time: of the frame at ``event.time_s``. muted: see ``Data``.
    """
    event_id = f"{session}/{event.stream}/{event.number}"
    data = Data(
        event_id=event_id,
        phase=event.phase.value,
        kind=event.kind.value,
        mode=str(event.mode),
        level=level(event).value,
        camera=event.stream,
        t=float(event.time_s),
        t_onset=float(event.onset_s),
        t_detect=float(event.detected_s),
        t_end=None if event.end_s is None else float(event.end_s),
        t_peak=float(event.peak_s),
        capture_time=capture_time,
        channel=event.channel,
        score=_finite(event.value),
        threshold=_finite(event.threshold),
        peak=_finite(event.peak),
        model=model,
        unit=event.unit,
        group=tuple(mode.name for mode in MODES if event.mode and mode.told[0] == event.mode),
        p_value=event.p_value,
        budget_per_hour=event.budget_per_hour,
        runner_up=_runner_up(event),
        evidence=evidence,
        muted=muted,
    )
    identity = f"{event_id}/{event.phase.value}/{round(event.time_s * 1000)}"
    return Alert(id=identity, source=source, time=_rfc3339(capture_time.value), data=data)


def _runner_up(event: Event) -> RunnerUp | None:
    other = event.runner_up
    if other is None:
        return None
    return RunnerUp(other.kind.value, str(other.mode), other.channel, float(other.closeness))


def proposal_alert(
    proposal: Proposal,
    bundle: str,
    *,
    source: str,
    session: str,
    model: Model,
    capture_time: CaptureTime = CaptureTime(),
    muted: bool = False,
) -> Alert:
    """Return the one alert that tells ``proposal``, of kind ``drift`` and phase ``notice``; ``bundle``: its name, for the
    advice. The rest as for ``alert``."""
    event_id = f"{session}/{proposal.stream}/{DRIFT}-{proposal.number}"
    data = Data(
        event_id=event_id,
        phase=NOTICE,
        kind=DRIFT,
        mode="",
        level=Level.INFO.value,
        camera=proposal.stream,
        t=float(proposal.time_s),
        t_onset=float(proposal.since_s),
        t_detect=float(proposal.time_s),
        t_end=None,
        t_peak=float(proposal.time_s),
        capture_time=capture_time,
        channel=proposal.channel,
        score=_finite(proposal.level),
        threshold=_finite(proposal.threshold),
        peak=_finite(proposal.level),
        model=model,
        unit=proposal.unit,
        muted=muted,
        advice=proposal.line(bundle),
    )
    identity = f"{event_id}/{NOTICE}"
    return Alert(id=identity, source=source, time=_rfc3339(capture_time.value), data=data)


def _finite(value: float) -> float | None:
    """JSON has no infinity and no NaN."""
    return float(value) if math.isfinite(value) else None


def _rfc3339(unix_s: float | None) -> str | None:
    if unix_s is None:
        return None
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
