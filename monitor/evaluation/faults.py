"""How surely, and how soon, each camera fault is noticed: made to order on normal drives, at several severities.

A stretch of each drive is decoded once. Its first part is watched as it is, so that the stream has a past; from
there every fault goes its own way with a copy of the stream's state."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice

import numpy as np

from engines.engine import Engine
from engines.errors import InputError
from engines.faults import FAULTS, Timed, inject_timed
from engines.footage import Recording, rgb_frame
from engines.metrics import quantile
from monitor.evaluation.cases import Case
from monitor.evaluation.result import FaultResult
from monitor.evaluation.unseen import Unseen
from monitor.events import SILENT, Event, Phase, Verdict
from monitor.pipeline import BATCH, SILENT_AFTER_S, Stream

PAST_S, FAULT_S = 10.0, 8.0
EVERY_S = 0.1
WIDTH_PX = 640
"""Faults are made on pictures at most so wide, and at most ten a second: enough for every mode, and bounded in time
and memory."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault on one drive. any_s, fault_s, mode_s: seconds from the first faulty frame to the first event, the
    first camera fault, and the first of the right mode; None where there was none."""

    mode: str
    severity: int
    any_s: float | None
    fault_s: float | None
    mode_s: float | None


@dataclass(frozen=True, slots=True, eq=False)
class _Stretch:
    """Pictures of a drive, H×W×3 RGB, with their media times: those that stay as they are, those that break."""

    clean: list[Timed]
    after: list[Timed]


def fault_trials(
    cases: Sequence[Case],
    unseen: Unseen,
    engine: Engine,
    modes: Sequence[str],
    severities: Sequence[int],
    most: int,
    advance: Callable[[int, str], None],
) -> tuple[list[Trial], int]:
    """Try every mode at every severity on up to ``most`` normal drives; returns the trials and the number of drives
    that were long enough and quiet."""
    trials: list[Trial] = []
    used = 0
    for case in cases:
        stretch = _stretch(case) if used < most else None
        bench = _Bench(case, stretch, unseen, engine) if stretch is not None else None
        if bench is None or not bench.quiet:
            continue
        used += 1
        for mode in modes:
            for severity in severities:
                trials.append(bench.trial(mode, severity))
                advance(1, f"{mode} {severity}")
    return trials, used


def check_modes(modes: Sequence[str], severities: Sequence[int]) -> None:
    """Raise InputError for a mode or severity that does not exist, before the work."""
    for mode in modes:
        if mode not in FAULTS:
            raise InputError(f"fault {mode}", f"must be one of {', '.join(FAULTS)}", "check --fault-modes")
    for severity in severities:
        if severity not in range(1, 6):
            raise InputError(f"severity {severity}", "must be 1, 2, 3, 4 or 5", "check --fault-severities")


def _stretch(case: Case) -> _Stretch | None:
    """The first PAST_S + FAULT_S seconds; None where the drive is shorter."""
    clean: list[Timed] = []
    after: list[Timed] = []
    for frame in Recording(case.drive, _size(case), every_s=EVERY_S):
        (clean if frame.time_s < PAST_S else after).append(Timed(frame.time_s, frame.image))
        if frame.time_s >= PAST_S + FAULT_S:
            return _Stretch(clean, after)
    return None


def _size(case: Case) -> tuple[int, int]:
    """Height and width of the pictures to break: the camera's own, reduced to WIDTH_PX."""
    height, width = next(iter(Recording(case.drive, (2, 2)))).luma.shape
    scale = min(1.0, WIDTH_PX / width)
    return max(2, round(height * scale)), max(2, round(width * scale))


class _Bench:
    """One drive on which faults are tried."""

    def __init__(self, case: Case, stretch: _Stretch, unseen: Unseen, engine: Engine) -> None:
        self._stretch, self._unseen, self._engine = stretch, unseen, engine
        self._left_out = unseen.left_out(case)
        self._seed = int(case.fingerprint[:8], 16) % 1000
        self._stream = Stream(case.name, unseen.bundle(self._left_out))
        deque(self._events(stretch.clean, self._stream), maxlen=0)  # the stream learns its past

    @property
    def quiet(self) -> bool:
        """Whether nothing spoke for an event at the end of the clean part: a fault could not begin in one."""
        return self._stream.detector.quiet

    def trial(self, mode: str, severity: int) -> Trial:
        """Break the camera in one way, from a moment that is known, to the stretch's end."""
        onset_s, end_s = self._stretch.after[0].time_s, self._stretch.after[-1].time_s
        broken = inject_timed(self._stretch.after, mode, onset_s, None, severity, self._seed)
        firsts: dict[str, float] = {}
        for event in self._events(broken, deepcopy(self._stream), end_s):
            delay_s = event.detected_s - onset_s
            firsts.setdefault("any", delay_s)
            if event.kind == Verdict.CAMERA_FAULT or event.kind in SILENT:
                firsts.setdefault("fault", delay_s)
                if event.mode == FAULTS[mode].verdict:
                    firsts.setdefault("mode", delay_s)
        return Trial(mode, severity, firsts.get("any"), firsts.get("fault"), firsts.get("mode"))

    def _events(
        self, pictures: Iterable[Timed], stream: Stream, end_s: float | None = None
    ) -> Iterator[Event]:
        """The events that begin in a clip; ``end_s``: when the clip is over, whether or not pictures came until
        then."""
        last_s = self._stretch.clean[-1].time_s
        timed = iter(pictures)
        while group := list(islice(timed, BATCH)):
            frames = [
                rgb_frame(one.image, stream.name, i, one.time_s, self._engine.input_size)
                for i, one in enumerate(group)
            ]
            scores = self._engine.score(np.stack([stream.image(f) for f in frames]))
            scores = self._unseen.scores(scores, self._left_out)
            for row, frame in enumerate(frames):
                yield from _silence(stream, last_s, frame.time_s)
                yield from _begun(stream.judge(frame, scores, row).judged.events)
                last_s = frame.time_s
        if end_s is not None:
            yield from _silence(stream, last_s, end_s)


def _silence(stream: Stream, last_s: float, now_s: float) -> Iterator[Event]:
    """What the daemon says when no picture has come for too long."""
    told_s = last_s + SILENT_AFTER_S
    if now_s >= told_s:
        yield from _begun(stream.detector.no_frames(told_s, last_s, SILENT_AFTER_S))


def _begun(events: Iterable[Event]) -> Iterator[Event]:
    return (event for event in events if event.phase == Phase.START)


def fault_results(trials: Sequence[Trial]) -> tuple[FaultResult, ...]:
    """One row per mode and severity, in the order of ``FAULTS``."""
    kinds = sorted({(list(FAULTS).index(t.mode), t.severity) for t in trials})
    return tuple(_row(list(FAULTS)[number], severity, trials) for number, severity in kinds)


def _row(mode: str, severity: int, trials: Sequence[Trial]) -> FaultResult:
    mine = [t for t in trials if (t.mode, t.severity) == (mode, severity)]
    delays = [t.fault_s for t in mine if t.fault_s is not None]
    return FaultResult(
        mode=mode,
        severity=severity,
        told_as=FAULTS[mode].verdict,
        trials=len(mine),
        recall=sum(t.any_s is not None for t in mine) / len(mine),
        recall_fault=len(delays) / len(mine),
        recall_mode=sum(t.mode_s is not None for t in mine) / len(mine),
        delay_p50_s=quantile(delays, 0.5),
        delay_p95_s=quantile(delays, 0.95),
    )
