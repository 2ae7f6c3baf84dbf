"""A family of methods judged by a protocol's folds, and the folds that are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engines.density import Projection
from training.ablation.methods import Known, Score, known, scorer
from training.protocols import Clip, Fold, Learn, Outcome, Scorer, judge

HALVINGS = 200

Family = Callable[[Known], dict[str, Score]]


@dataclass(frozen=True, slots=True)
class Setting:
    """How a family is judged. projection: None to learn it in each fold. smoothing_s: of the scores."""

    projection: Projection | None = None
    narrow: bool = False
    smoothing_s: float = 0.0


def learning(family: Family, setting: Setting) -> Learn:
    """What a family learns of a fold."""

    def learn(normal: Sequence[Clip], background: Sequence[Clip]) -> dict[str, Scorer]:
        learnt = known(normal, background, setting.projection, narrow=setting.narrow)
        return {name: scorer(score, learnt.projection) for name, score in family(learnt).items()}

    return learn


def outcomes(folds: Iterable[Fold], family: Family, setting: Setting) -> dict[str, Outcome]:
    """Judge every method of a family."""
    return judge(folds, learning(family, setting), ewma_s=setting.smoothing_s)


def nested(candidates: dict[str, Outcome], seed: int = 0) -> tuple[float, float, dict[str, int]]:
    """Choose on a random half of the drives of both kinds, report on the other half, HALVINGS times: mean, mean of
    the worst drives, and how often each candidate was chosen."""
    random = np.random.default_rng(seed)
    pairs = next(iter(candidates.values())).pairs
    sides = [sorted({pair[i] for pair in pairs}) for i in (0, 1)]
    tables = {
        name: np.array([[o.pairs.get((n, t), np.nan) for t in sides[1]] for n in sides[0]])
        for name, o in candidates.items()
    }
    means, worst, chosen = [], [], dict.fromkeys(candidates, 0)
    for _ in range(HALVINGS):
        halves = [random.permutation(len(side)) < len(side) // 2 for side in sides]
        seen, unseen = (np.ix_(*(h if first else ~h for h in halves)) for first in (True, False))
        best = max(tables, key=lambda name: float(np.nanmean(tables[name][seen])))
        rows = np.nanmean(tables[best][unseen], axis=1)
        means.append(rows.mean())
        worst.append(rows.min())
        chosen[best] += 1
    return float(np.mean(means)), float(np.mean(worst)), chosen


def unshipped(folds: Iterable[Fold], suite: Sequence[Clip]) -> Iterable[Fold]:
    """The folds without testing a camera of which any recording trained what ships or is in its background."""
    seen = {c.rig for c in suite if c.ship}
    for fold in folds:
        tested = [
            tuple(c for c in clips if c.rig not in seen) for clips in (fold.tested_normal, fold.tested_other)
        ]
        if all(tested):
            yield replace(fold, tested_normal=tested[0], tested_other=tested[1])


def alone(folds: Iterable[Fold]) -> Iterable[Fold]:
    """The folds with no other drives to know."""
    return (Fold(f.normal, (), f.tested_normal, f.tested_other) for f in folds)


def with_weather(make: Callable[[], Iterable[Fold]], weathered: Sequence[Clip]) -> Iterable[Fold]:
    """The folds, taught the weathered pictures of their drives too."""
    for fold in make():
        sides = []
        for clips in (fold.normal, fold.background):
            mine = {(c.rig, c.label, c.drive) for c in clips}
            # A big rig's drives may have been joined under its name.
            more = (w for w in weathered if {(w.rig, w.label, w.drive), (w.rig, w.label, w.rig)} & mine)
            sides.append(
                (*clips, *(replace(w, drive=w.rig) if (w.rig, w.label, w.rig) in mine else w for w in more))
            )
        yield Fold(sides[0], sides[1], fold.tested_normal, fold.tested_other)
