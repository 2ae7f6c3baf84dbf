"""Events and alerts for tests of their delivery, and how they are received."""

from __future__ import annotations

import time
from collections.abc import Callable

from engines.health.fault import Fault
from monitor import alerts
from monitor.alerts import Alert, Model
from monitor.events import Event, Phase, Verdict
from monitor.subscriber import Subscriber

ANYWHERE = "tcp://127.0.0.1:*"
MODEL = Model("highway", "0" * 64)
MANY = 2000
SMALL = 50


def event(number: int = 1, **changes: object) -> Event:
    fields: dict[str, object] = {
        "stream": "cam1",
        "number": number,
        "phase": Phase.START,
        "kind": Verdict.CAMERA_FAULT,
        "mode": Fault.FREEZE.value,
        "onset_s": 12.0,
        "detected_s": 12.5,
        "time_s": 12.5,
        "end_s": None,
        "channel": "freeze",
        "value": 9.0,
        "threshold": 3.0,
        "peak": 6.0,
        "peak_s": 12.25,
    }
    return Event(**(fields | changes))  # type: ignore[arg-type]


def alert(number: int = 1, **changes: object) -> Alert:
    return alerts.alert(event(number, **changes), source="/sightline/test", session="s", model=MODEL)


def numbers(received: list[Alert]) -> list[int]:
    return [a.number for a in received]


def receive(subscriber: Subscriber, count: int, deadline_s: float = 20.0) -> list[Alert]:
    """Receive ``count`` alerts, or as many as come before the deadline."""
    end = time.monotonic() + deadline_s
    received: list[Alert] = []
    while len(received) < count and time.monotonic() < end:
        got = subscriber.receive(0.2)
        if got is not None:
            received.append(got)
    return received


def pump_until(subscriber: Subscriber, condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """Let the subscriber run, without an alert expected, until ``condition`` holds."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "condition not met in time"
        assert subscriber.receive(0.05) is None
