"""The rows of the leaderboard: every density on one model, and what is trivial."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from engines.density import Floats, squared_distances
from engines.frames import Image
from engines.tilt import Side
from training.ablation.methods import Known, Score, gaussians, known, ratio, surprise, tilt
from training.ablation.outcomes import Family, Setting, alone, outcomes, unshipped
from training.fit import COMPONENTS
from training.leaderboard.footage import Filmed, pictured, resized
from training.leaderboard.models import Model
from training.leaderboard.page import Bottle, Entry, Figure
from training.mixture import fit_gaussian, fit_mixture
from training.protocols import (
    NORMAL,
    Clip,
    DefectOutcome,
    Fold,
    Outcome,
    Scorer,
    defects,
    judge,
    onboarded,
    same_rig,
    unseen_camera,
    unseen_rig,
)

LEADING, NARROW, WIDE = 10, 1.0, 2.0
"""Directions and bandwidth of relative densities, and bandwidth in all directions."""
GROUPS = 3
"""Of other cameras in protocol B."""
AXES = 192
"""Features of more than these are first cut to the principal axes of the suite."""
Folds = Mapping[str, Callable[[], Iterable[Fold]]]


def absolute(k: Known) -> dict[str, Score]:
    """Densities that know normal drives alone."""
    normal = k.normal
    return {
        "kde": surprise(k, 0, WIDE),
        "gaussian": fit_gaussian(normal.latent, normal.weights).surprise,
        "gmm": fit_mixture(normal.latent, normal.weights, COMPONENTS).surprise,
    }


def against(shipped: Side, k: Known) -> dict[str, Score]:
    """Normal drives against the background that ships with the encoder."""
    return {"kde, shipped background": tilt(replace(k, other=shipped), LEADING, NARROW)}


def relative(k: Known) -> dict[str, Score]:
    """Densities of normal drives against those of everything known."""
    return {
        "kde, relative": ratio(k, LEADING, NARROW),
        "gaussian, relative": gaussians(k, LEADING, 1),
        "gmm, relative": gaussians(k, LEADING, COMPONENTS),
        "kde, tilted": tilt(k, LEADING, NARROW),
    }


def narrow_folds(clips: Sequence[Clip]) -> dict[str, Callable[[], Iterable[Fold]]]:
    """The protocols with normal drives alone."""
    return {
        "A": lambda: same_rig(clips),
        "B": lambda: alone(unseen_camera(clips, folds=GROUPS)),
        "B'": lambda: alone(unseen_rig(clips)),
        "C": lambda: onboarded(clips),
        "C+": lambda: onboarded(clips, with_cameras=True),
    }


def wide_folds(clips: Sequence[Clip]) -> dict[str, Callable[[], Iterable[Fold]]]:
    """The protocols in which other drives are known."""
    return {
        "A+": lambda: same_rig(clips, other_taught=True),
        "B": lambda: unseen_camera(clips, folds=GROUPS),
        "B'": lambda: unseen_rig(clips),
    }


def unseen(folds: Iterable[Fold], model: Model) -> Iterable[Fold]:
    """The folds whose tested drives neither trained the encoder nor are in the background that it ships with."""
    for fold in unshipped(folds) if model.background is not None else folds:
        tested = tuple(c for c in fold.tested_normal if c.drive not in model.seen)
        if tested:
            yield replace(fold, tested_normal=tested)


def rotated(clips: Sequence[Clip]) -> list[Clip]:
    """Features cut to AXES principal axes of the whole suite, unlabelled, where there are more: a fold's own axes are then
    found in seconds."""
    if clips[0].late.shape[1] <= AXES:
        return list(clips)
    features = np.concatenate([c.late for c in clips]).astype(np.float64)
    mean = features.mean(0)
    _, vectors = np.linalg.eigh((features - mean) @ (features - mean).T)
    basis, _ = np.linalg.qr((features - mean).T @ vectors[:, -AXES:])
    return [replace(c, late=((c.late - mean) @ basis).astype(np.float32)) for c in clips]


def entries(model: Model, clips: Sequence[Clip]) -> list[Entry]:
    """A row for every density on one model."""
    shipped = model.background
    own = Setting(None if shipped is None else shipped.projection, narrow=True)
    jobs: list[tuple[Family, Folds, Setting]] = [
        (absolute, narrow_folds(rotated(clips) if shipped is None else clips), own),
        (relative, wide_folds(rotated(clips)), Setting()),
    ]
    if shipped is not None:
        world = Side(shipped.density.support, np.exp(shipped.density.log_weights))
        jobs.append((partial(against, world), narrow_folds(clips), own))
    rows = []
    for family, protocols, setting in jobs:
        seconds = _seconds(family, clips, setting)
        figures: dict[str, dict[str, Figure]] = {name: {} for name in seconds}
        for protocol, make in protocols.items():
            for name, outcome in outcomes(unseen(make(), model), family, setting).items():
                figures[name][protocol] = figure(outcome)
        rows += [Entry(model.name, name, found, seconds[name]) for name, found in figures.items()]
    return rows


def figure(outcome: Outcome) -> Figure:
    """What the page says of an outcome."""
    low, high = outcome.interval()
    drive, worst = outcome.worst
    return Figure(outcome.auroc, low, high, worst, drive, len(outcome.drives))


def _seconds(family: Family, clips: Sequence[Clip], setting: Setting) -> dict[str, float]:
    """To fit each density of a family to all highways, projection included; densities share the projection's time."""
    sides = [[c for c in clips if (c.label == NORMAL) == wanted] for wanted in (True, False)]
    started = time.perf_counter()
    learnt = known(
        sides[0], sides[1] if family is relative else (), setting.projection, narrow=setting.narrow
    )
    names = family(learnt)
    # All of a family at once: what is shared cannot be told apart.
    return dict.fromkeys(names, (time.perf_counter() - started) / len(names))


