"""One camera under watch: its reader, its stream and what is open, in the media time of the watch."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from engines.bundle import Bundle
from engines.decoding import ON_PROCESSOR, Decoding
from engines.engine import Engine
from engines.frames import Frame, Image
from engines.scores import Scores
from monitor.alerts import Model
from monitor.config import CameraConfig
from monitor.drift import Proposal
from monitor.events import SILENT, Event, Phase, Verdict
from monitor.evidence.explain import Explanation, Sight
from monitor.evidence.witness import Witness
from monitor.live.camera import LiveCamera, Status
from monitor.mute import NEVER, Mute, Muting
from monitor.pipeline import Stream
from monitor.report.words import label
from monitor.run_screen import Row
from monitor.settings import rules
from monitor.unscored import Unscored

SAID_EVERY_S = 10.0
"""How often, in media time, it is said that pictures of a camera cannot be judged."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """An opened bundle with its engine."""

    bundle: Bundle
    engine: Engine

    @property
    def model(self) -> Model:
        return Model(self.bundle.manifest.name, self.bundle.sha256)


class Watch:
    """One camera under watch: its reader, its detector, and what is open.

    Its media time counts from when the watch began, so that a camera that is silent from the start has a
    time line too. arrived: set at each new frame. witness: gathers what is to be seen of events, if anybody wants it.
    mute: when nobody is to be woken.
    """

    def __init__(
        self,
        config: CameraConfig,
        loaded: Loaded,
        arrived: threading.Event,
        decoding: Decoding = ON_PROCESSOR,
        witness: Witness | None = None,
        mute: Mute = NEVER,
    ) -> None:
        self.witness = witness
        self._sight: Sight | None = None
        self.config, self.loaded, self.model = config, loaded, loaded.model
        self.open: Event | None = None
        self.scored = self.unjudged = 0
        self._unjudged_s = -math.inf
        self.notes: tuple[str, ...] = ()
        self.proposal: Proposal | None = None
        self.silent_since_s = 0.0
        self._newest: Frame | None = None
        self._judged = False
        self._fallback: str | None = None
        self.lead_s = 0.0
        self._stream = Stream(config.name, loaded.bundle, rules=rules("", config))
        self.muting = Muting(mute)
        self._unscored = Unscored()
        self._started_s = time.monotonic()
        self.live = LiveCamera(
            config.name,
            config.url,
            loaded.engine.input_size,
            open_timeout_s=config.open_timeout_s,
            read_timeout_s=config.read_timeout_s,
            startup_grace_s=config.startup_grace_s,
            rtsp_transport=config.rtsp_transport,
            options=config.options,
            decoding=decoding,
            arrived=arrived,
            ring=None if witness is None else witness.ring,
        )

    @property
    def silent(self) -> bool:
        """Whether it has been told that no frames come."""
        return self.open is not None and self.open.kind in SILENT

    @property
    def limit_s(self) -> float:
        """The age of the newest picture that makes a fault."""
        first = self._newest is None
        return max(self.config.startup_grace_s if first else 0.0, self.config.no_frames_after_s)

    def take(self) -> Frame | None:
        """Return the newest frame not taken yet, in the media time of this watch; None if there is none."""
        frame = self.live.read(0.0)
        if frame is None:
            return None
        if self._newest is None:
            self.lead_s = max(0.0, frame.arrival_s - self._started_s - frame.time_s)
        self._newest = replace(frame, time_s=frame.time_s + self.lead_s)
        return self._newest

    def image(self, frame: Frame) -> Image:
        """What the engine is to score of a frame that was taken."""
        return self._stream.image(frame)

    def judge(self, frame: Frame, scores: Scores, row: int) -> tuple[Event, ...]:
        """Judge a frame that was taken, ``row`` of the scored batch. A frame that cannot be judged ends what is open, and
        the camera is watched anew: an error of ours with one camera must not end the watch over all."""
        try:
            watched = self._stream.judge(frame, scores, row)
        except Exception as error:  # noqa: BLE001 - said in the log, with its place in the code
            return self._begin_anew(frame, error)
        self.scored += watched.scored
        self._sight = Sight(frame, scores.heat[row], scores.latent[row], self._stream.ignored)
        height, width = frame.luma.shape
        first = None if self._judged else f"first picture after {frame.time_s:.1f} s, {width}x{height}"
        fallback = self.live.fallback
        fallback, self._fallback = (None if fallback == self._fallback else fallback), fallback
        told = (first, fallback, self._unscored.note(watched))
        self.notes, self.proposal = tuple(note for note in told if note is not None), watched.proposal
        self._judged = True
        # A picture that was held up on its way may be older than the moment its absence was told.
        return self._follow(_not_before(event, event.detected_s) for event in watched.judged.events)

    def _begin_anew(self, frame: Frame, error: Exception) -> tuple[Event, ...]:
        ended = self.finish()
        self._stream = self._stream.anew()
        self._sight, self.proposal, self.notes = None, None, ()
        self.unjudged += 1
        if frame.time_s - self._unjudged_s >= SAID_EVERY_S:
            self._unjudged_s = frame.time_s
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error}"
            self.notes = (
                f"the picture at {frame.time_s:.1f} s cannot be judged ({self.unjudged} so far), the camera is watched anew; "
                f"please report: {what}",
            )
        return ended

    def listen(self, now_s: float, awake_s: float) -> tuple[Event, ...]:
        """Say so if nothing has come for too long; ``now_s`` and ``awake_s`` on the monotonic clock."""
        age_s = self.live.state.age_s
        if self.silent or min(age_s, now_s - awake_s) < self.limit_s:
            return ()
        self.silent_since_s = now_s - age_s
        since_s = self._last_media_s
        linked = self.live.state.status in (Status.STREAMING, Status.STALE)
        return self._follow(
            self._stream.detector.no_frames(since_s + age_s, since_s, self.limit_s, linked=linked)
        )

    def unmute(self, unix_s: float) -> Event | None:
        """The event that goes on though it was muted and its window is over, as it stands now; given out once."""
        event = self.muting.due(unix_s)
        if event is None:
            return None
        now_s = max(event.time_s + 1e-3, self._last_media_s + self.live.state.age_s)
        return replace(event, phase=Phase.UPDATE, time_s=now_s)

    def finish(self) -> tuple[Event, ...]:
        """End what is still open, since nobody watches any more."""
        media_s = self._last_media_s + (self.live.state.age_s if self.silent else 0.0)
        return self._follow(_not_before(event, media_s) for event in self._stream.detector.finish())

    def begin(self, event: Event, now_s: float) -> Explanation | None:
        """Show what the newest frame says of an event that has just begun, and begin its clip."""
        if self.witness is None:
            return None
        return self.witness.begin(self._sight, event.onset_s, self.lead_s, now_s)

    def row(self, scored_per_s: float) -> Row:
        state = self.live.state
        verdict = "no verdict" if self._newest is None else label(Verdict.OK)
        return Row(
            self.config.name,
            state.status.value,
            state.fps if state.status == Status.STREAMING else 0.0,
            scored_per_s,
            state.dropped,
            state.reconnects,
            verdict if self.open is None else label(self.open.kind, self.open.mode),
            self._unscored.summary or "" if state.status == Status.STREAMING else state.last_error,
        )

    @property
    def _last_media_s(self) -> float:
        return 0.0 if self._newest is None else self._newest.time_s

    def _follow(self, events: Iterable[Event]) -> tuple[Event, ...]:
        told = tuple(events)
        for event in told:
            self.open = None if event.phase == Phase.END else event
        return told


def _not_before(event: Event, media_s: float) -> Event:
    """Return the event, told and ended no earlier than ``media_s`` if it is the end of a silence."""
    if event.kind not in SILENT or event.phase != Phase.END or event.end_s is None:
        return event
    return replace(event, time_s=max(event.time_s, media_s), end_s=max(event.end_s, media_s))
