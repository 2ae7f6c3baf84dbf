"""What a threshold from normal footage alone comes to: on drives, and on pictures of defects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from engines.density import Floats
from engines.metrics import auroc, best_f1, between, f1, f1_all_positive
from training.protocols import Clip, Fold, Learn, Method, scores_by_drive

TURNS = 5
"""In which pictures are held out."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What a threshold from normal footage alone comes to. false, found: share of the frames of normal and of other drives
    above it, drives weighing the same."""

    false: float
    found: float

    def f1(self, share: float) -> float:
        """Where ``share`` of all frames are other: it depends on that more than on anything a detector does."""
        hits = share * self.found
        return 2.0 * hits / max(share + hits + (1.0 - share) * self.false, 1e-300)


def decide(folds: Iterable[Fold], learn: Learn, level: float, parts: int = 4) -> dict[str, Decided]:
    """Each fold's threshold is the conformal 1 - ``level`` quantile of its own normal frames, held out by rig (by drive
    where there is one rig) in ``parts`` turns; no tested frame has a say in it."""
    found: dict[str, list[tuple[float, float]]] = {}
    for fold in folds:
        thresholds = {n: conformal_threshold(s, level) for n, s in _held_out(fold, learn, parts).items()}
        for name, scorer in learn(fold.normal, fold.background).items():
            above = [
                [float((s > thresholds[name]).mean()) for s in scores_by_drive(clips, scorer).values()]
                for clips in (fold.tested_normal, fold.tested_other)
            ]
            found.setdefault(name, []).append((float(np.mean(above[0])), float(np.mean(above[1]))))
    return {name: Decided(*(float(v) for v in np.mean(rates, axis=0))) for name, rates in found.items()}


def _held_out(fold: Fold, learn: Learn, parts: int) -> dict[str, Floats]:
    """What each method says of the fold's normal frames when it was not taught them."""
    several = len({c.rig for c in fold.normal}) > 1
    groups = [c.rig if several else c.drive for c in fold.normal]
    names = sorted(set(groups))
    held: dict[str, list[Floats]] = {}
    for part in range(min(parts, len(names))):
        out = set(names[part::parts])
        taught = [c for c, group in zip(fold.normal, groups, strict=True) if group not in out]
        asked = [c for c, group in zip(fold.normal, groups, strict=True) if group in out]
        for name, scorer in learn(taught, fold.background).items():
            held.setdefault(name, []).extend(scorer(c) for c in asked)
    return {name: np.concatenate(scores) for name, scores in held.items()}


@dataclass(frozen=True, slots=True)
class DefectOutcome:
    """Verdict on single pictures. f1: at the threshold from normal pictures alone; best_f1: at the best
    threshold in hindsight; f1_all_positive: of calling everything a defect."""

    auroc: float
    f1: float
    best_f1: float
    f1_all_positive: float
    threshold: float


def defects(
    normal: Clip,
    good: Clip,
    defective: Clip,
    method: Method,
    *,
    level: float = 0.01,
    turns: Sequence[int] = range(TURNS),
) -> DefectOutcome:
    """MVTec: threshold at the conformal 1 - ``level`` quantile of normal pictures that were held out, each TURNS-th in turn;
    ``turns`` says which turns there are, where an encoder was trained on what the others would hold out."""
    held_out = []
    for turn in turns:
        out = np.arange(len(normal)) % TURNS == turn
        held_out.append(method((normal.part(~out),), ())(normal.part(out)))
    threshold = conformal_threshold(np.concatenate(held_out), level)
    scorer = method((normal,), ())
    clean, broken = scorer(good), scorer(defective)
    curve, scores = between(clean, broken), np.concatenate([clean, broken])
    decided = f1(scores > threshold, np.arange(len(scores)) >= len(clean), np.ones(len(scores)))
    return DefectOutcome(auroc(curve), decided, best_f1(curve), f1_all_positive(curve), threshold)


def conformal_threshold(clean: Floats, level: float) -> float:
    """The ⌈(n+1)(1-level)⌉-th smallest of n clean scores: an exchangeable one exceeds it with probability ≤
    ``level``; the largest where n is too small to promise that."""
    rank = int(np.ceil((len(clean) + 1) * (1.0 - level)))
    return float(np.sort(clean)[min(rank, len(clean)) - 1])