def bottles(model: Model, bottle: Path, cache: Path) -> list[Bottle]:
    """Every absolute density on MVTec's bottle, learnt from its good pictures."""
    normal, good, defective = pictured(model, bottle, cache)

    def method(name: str, clips: Sequence[Clip], background: Sequence[Clip]) -> Scorer:
        learnt = known(clips, (), None)
        score = absolute(learnt)[name]
        return lambda clip: score(learnt.projection.latent(clip.late.astype(np.float64)))

    names = ("kde", "gaussian", "gmm")
    found = [(n, defects(normal, good, defective, partial(method, n))) for n in names]
    return [_bottle(model.name, name, outcome) for name, outcome in found]


def _bottle(model: str, density: str, found: DefectOutcome) -> Bottle:
    return Bottle(model, density, found.auroc, found.f1, found.best_f1, found.f1_all_positive)


def baselines(filmed: Sequence[Filmed]) -> list[Entry]:
    """What is trivial: brightness, change since the frame before, the nearest frame as pixels."""
    rows = []
    features: dict[str, Callable[[Filmed], Floats]] = {
        "mean brightness": lambda f: f.images.mean((1, 2, 3))[:, None],
        "frame difference": lambda f: f.changes[:, None],
        "raw pixels, 1-NN": lambda f: _pixels(f.images),
    }
    for name, feature in features.items():
        clips = [c for c in (f.clip(feature(f)) for f in filmed) if np.isfinite(c.late).all()]
        method = _as_it_is if name == "frame difference" else _nearest
        figures = {}
        for protocol, make in narrow_folds(clips).items():
            folds = [f for f in make() if f.normal and f.tested_normal and f.tested_other]
            if folds:
                figures[protocol] = figure(judge(folds, method))
        rows.append(Entry(name, "baseline", figures, 0.0))
    return rows


def _pixels(images: Image) -> Floats:
    small = resized(images, (16, 24)).astype(np.float64) / 255.0
    return np.asarray(small.mean(3).reshape(len(images), -1), np.float64)


def _nearest(normal: Sequence[Clip], background: Sequence[Clip]) -> Scorer:
    taught = np.concatenate([c.late for c in normal]).astype(np.float64)
    return lambda clip: np.asarray(np.sqrt(squared_distances(clip.late.astype(np.float64), taught).min(1)))


def _as_it_is(normal: Sequence[Clip], background: Sequence[Clip]) -> Scorer:
    return lambda clip: np.asarray(clip.late[:, 0], np.float64)
