"""Watch every drive as in life: the real engine, health checks and detector, each picture decoded once.

A drive that is anomalous from its first frame has no onset, and the detector's own past never saw anything else.
So each drive is watched a second time in the same pass, as what a few normal drives lead into: the state of
their streams at their end goes on with this drive's frames, as though the camera had gone from one scene to
the next. The moment is known exactly, hence the delay."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from engines.bundle import Bundle
from engines.density import Floats
from engines.engine import Engine
from engines.footage import Recording
from engines.frames import Frame
from engines.leave_out import still_threshold
from engines.scores import Scores
from monitor.evaluation.baselines import Baselines, BaselineScores
from monitor.evaluation.cases import Case
from monitor.evaluation.unseen import LeftOut, Unseen
from monitor.events import Event, Phase, Verdict
from monitor.pictures import THUMBNAIL_PX, jpeg, picture
from monitor.pipeline import BATCH, Stream

SPLICE_S = 30.0
"""How long a splice is watched for its event."""
PAST_S = 6.0
"""Least length of a normal drive that another can be spliced behind: what the detector's past needs."""
SCENE_S = 5.0
"""Least length of a drive that can be expected to raise an event: smoothing and confirmation take their time."""
PREDECESSORS = 4
WORST = 3


@dataclass(frozen=True, slots=True)
class Splice:
    """One drive behind another. detected_s: media seconds from the splice to the first domain event that was
    believed, None if there was none in the ``watched_s`` seconds that followed; fault: the mode of a camera
    fault that was believed before it, else empty."""

    before: Case
    after: Case
    watched_s: float
    detected_s: float | None
    fault: str


@dataclass(frozen=True, slots=True, eq=False)
class Continuation:
    """The stream of a normal drive at its end, where nothing speaks for an event; frames go on ``step_s`` after ``end_s``."""

    case: Case
    stream: Stream
    end_s: float
    step_s: float


@dataclass(slots=True, eq=False)
class Outcome:
    """What one drive gave.

    left_out: the taught drives that were not allowed to vouch for it. domain: N scores, surprise relative to the
    background, nats; threshold: of its own calibration. events: at their last phase. worst: (score, media
    seconds, JPEG) of up to WORST frames, the strangest of a normal drive, the least strange of an anomalous one.
    told: (event, JPEG) at each event's detection."""

    case: Case
    left_out: LeftOut
    threshold: float
    domain: Floats
    baselines: BaselineScores
    seconds: float
    events: tuple[Event, ...]
    told: dict[int, bytes]
    worst: tuple[tuple[float, float, bytes], ...]
    splices: tuple[Splice, ...]
    notes: tuple[str, ...]


@dataclass(slots=True, eq=False)
class _Spliced:
    """A splice that is being watched."""

    before: Continuation
    after: Case
    stream: Stream
    left_out: LeftOut
    watched_s: float = 0.0
    detected_s: float | None = None
    fault: str = ""

    @property
    def over(self) -> bool:
        return self.detected_s is not None or self.watched_s >= SPLICE_S

    def judge(self, frames: Sequence[Frame], scores: Scores) -> None:
        splice_s = self.before.end_s + self.before.step_s
        for row, frame in enumerate(frames):
            if self.over:
                return
            self.watched_s = frame.time_s
            judged = self.stream.judge(replace(frame, time_s=frame.time_s + splice_s), scores, row).judged
            for event in judged.events:
                if event.phase == Phase.START and event.kind == Verdict.LEFT_DOMAIN:
                    self.detected_s = event.detected_s - splice_s
                elif event.phase == Phase.START and not self.fault:
                    self.fault = event.mode

    def result(self) -> Splice:
        return Splice(self.before.case, self.after, self.watched_s, self.detected_s, self.fault)


@dataclass(slots=True, eq=False)
class _Gallery:
    """The few frames of a drive that were judged worst, at least a second apart."""

    sign: float
    kept: list[tuple[float, float, bytes]] = field(default_factory=list)

    def add(self, frame: Frame, score: float) -> None:
        badness = self.sign * score
        near = [k for k in self.kept if abs(k[1] - frame.time_s) < 1.0]
        if near and near[0][0] >= badness:
            return
        if not near and len(self.kept) == WORST and self.kept[0][0] >= badness:
            return
        if near:
            self.kept.remove(near[0])
            heapq.heapify(self.kept)
        elif len(self.kept) == WORST:
            heapq.heappop(self.kept)
        heapq.heappush(self.kept, (badness, frame.time_s, jpeg(picture(frame, 2 * THUMBNAIL_PX))))

    def worst_first(self) -> tuple[tuple[float, float, bytes], ...]:
        return tuple(
            (self.sign * badness, time_s, data) for badness, time_s, data in sorted(self.kept, reverse=True)
        )


