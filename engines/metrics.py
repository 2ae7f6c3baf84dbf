"""How well scores tell two kinds apart, and how sure a handful of drives can be of it. numpy alone.

Everything is weighted, so that a long drive counts no more than a short one, and every interval is over drives,
never over frames: neighbouring frames are near-duplicates, and an interval over them would promise what a
dozen drives cannot. F1 is counted frame by frame; the point-adjusted kind, which calls a whole stretch found
once one of its frames is, is not here on purpose: noise scores well in it (Kim et al., AAAI 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from engines.density import Floats

Interval = tuple[float, float]
Metric = Callable[["Curve"], float]

ENOUGH_RECALL = 0.95
MOST_ROWS = 50_000
"""Rows that a bootstrap looks at: each drive is thinned evenly beyond them."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What each threshold would find, from the highest to the lowest; ties are one threshold.

    thresholds: T, a row is found if its score reaches one. found, false: T, the weight of the positives and of
    the negatives found. positive, negative: the whole weight of each, both above 0."""

    thresholds: NDArray[np.floating]
    found: Floats
    false: Floats
    positive: float
    negative: float


class Ranking:
    """N scores in falling order, to be weighed in different ways.

    scores: N, higher is more positive, finite. positive: N. Raises ValueError where one of the two kinds is
    missing: nothing can be told apart then."""

    def __init__(self, scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> None:
        if not positive.any() or positive.all():
            raise ValueError(f"both kinds must be there, got {positive.sum()} positives of {len(positive)}")
        if not np.isfinite(scores).all():
            raise ValueError("scores must be finite")
        self._order = np.argsort(-scores, kind="stable")
        falling = scores[self._order]
        self._positive = positive[self._order]
        self._last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
        self._thresholds = falling[self._last]

    def curve(self, weights: Floats) -> Curve:
        """The curve with one weight per row, in the order the scores were given."""
        weights = weights[self._order]
        found = np.cumsum(np.where(self._positive, weights, 0.0))
        false = np.cumsum(np.where(self._positive, 0.0, weights))
        return Curve(
            self._thresholds, found[self._last], false[self._last], float(found[-1]), float(false[-1])
        )


def between(negative: NDArray[np.floating], positive: NDArray[np.floating]) -> Curve:
    """The curve of two lots of scores that all weigh the same."""
    scores = np.concatenate([negative, positive])
    return Ranking(scores, np.arange(len(scores)) >= len(negative)).curve(np.ones(len(scores)))


def auroc(curve: Curve) -> float:
    """The chance that a positive scores above a negative, ties counting half (Mann & Whitney 1947)."""
    found = np.concatenate([[0.0], curve.found])
    false = np.concatenate([[0.0], curve.false])
    area = float(np.sum(np.diff(false) * (found[1:] + found[:-1])) / 2.0)
    return min(1.0, area / (curve.positive * curve.negative))  # the sum may round above it


def auprc(curve: Curve) -> float:
    """Average precision: the precision at each threshold, weighted by the recall it adds. Without
    interpolation, which would flatter."""
    gained = np.diff(np.concatenate([[0.0], curve.found])) / curve.positive
    precision = curve.found / np.maximum(curve.found + curve.false, 1e-300)
    return min(1.0, float(gained @ precision))


def fpr95(curve: Curve) -> float:
    """Share of the negatives above the threshold that finds 95 % of the positives."""
    enough = np.flatnonzero(curve.found >= (ENOUGH_RECALL - 1e-12) * curve.positive)
    return float(curve.false[enough[0]] / curve.negative)


def best_f1(curve: Curve) -> float:
    """F1 at the threshold that is best on these very rows: what no threshold chosen beforehand can exceed."""
    return min(1.0, float(np.max(2.0 * curve.found / (curve.found + curve.false + curve.positive))))


def f1_all_positive(curve: Curve) -> float:
    """F1 of calling everything positive: what a score must beat to have said anything."""
    return 2.0 * curve.positive / (2.0 * curve.positive + curve.negative)


def f1(flagged: NDArray[np.bool_], positive: NDArray[np.bool_], weights: Floats) -> float:
    """F1 of a decision already taken; 0 where nothing was flagged."""
    right = float(weights[flagged & positive].sum())
    return min(1.0, 2.0 * right / max(float(weights[flagged].sum() + weights[positive].sum()), 1e-300))


def bootstrap(
    scores: Floats,
    positive: NDArray[np.bool_],
    drives: NDArray[np.int64],
    groups: NDArray[np.int64],
    metrics: Mapping[str, Metric],
    *,
    flagged: NDArray[np.bool_] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Percentile intervals of ``metrics`` over resampled groups of drives (Efron 1979), positives and negatives
    apart.

    drives: N, the drive of each row, all of which weigh the same. groups: N, what is resampled as one: drives of
    one camera on one day vouch for each other. flagged: N, to have the interval of ``f1`` as well. None where a
    kind has fewer than two groups: resampling one drive says nothing of the next."""
    names = [*metrics, *(["f1"] if flagged is not None else [])]
    if min(len(np.unique(groups[positive])), len(np.unique(groups[~positive]))) < 2:
        return dict.fromkeys(names)
    rows = thinned(drives, MOST_ROWS)
    scores, positive, drives, groups = scores[rows], positive[rows], drives[rows], groups[rows]
    weights = drive_shares(drives)
    ranking = Ranking(scores, positive)
    _, number = np.unique(groups, return_inverse=True)
    kinds = [np.unique(number[positive]), np.unique(number[~positive])]
    random = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(resamples):
        # One count per kind and group: a group with drives of both kinds is drawn for each of them apart.
        drawn = [np.bincount(random.choice(k, len(k)), minlength=number.max() + 1) for k in kinds]
        drawn_weights = weights * np.where(positive, drawn[0][number], drawn[1][number])
        curve = ranking.curve(drawn_weights)
        for name, metric in metrics.items():
            found[name].append(metric(curve))
        if flagged is not None:
            found["f1"].append(f1(flagged[rows], positive, drawn_weights))
    tail = 50.0 * (1.0 - level)
    return {
        name: (float(np.percentile(values, tail)), float(np.percentile(values, 100.0 - tail)))
        for name, values in found.items()
    }


