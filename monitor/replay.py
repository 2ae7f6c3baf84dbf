"""Replay recordings: every frame, never dropped, the same events as live."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from engines.ahead import ahead
from engines.bundle import Bundle
from engines.decoding import ON_PROCESSOR, Decoding
from engines.engine import Engine
from engines.footage import Drive, Recording
from engines.frames import Frame
from engines.regions import NOWHERE, Regions
from monitor.events import SILENT, Event, Phase, Verdict
from monitor.evidence.clips import Clip
from monitor.evidence.explain import Explainer, Explanation, Sight
from monitor.pictures import Album
from monitor.pipeline import SILENT_AFTER_S, Stream, Watched, watch
from monitor.rules import AS_TAUGHT, Rules
from monitor.unscored import Unscored


@dataclass(slots=True)
class Trace:
    """What a replay leaves behind for its report: one value per frame and channel, bands of verdicts, events
    with what is to be seen of them, if there is an explainer. before: JPEG of a frame just ahead of the onset.
    lacks: what is missing of an event, and why. ignored: what of the picture does not count."""

    name: str
    size: tuple[int, int] = (0, 0)
    times_s: list[float] = field(default_factory=list)
    channels: dict[str, list[float]] = field(default_factory=dict)
    bands: list[tuple[float, float, Verdict, str]] = field(default_factory=list)
    events: dict[int, Event] = field(default_factory=dict)
    shown: dict[int, Explanation] = field(default_factory=dict)
    before: dict[int, bytes | None] = field(default_factory=dict)
    clips: dict[int, Clip] = field(default_factory=dict)
    lacks: dict[int, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    album: Album = field(default_factory=Album)
    explainer: Explainer | None = None
    ignored: Regions = NOWHERE
    _sights: deque[Sight] = field(default_factory=lambda: deque(maxlen=2))

    def add(self, watched: Watched) -> None:
        """Take one frame."""
        frame, judged = watched.frame, watched.judged
        self.size = (frame.luma.shape[1], frame.luma.shape[0])
        self.times_s.append(frame.time_s)
        values = {
            "departure": judged.levels.departure,
            "corruption": judged.levels.corruption,
            "domain": judged.levels.domain,
            "surprise": watched.surprise - watched.background,
            "blur": watched.health.statistics.get("blur", math.nan),
            "covered": watched.health.statistics.get("covered", math.nan),
            "damage": watched.damage,
        }
        for name, value in values.items():
            self.channels.setdefault(name, []).append(value)
        if self.explainer is not None:
            self.album.add(frame)
            self._sights.append(Sight(frame, watched.heat, watched.latent, self.ignored))
        if self.bands and self.bands[-1][2:] == (judged.verdict, judged.mode):
            self.bands[-1] = (self.bands[-1][0], frame.time_s, judged.verdict, judged.mode)
        else:
            self.bands.append(
                (self.bands[-1][1] if self.bands else frame.time_s, frame.time_s, judged.verdict, judged.mode)
            )

    def tell(self, event: Event) -> None:
        """Take one event message."""
        self.events[event.number] = event
        if event.phase == Phase.START and self.explainer is not None and self._sights:
            # A silence is told at the frame that ends it; what was to be seen is the frame before.
            sight = self._sights[0 if event.kind in SILENT else -1]
            self.shown[event.number] = self.explainer.explain(sight)
            self.before[event.number] = self.album.before(event.onset_s)


def replay(
    drive: Drive,
    bundle: Bundle,
    engine: Engine,
    *,
    on_frame: Callable[[Watched], None],
    on_event: Callable[[Event], None],
    realtime: bool = False,
    images_per_second: float | None = None,
    batch: int,
    decoding: Decoding = ON_PROCESSOR,
    rules: Rules = AS_TAUGHT,
    silent_after_s: float = SILENT_AFTER_S,
) -> Recording:
    """Watch one drive from its first to its last frame; returns the recording, whose notes tell of damage and
    of frames that could not be scored. rules, silent_after_s: as for ``monitor.pipeline.Stream``."""
    recording = Recording(drive, engine.input_size, images_per_second=images_per_second, decoding=decoding)
    stream, unscored = Stream(drive.name, bundle, silent_after_s, rules), Unscored()
    # The next frames are decoded while these are scored and judged.
    frames: Iterable[Frame] = _paced(recording) if realtime else ahead(recording, batch)
    for watched in watch(frames, engine, stream, 1 if realtime else batch):
        unscored.note(watched)
        on_frame(watched)
        for event in watched.judged.events:
            on_event(event)
    for event in stream.detector.finish():
        on_event(event)
    if unscored.summary is not None:
        recording.notes.append(unscored.summary)
    return recording


def _paced(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Hand each frame out no sooner than its media time after the first."""
    started_s = time.monotonic()
    for frame in frames:
        wait_s = started_s + frame.time_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        yield frame


def as_array(values: list[float]) -> np.ndarray:
    """A trace as float64."""
    return np.asarray(values, np.float64)
