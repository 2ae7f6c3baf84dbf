"""The main path: a frame goes in, a score comes out, scores become events; nothing flows back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.decision import units
from engines.engine import Engine
from engines.frames import Frame, Image
from engines.health import Health, HealthChecks
from engines.inpainting import Inpainting
from engines.resident import score
from engines.scores import Scores
from monitor.detector import Detector, Judged, Sample
from monitor.drift import Drift, Proposal
from monitor.events import Event, Phase, Verdict
from monitor.rules import AS_TAUGHT, Rules

BATCH = 16
SCENE = (Verdict.LEFT_DOMAIN, Verdict.CANT_TELL)
"""Verdicts after which what the picture used to look like says nothing of what it should."""
SILENT_AFTER_S = 3.0
"""Age of the newest picture that makes a want of frames, unless a configuration says otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """One frame with all that was found out about it. Scores in nats; residual a length. scored: whether they are
    finite. heat: h × w, latent: d, as the engine gave them. proposal: to calibrate anew, hardly ever."""

    frame: Frame
    surprise: float
    background: float
    residual: float
    damage: float
    health: Health
    judged: Judged
    scored: bool
    heat: NDArray[np.floating]
    latent: NDArray[np.floating]
    proposal: Proposal | None = None


class Stream:
    """The state of one watched stream: its health checks and its detector. ignored: what nobody looks at."""

    def __init__(
        self, name: str, bundle: Bundle, silent_after_s: float | None = None, rules: Rules = AS_TAUGHT
    ) -> None:
        """silent_after_s: a hole in media time longer than this is a want of frames. None: somebody else
        listens for that. rules: of this camera; CalibrationError where the bundle does not support them."""
        self.name, self._bundle, self._silent_after_s, self._rules = name, bundle, silent_after_s, rules
        self._last_s: float | None = None
        self.ignored = ignored = bundle.ignored.joined(rules.ignored)
        self._inpainting = Inpainting(ignored)
        calibration, in_units = rules.calibration(bundle.calibration), units(bundle.density.normal)
        self._health = HealthChecks(calibration.health, ignored)
        self.detector = Detector(name, calibration, bundle.density.within, in_units)
        self._drift = Drift(name, calibration, in_units)

    def anew(self) -> Stream:
        """The same stream with nothing learnt of it yet; its events are numbered on."""
        fresh = Stream(self.name, self._bundle, self._silent_after_s, self._rules)
        fresh.detector.succeed(self.detector)
        fresh._drift.succeed(self._drift)
        return fresh

    def image(self, frame: Frame) -> Image:
        """What the engine is to score of ``frame``: all but the ignored regions."""
        return self._inpainting.image(frame)

    def judge(self, frame: Frame, scores: Scores, row: int) -> Watched:
        """Judge ``frame``, which is ``row`` of the scored batch; frames must come in order."""
        silence = self._silence(frame.time_s)
        if self.detector.silent:
            self._health.silence_told()
        if self.detector.outdated(frame.time_s):
            self._health.new_scene()
        health = self._rules.heard(self._health.check(frame))
        surprise, background = float(scores.surprise[row]), float(scores.background[row])
        residual, damage = float(scores.residual[row]), float(scores.damage[row])
        sample = Sample(frame.time_s, surprise - background, scores.latent[row], health, damage)
        judged = self.detector.update(sample)
        for event in judged.events:
            if event.kind in SCENE and event.phase != Phase.UPDATE:
                self._health.new_scene()
            elif event.phase == Phase.START:
                self._health.forget_waiting()
        quiet = self.detector.quiet and sample.scored
        proposal = self._drift.update(frame.time_s, judged.levels, quiet=quiet)
        judged = replace(judged, events=silence + judged.events)
        return Watched(
            frame, surprise, background, residual, damage, health, judged, sample.scored, scores.heat[row], scores.latent[row],
            proposal,
        )  # fmt: skip

    def _silence(self, time_s: float) -> tuple[Event, ...]:
        """Say that nothing came since the frame before, where that was so for too long."""
        since_s, self._last_s = self._last_s, time_s
        limit_s = self._silent_after_s
        if since_s is None or limit_s is None or time_s - since_s <= limit_s:
            return ()
        return self.detector.no_frames(since_s + limit_s, since_s, limit_s)


def watch(frames: Iterable[Frame], engine: Engine, stream: Stream, batch: int = BATCH) -> Iterator[Watched]:
    """Score and judge every frame, in order, ``batch`` frames a call."""
    frames = iter(frames)
    while group := list(islice(frames, batch)):
        scores = score(engine, group, [stream.image(frame) for frame in group])
        for row, frame in enumerate(group):
            yield stream.judge(frame, scores, row)