def drive_shares(drives: NDArray[np.int64]) -> Floats:
    """One weight per row such that the rows of each drive sum to 1."""
    _, inverse, counts = np.unique(drives, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[inverse])


def thinned(drives: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Rows, about ``most`` of them, evenly spaced within each drive; short drives keep every row."""
    names = np.unique(drives)
    share = max(1, most // len(names))
    rows = [np.flatnonzero(drives == name) for name in names]
    chosen = [r[np.unique(np.linspace(0, len(r) - 1, min(share, len(r))).astype(np.int64))] for r in rows]
    return np.concatenate(chosen)


def poisson_interval(count: int, level: float = 0.95) -> Interval:
    """The exact interval for the mean of a Poisson count (Garwood 1936), by bisection on the distribution.

    A rate's interval is this over the hours watched."""
    if count < 0:
        raise ValueError(f"a count must be 0 or more, got {count}")
    tail = (1.0 - level) / 2.0
    # P(X ≥ count | lower) = tail and P(X ≤ count | upper) = tail.
    lower = _mean_at(count - 1, 1.0 - tail) if count else 0.0
    return lower, _mean_at(count, tail)


def _mean_at(count: int, probability: float) -> float:
    """The mean at which P(X ≤ count) has fallen to ``probability``."""
    low, high = 0.0, count + 12.0 * math.sqrt(count + 1.0) + 20.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _poisson_cdf(count, middle) > probability else (low, middle)
    return 0.5 * (low + high)


def _poisson_cdf(count: int, mean: float) -> float:
    """P(X ≤ count), its terms summed from the largest exponent so that no mean is too large."""
    if mean <= 0.0:
        return 1.0
    number = np.arange(count + 1, dtype=np.float64)
    logs = number * math.log(mean) - mean - np.concatenate([[0.0], np.cumsum(np.log(number[1:]))])
    peak = float(logs.max())
    return min(1.0, math.exp(peak) * float(np.exp(logs - peak).sum()))


def share_interval(share: float, trials: int, level: float = 0.95) -> Interval:
    """Interval of a share over ``trials`` independent trials (Wilson 1927). Unlike a bootstrap it stays honest at 0
    and 1: two of two is no proof."""
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    return 0.0 if share <= 0.0 else centre - reach, 1.0 if share >= 1.0 else centre + reach


def quantile(values: list[float], share: float) -> float | None:
    """The ``share`` quantile of ``values``, None where there are none."""
    return float(np.quantile(values, share)) if values else None
