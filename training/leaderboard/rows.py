"""The rows of the leaderboard: every density on one model, and what is trivial."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from engines.density import Floats, squared_distances
from engines.frames import Image
from engines.tilt import Side
from training.ablation.methods import Known, Score, gaussians, known, ratio, surprise, tilt, tilt_by
from training.ablation.outcomes import Family, Setting, alone, learning, unshipped
from training.fit import COMPONENTS
from training.leaderboard.figures import Bottle, Entry, Figure
from training.leaderboard.footage import Filmed, pictured, resized
from training.leaderboard.models import Model
from training.mixture import fit_gaussian, fit_mixture
from training.protocols import (
    NORMAL,
    Clip,
    Fold,
    Learn,
    Method,
    Outcome,
    Scorer,
    judge,
    onboarded,
    same_rig,
    unseen_camera,
    unseen_rig,
)
from training.thresholds import TURNS, Decided, DefectOutcome, decide, defects

EDGE_SIZE = (96, 144)
LEADING, NARROW, WIDE = 10, 1.0, 2.0
"""Directions and bandwidth of relative densities, and bandwidth in all directions."""
GROUPS = 3
"""Of other cameras in protocol B."""
FITS = 3
"""Of which the fastest is told."""
LEVEL, DECIDED = 0.05, ("A", "A+", "B")
"""Share of normal frames above a threshold, and the protocols in which one is set."""
AXES = 192
"""Features of more than these are first cut to the principal axes of the suite."""
Folds = Mapping[str, Callable[[], Iterable[Fold]]]


SHIPPED = "kde, shipped background"
DENSITIES = ("kde", "gaussian", "gmm")


def absolute(k: Known) -> dict[str, Score]:
    """Densities that know normal drives alone."""
    normal = k.normal
    return {
        "kde": surprise(k, 0, WIDE),
        "gaussian": fit_gaussian(normal.latent, normal.weights).surprise,
        "gmm": fit_mixture(normal.latent, normal.weights, COMPONENTS).surprise,
    }


def against(shipped: Side, k: Known) -> dict[str, Score]:
    """Normal drives against the background that ships with the encoder, all of which is taken for other."""
    return {
        SHIPPED: tilt_by(k, shipped, 0, WIDE),
        f"{SHIPPED}, {LEADING} directions": tilt_by(k, shipped, LEADING, NARROW),
    }


def relative(k: Known) -> dict[str, Score]:
    """Densities of normal drives against those of everything known."""
    return {
        "kde, relative": ratio(k, LEADING, NARROW),
        "gaussian, relative": gaussians(k, LEADING, 1),
        "gmm, relative": gaussians(k, LEADING, COMPONENTS),
        "kde, tilted": tilt(k, LEADING, NARROW),
    }


def narrow_folds(clips: Sequence[Clip]) -> Folds:
    """The protocols with normal drives alone."""
    made: Folds = {
        "A": lambda: same_rig(clips),
        "B": lambda: alone(unseen_camera(clips, folds=GROUPS)),
        "B'": lambda: alone(unseen_rig(clips)),
        "C": lambda: onboarded(clips),
        "C+": lambda: onboarded(clips, with_cameras=True),
    }
    return _of_strangers(made, clips)


def _of_strangers(made: Folds, clips: Sequence[Clip]) -> Folds:
    """Without testing a camera that trained what ships, for any model, so that all rows are on the same drives."""
    return {name: partial(_tested, make, clips) for name, make in made.items()}


def _tested(make: Callable[[], Iterable[Fold]], clips: Sequence[Clip]) -> Iterable[Fold]:
    return (f for f in unshipped(make(), clips) if f.normal)


def wide_folds(clips: Sequence[Clip]) -> Folds:
    """The protocols in which other drives are known."""
    made: Folds = {
        "A+": lambda: same_rig(clips, other_taught=True),
        "B": lambda: unseen_camera(clips, folds=GROUPS),
        "B'": lambda: unseen_rig(clips),
    }
    return _of_strangers(made, clips)


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


def entries(model: Model, looked: Mapping[str, Sequence[Clip]]) -> list[Entry]:
    """A row for every density on one model, and for its decoder. looked: as ``footage.encoded`` says."""
    clips, shipped = looked["late"], model.background
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
        rows += judged(model.name, protocols, learning(family, setting), _seconds(family, clips, setting))
    if "reconstruction" in looked:
        errors = narrow_folds(looked["reconstruction"])
        rows += judged(model.name, errors, _only("reconstruction", _as_it_is), {"reconstruction": 0.0})
    return rows


def judged(model: str, protocols: Folds, learn: Learn, seconds: Mapping[str, float]) -> list[Entry]:
    """A row for every method that ``learn`` gives. seconds: to fit each."""
    figures: dict[str, dict[str, Figure]] = {}
    decided: dict[str, dict[str, Decided]] = {}
    for protocol, make in protocols.items():
        folds = list(make())
        for name, outcome in judge(folds, learn).items():
            figures.setdefault(name, {})[protocol] = figure(outcome)
        if protocol in DECIDED:
            for name, decision in decide(folds, learn, LEVEL).items():
                decided.setdefault(name, {})[protocol] = decision
    return [Entry(model, n, found, decided.get(n, {}), seconds.get(n, 0.0)) for n, found in figures.items()]


def _only(name: str, method: Method) -> Learn:
    return lambda normal, background: {name: method(normal, background)}


def figure(outcome: Outcome) -> Figure:
    """What the page says of an outcome."""
    low, high = outcome.interval()
    drive, worst = outcome.worst
    return Figure(outcome.auroc, low, high, worst, drive, len(outcome.drives))


def _seconds(family: Family, clips: Sequence[Clip], setting: Setting) -> dict[str, float]:
    """To fit each density of a family to all highways, projection included; densities share the projection's time."""
    sides = [[c for c in clips if (c.label == NORMAL) == wanted] for wanted in (True, False)]
    spent = []
    for _ in range(FITS):
        started = time.perf_counter()
        learnt = known(
            sides[0], sides[1] if family is relative else (), setting.projection, narrow=setting.narrow
        )
        names = list(family(learnt))
        spent.append(time.perf_counter() - started)
    # All of a family at once: what is shared cannot be told apart.
    return dict.fromkeys(names, min(spent) / len(names))


