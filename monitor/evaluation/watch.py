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

import cv2
import numpy as np

from engines.bundle import Bundle
from engines.density import Floats
from engines.engine import Engine
from engines.errors import InputError
from engines.footage import Recording
from engines.frames import Frame, Image
from engines.inpainting import Inpainting
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
    believed, None if there was none in the ``watched_s`` seconds that followed; instead: what was said before it, or
    for want of it: the mode of a camera fault, ``cant_tell``, or nothing."""

    before: Case
    after: Case
    watched_s: float
    detected_s: float | None
    instead: str


@dataclass(frozen=True, slots=True, eq=False)
class Continuation:
    """The stream of a normal drive at its end, where nothing speaks for an event; frames go on ``step_s`` after ``last``,
    at the size of that: a camera does not change it on its way from one scene to another."""

    case: Case
    stream: Stream
    last: Frame
    step_s: float

    @property
    def end_s(self) -> float:
        """When another drive begins."""
        return self.last.time_s + self.step_s

    def frame(self, frame: Frame) -> Frame:
        """``frame`` of another drive as one of this stream."""
        luma, chroma = _sized(frame.luma, self.last.luma), frame.chroma
        if chroma is not None and self.last.chroma is not None:
            chroma = _sized(chroma[0], self.last.chroma[0]), _sized(chroma[1], self.last.chroma[1])
        return replace(frame, time_s=self.end_s + frame.time_s, luma=luma, chroma=chroma)


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
    instead: str = ""

    @property
    def over(self) -> bool:
        return self.detected_s is not None or self.watched_s >= SPLICE_S

    def judge(self, frames: Sequence[Frame], scores: Scores) -> None:
        for row, frame in enumerate(frames):
            if self.over:
                return
            self.watched_s = frame.time_s
            judged = self.stream.judge(self.before.frame(frame), scores, row).judged
            for event in judged.events:
                if event.phase == Phase.START and event.kind == Verdict.LEFT_DOMAIN:
                    self.detected_s = event.detected_s - self.before.end_s
                elif event.phase == Phase.START and not self.instead:
                    self.instead = event.mode or event.kind

    def result(self) -> Splice:
        return Splice(self.before.case, self.after, self.watched_s, self.detected_s, self.instead)


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


class _Drive:
    """One drive that is being watched: its own stream, what goes on behind other drives, baselines, pictures."""

    def __init__(self, case: Case, unseen: Unseen, baselines: Baselines, spliced: list[_Spliced]) -> None:
        self.case, self._unseen, self._spliced = case, unseen, spliced
        self._left_out = unseen.left_out(case)
        self._bundle = unseen.bundle(self._left_out)
        self.stream = Stream(case.name, self._bundle)
        self._baseline = baselines.watch(self._left_out, case.ordered)
        self._gallery = _Gallery(-1.0 if case.anomalous else 1.0)
        self._events: dict[int, Event] = {}
        self._told: dict[int, bytes] = {}
        self._domain: list[Floats] = []
        self._times_s: list[float] = []

    @property
    def end_s(self) -> float:
        return self._times_s[-1]

    @property
    def step_s(self) -> float:
        """The usual time between two frames."""
        return float(np.median(np.diff(self._times_s))) if len(self._times_s) > 1 else 0.0

    def take(self, frames: list[Frame], images: Image, scores: Scores) -> None:
        """Take a batch of frames, their pictures stacked, and what the engine says of them."""
        own = self._unseen.scores(scores, self._left_out)
        domain = np.asarray(own.domain, np.float64)
        self._domain.append(domain)
        self._times_s += [frame.time_s for frame in frames]
        self._baseline.add(frames, images)
        for row, frame in enumerate(frames):
            if np.isfinite(domain[row]):
                self._gallery.add(frame, float(domain[row]))
            if self.case.ordered:
                self._hear(frame, self.stream.judge(frame, own, row).judged.events)
        open_ones = [one for one in self._spliced if not one.over]
        variants = {one.left_out: self._unseen.scores(scores, one.left_out) for one in open_ones}
        for one in open_ones:
            one.judge(frames, variants[one.left_out])

    def _hear(self, frame: Frame, events: Sequence[Event]) -> None:
        for event in events:
            self._events[event.number] = event
            if event.phase == Phase.START:
                self._told[event.number] = jpeg(picture(frame, 2 * THUMBNAIL_PX))

    def outcome(self, notes: Sequence[str]) -> Outcome:
        """What it gave, once it is over; InputError where no frame had a score."""
        domain = np.concatenate(self._domain)
        finite = np.isfinite(domain)
        if not finite.any():
            raise InputError(
                self.case.drive.path, "must have scores; the engine gave no finite one", "check the bundle"
            )
        for event in self.stream.detector.finish():
            self._events[event.number] = event
        unscored = int((~finite).sum())
        return Outcome(
            case=self.case,
            left_out=self._left_out,
            threshold=_threshold(self._bundle, self.case.ordered),
            domain=domain[finite],
            baselines=self._baseline.scores,
            seconds=self.end_s + self.step_s if self.case.ordered else 0.0,
            events=tuple(self._events[number] for number in sorted(self._events)),
            told=self._told,
            worst=self._gallery.worst_first(),
            splices=tuple(one.result() for one in self._spliced if self.end_s >= SCENE_S),
            notes=(*notes, *(f"{n} frames had no finite score" for n in (unscored,) if n)),
        )


class Watcher:
    """Watches cases one after another, normal ones first, so that there is something to splice behind."""

    def __init__(self, unseen: Unseen, engine: Engine, baselines: Baselines, fps: float | None) -> None:
        self._unseen, self._engine, self._baselines, self._fps = unseen, engine, baselines, fps
        self._continuations: list[Continuation] = []

    def watch(self, case: Case, advance: Callable[[int], None]) -> Outcome:
        """Watch one drive from its first to its last frame."""
        spliced = self._splices(case) if case.ordered else []
        drive = _Drive(case, self._unseen, self._baselines, spliced)
        recording = Recording(case.drive, self._engine.input_size, images_per_second=self._fps)
        inpainting = Inpainting(self._unseen.bundle(frozenset()).ignored)
        for frames in _batches(recording):
            images = np.stack([inpainting.image(frame) for frame in frames])
            drive.take(frames, images, self._engine.score(images))
            advance(len(frames))
        if case.ordered and not case.anomalous:
            self._keep(case, drive.stream, frames[-1], drive.step_s)
        return drive.outcome(recording.notes)

    def _keep(self, case: Case, stream: Stream, last: Frame, step_s: float) -> None:
        """Keep the stream's state to splice behind, unless it is too short, or ends in an event or on the way to
        one: nothing new could begin there."""
        if last.time_s >= PAST_S and stream.detector.quiet:
            self._continuations.append(Continuation(case, deepcopy(stream), last, step_s))

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


def _sized(plane: Image, like: Image) -> Image:
    return np.asarray(
        cv2.resize(np.ascontiguousarray(plane), like.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8
    )


def _batches(recording: Recording) -> Iterator[list[Frame]]:
    frames = iter(recording)
    while batch := list(islice(frames, BATCH)):
        yield batch