class Watcher:
    """Watches cases one after another, normal ones first, so that there is something to splice behind."""

    def __init__(self, unseen: Unseen, engine: Engine, baselines: Baselines, fps: float | None) -> None:
        self._unseen, self._engine, self._baselines, self._fps = unseen, engine, baselines, fps
        self._continuations: list[Continuation] = []

    def watch(self, case: Case, advance: Callable[[int], None]) -> Outcome:
        """Watch one drive from its first to its last frame."""
        left_out = self._unseen.left_out(case)
        bundle = self._unseen.bundle(left_out)
        stream = Stream(case.name, bundle)
        spliced = self._splices(case) if case.ordered else []
        baseline = self._baselines.watch(left_out, case.ordered)
        gallery = _Gallery(-1.0 if case.anomalous else 1.0)
        events: dict[int, Event] = {}
        told: dict[int, bytes] = {}
        domain: list[Floats] = []
        times_s: list[float] = []
        recording = Recording(case.drive, self._engine.input_size, images_per_second=self._fps)
        for frames in _batches(recording):
            images = np.stack([frame.image for frame in frames])
            scores = self._engine.score(images)
            own = self._unseen.scores(scores, left_out)
            domain.append(np.asarray(own.domain, np.float64))
            times_s += [frame.time_s for frame in frames]
            baseline.add(frames, images)
            for row, frame in enumerate(frames):
                gallery.add(frame, float(domain[-1][row]))
                if not case.ordered:
                    continue
                for event in stream.judge(frame, own, row).judged.events:
                    events[event.number] = event
                    if event.phase == Phase.START:
                        told[event.number] = jpeg(picture(frame, 2 * THUMBNAIL_PX))
            variants = {
                one.left_out: self._unseen.scores(scores, one.left_out) for one in spliced if not one.over
            }
            for one in spliced:
                if not one.over:
                    one.judge(frames, variants[one.left_out])
            advance(len(frames))
        step_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
        if case.ordered and not case.anomalous:
            self._keep(case, stream, times_s[-1], step_s)
        for event in stream.detector.finish():
            events[event.number] = event
        return Outcome(
            case=case,
            left_out=left_out,
            threshold=_threshold(bundle, case.ordered),
            domain=np.concatenate(domain),
            baselines=baseline.scores,
            seconds=times_s[-1] + step_s if case.ordered else 0.0,
            events=tuple(events[number] for number in sorted(events)),
            told=told,
            worst=gallery.worst_first(),
            splices=tuple(one.result() for one in spliced if times_s[-1] >= SCENE_S),
            notes=tuple(recording.notes),
        )

    def _keep(self, case: Case, stream: Stream, end_s: float, step_s: float) -> None:
        """Keep the stream's state to splice behind, unless it is too short, or ends in an event or on the way to
        one: nothing new could begin there."""
        if end_s >= PAST_S and stream.detector.quiet:
            self._continuations.append(Continuation(case, deepcopy(stream), end_s, step_s))

    def _splices(self, case: Case) -> list[_Spliced]:
        """Begin up to PREDECESSORS splices: drives of the same dataset first, then others in turn."""
        others = [
            c
            for c in self._continuations
            if c.case.group != case.group and not self._unseen.refusal(c.case, case)
        ]
        turn = int(case.fingerprint[:8], 16) % max(len(others), 1)
        others = others[turn:] + others[:turn]
        chosen = sorted(others, key=lambda c: c.case.dataset != case.dataset)[:PREDECESSORS]
        return [_Spliced(c, case, deepcopy(c.stream), self._unseen.left_out(c.case, case)) for c in chosen]


def _threshold(bundle: Bundle, ordered: bool) -> float:
    """Of the domain channel; for single pictures, which nothing smooths, of single taught pictures."""
    still = None if ordered else still_threshold(bundle.density)
    return bundle.calibration.channel("domain").threshold if still is None else still


def _batches(recording: Recording) -> Iterator[list[Frame]]:
    frames = iter(recording)
    while batch := list(islice(frames, BATCH)):
        yield batch