def bottles(model: Model, bottle: Path, cache: Path) -> list[Bottle]:
    """Every density that knows good pictures alone on MVTec's bottle, and the decoder."""
    looked = pictured(model, bottle, cache)
    # What an encoder was trained on is no held-out picture.
    turns = range(TURNS) if model.bottles is None else range(1)

    def density(name: str, clips: Sequence[Clip], background: Sequence[Clip]) -> Scorer:
        learnt = known(clips, (), None)
        score = absolute(learnt)[name]
        return lambda clip: score(learnt.projection.latent(clip.late.astype(np.float64)))

    jobs: list[tuple[str, str, Method]] = [(n, "late", partial(density, n)) for n in DENSITIES]
    jobs += [("reconstruction", "reconstruction", _as_it_is)] if "reconstruction" in looked else []
    found = []
    for name, which, method in jobs:
        normal, good, defective = looked[which]
        outcome = defects(normal, good, defective, method, turns=turns)
        found.append(_bottle(model.name, name, outcome))
    return found


def _bottle(model: str, density: str, found: DefectOutcome) -> Bottle:
    return Bottle(model, density, found.auroc, found.f1, found.best_f1, found.f1_all_positive)


def _pixels(images: Image) -> Floats:
    small = resized(images, (16, 24)).astype(np.float64) / 255.0
    return np.asarray(small.mean(3).reshape(len(images), -1), np.float64)


def _nearest(normal: Sequence[Clip], background: Sequence[Clip]) -> Scorer:
    taught = np.concatenate([c.late for c in normal]).astype(np.float64)
    return lambda clip: np.asarray(np.sqrt(squared_distances(clip.late.astype(np.float64), taught).min(1)))


def _as_it_is(normal: Sequence[Clip], background: Sequence[Clip]) -> Scorer:
    return lambda clip: np.asarray(clip.late[:, 0], np.float64)


def _edges(images: Image) -> Floats:
    """N × 1: mean length of the grey gradient, grey levels per pixel."""
    small = resized(images, EDGE_SIZE)
    grey = [cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(np.float64) for i in small]
    return np.array([[np.hypot(*np.gradient(g)).mean()] for g in grey])


BASELINES: dict[str, tuple[Callable[[Filmed], Floats], Method]] = {
    "mean brightness": (lambda f: f.images.mean((1, 2, 3))[:, None], _nearest),
    "mean edge strength": (lambda f: _edges(f.images), _as_it_is),
    "frame difference": (lambda f: f.changes[:, None], _as_it_is),
    "raw pixels, 1-NN": (lambda f: _pixels(f.images), _nearest),
}
"""What is trivial: how far a picture's brightness, or the picture itself, is from the nearest normal one's; how busy it is;
how much it differs from the one before. The last two know no normal footage: more is stranger."""


def baselines(filmed: Sequence[Filmed]) -> list[Entry]:
    """A row for each of BASELINES."""
    rows = []
    for name, (feature, method) in BASELINES.items():
        clips = [c for c in (f.clip(feature(f)) for f in filmed) if np.isfinite(c.late).all()]
        possible = {p: make for p, make in narrow_folds(clips).items() if any(True for _ in make())}
        rows += judged(name, possible, _only("baseline", method), {})
    return rows
