"""How surely, and how soon, each camera fault is noticed: made to order on normal drives, at several severities.

A stretch of each drive is decoded once. Its first part is watched as it is, so that the stream has a past; from
there every fault goes its own way with a copy of the stream's state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import cv2
import numpy as np

from engines.errors import InputError
from engines.faults import FAULTS, inject
from engines.footage import Recording
from engines.frames import Frame, Image
from engines.metrics import quantile
from monitor.evaluation.cases import Case
from monitor.evaluation.result import FaultResult
from monitor.evaluation.unseen import Unseen
from monitor.events import Phase, Verdict
from monitor.pipeline import BATCH, Engine, Stream

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
    """The pictures of a drive, H×W×3 RGB, and the times they were taken at."""

    pictures: list[Image]
    times_s: list[float]
    faulty: int


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
    that were long enough."""
    trials: list[Trial] = []
    used = 0
    for case in cases:
        stretch = _stretch(case) if used < most else None
        if stretch is None:
            continue
        used += 1
        trials += _on_one_drive(case, stretch, unseen, engine, modes, severities, advance)
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
    pictures, times_s = [], []
    for frame in Recording(case.drive, _size(case), every_s=EVERY_S):
        pictures.append(frame.image)
        times_s.append(frame.time_s)
        if frame.time_s >= PAST_S + FAULT_S:
            faulty = int(np.searchsorted(times_s, PAST_S))
            return _Stretch(pictures, times_s, faulty)
    return None


def _size(case: Case) -> tuple[int, int]:
    """Height and width of the pictures to break: the camera's own, reduced to WIDTH_PX."""
    height, width = next(iter(Recording(case.drive, (2, 2)))).luma.shape
    scale = min(1.0, WIDTH_PX / width)
    return max(2, round(height * scale)), max(2, round(width * scale))


def _on_one_drive(
    case: Case,
    stretch: _Stretch,
    unseen: Unseen,
    engine: Engine,
    modes: Sequence[str],
    severities: Sequence[int],
    advance: Callable[[int, str], None],
) -> Iterator[Trial]:
    left_out = unseen.left_out(case)
    stream = Stream(case.name, unseen.bundle(left_out))
    clean = [_frame(case, stretch, i, stretch.pictures[i], engine) for i in range(stretch.faulty)]
    for _ in _events(clean, stream, unseen, engine, case):
        pass  # the stream learns its past
    seed = int(case.fingerprint[:8], 16) % 1000
    for mode in modes:
        for severity in severities:
            broken = list(inject(stretch.pictures, mode, stretch.faulty, None, severity, seed))
            frames = [_frame(case, stretch, i, broken[i], engine) for i in range(stretch.faulty, len(broken))]
            yield _trial(mode, severity, frames, deepcopy(stream), unseen, engine, case)
            advance(1, f"{mode} {severity}")


def _trial(
    mode: str, severity: int, frames: list[Frame], stream: Stream, unseen: Unseen, engine: Engine, case: Case
) -> Trial:
    onset_s = frames[0].time_s
    firsts: dict[str, float] = {}
    for kind, name, detected_s in _events(frames, stream, unseen, engine, case):
        firsts.setdefault("any", detected_s - onset_s)
        if kind == Verdict.CAMERA_FAULT:
            firsts.setdefault("fault", detected_s - onset_s)
            if name == FAULTS[mode].verdict:
                firsts.setdefault("mode", detected_s - onset_s)
    return Trial(mode, severity, firsts.get("any"), firsts.get("fault"), firsts.get("mode"))


def _events(
    frames: list[Frame], stream: Stream, unseen: Unseen, engine: Engine, case: Case
) -> Iterator[tuple[Verdict, str, float]]:
    """Kind, mode and detection of the events that begin in ``frames``."""
    left_out = unseen.left_out(case)
    for start in range(0, len(frames), BATCH):
        group = frames[start : start + BATCH]
        scores = unseen.scores(engine.score(np.stack([f.image for f in group])), left_out)
        for row, frame in enumerate(group):
            for event in stream.judge(frame, scores, row).judged.events:
                if event.phase == Phase.START:
                    yield event.kind, event.mode, event.detected_s


def _frame(case: Case, stretch: _Stretch, index: int, picture: Image, engine: Engine) -> Frame:
    height, width = engine.input_size
    image = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return Frame(
        case.name,
        index,
        stretch.times_s[index],
        0.0,
        np.asarray(image, np.uint8),
        np.asarray(luma, np.uint8),
        True,
    )


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
