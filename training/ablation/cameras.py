"""One camera among many: what becomes of an onboarded camera when others are taught too (protocol C).

A density of many cameras calls another camera's town nearer to normal than a density of one camera does. Here each camera
keeps a density of its own, and the question is which one a frame is asked of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from engines.density import Floats
from engines.tilt import Side
from training.ablation.methods import Known, Score, kernels, known, surprise
from training.ablation.outcomes import Setting, unshipped
from training.protocols import Clip, Fold, Learn, Outcome, Scorer, judge, onboarded

FIRST = 5
"""Frames by which a stream is told whose it is, one or two seconds of it."""
BANDWIDTH = 2.0

Densities = Mapping[str, Score]


def apart(k: Known) -> dict[str, Score]:
    """A density of every camera, by its name."""
    names = np.array(k.drives)
    found: dict[str, Score] = {}
    for name in np.unique(names):
        latent = k.normal.latent[names == name]
        side = Side(latent, np.full(len(latent), 1.0 / len(latent)))
        found[str(name)] = kernels(side, 0, BANDWIDTH).surprise
    return found


def offsets(k: Known) -> dict[str, float]:
    """What each camera's own frames typically score when half of it is held out, so that cameras can be compared."""
    names = np.array(k.drives)
    found: dict[str, float] = {}
    for name in np.unique(names):
        halves = np.array_split(k.normal.latent[names == name], 2)
        found[str(name)] = 0.0
        if min(map(len, halves)):
            sides = [Side(h, np.full(len(h), 1.0 / len(h))) for h in halves]
            scores = [
                kernels(a, 0, BANDWIDTH).surprise(b.latent)
                for a, b in zip(sides, reversed(sides), strict=True)
            ]
            found[str(name)] = float(np.median(np.concatenate(scores)))
    return found


def nearest(densities: Densities, latent: Floats) -> str:
    """The camera to which a stream's first frames are least strange."""
    return min(densities, key=lambda name: float(densities[name](latent[:FIRST]).mean()))


def ways(setting: Setting, fold: Fold) -> Learn:
    """The ways to ask, in one fold: its first taught clip is the camera's own."""

    def learn(normal: Sequence[Clip], background: Sequence[Clip]) -> dict[str, Scorer]:
        k = known(normal, background, setting.projection, narrow=True)
        densities, typical = apart(k), offsets(k)

        def latent(clip: Clip) -> Floats:
            return k.projection.latent(clip.late.astype(np.float64))

        own = fold.tested_normal[0].drive
        kept = nearest(densities, latent(fold.tested_normal[0]))
        scores: dict[str, Callable[[Floats], Floats]] = {
            "one density of all cameras": surprise(k, 0, BANDWIDTH),
            "least strange to any camera, less what is typical of it": lambda x: np.min(
                [densities[c](x) - typical[c] for c in densities], axis=0
            ),
            "the camera nearest to each recording's first frames": lambda x: densities[nearest(densities, x)](
                x
            ),
            "the camera nearest to this camera's first frames, kept": densities[kept],
            "the camera by its name": densities[own],
        }
        return {name: lambda clip, score=score: score(latent(clip)) for name, score in scores.items()}  # type: ignore[misc]

    return learn


def among_many(clips: Sequence[Clip], setting: Setting) -> dict[str, Outcome]:
    """Protocol C alone, and with the other cameras, by each of ``ways``."""
    alone = judge(
        unshipped(onboarded(clips), clips),
        lambda normal, background: {"taught alone": ways_alone(normal, setting)},
    )
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    for fold in unshipped(onboarded(clips, with_cameras=True), clips):
        for name, outcome in judge([fold], ways(setting, fold)).items():
            for pair, value in outcome.pairs.items():
                found.setdefault(name, {}).setdefault(pair, []).append(value)
    joined = {n: Outcome({p: float(np.mean(v)) for p, v in pairs.items()}) for n, pairs in found.items()}
    return alone | joined


def ways_alone(normal: Sequence[Clip], setting: Setting) -> Scorer:
    """The density of one camera."""
    k = known(normal, (), setting.projection, narrow=True)
    score = surprise(k, 0, BANDWIDTH)
    return lambda clip: score(k.projection.latent(clip.late.astype(np.float64)))
