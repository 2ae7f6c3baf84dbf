"""Metrics against their definitions, counted out by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.metrics import (
    Ranking,
    auprc,
    auroc,
    best_f1,
    between,
    bootstrap,
    drive_shares,
    f1,
    f1_all_positive,
    fpr95,
    poisson_interval,
    quantile,
    share_interval,
    thinned,
)

METRICS = {"auroc": auroc, "auprc": auprc, "fpr95": fpr95}


def sample(seed: int, ties: bool, count: int = 120) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    random = np.random.default_rng(seed)
    positive = random.random(count) < 0.3
    positive[:2] = (True, False)
    scores = random.normal(0, 1, count) + positive
    return (np.round(scores) if ties else scores), positive


def by_hand(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> dict[str, float]:
    """Every definition as it is written down, in loops."""
    mine, theirs = np.flatnonzero(positive), np.flatnonzero(~positive)
    beaten = whole = 0.0
    for p in mine:
        for n in theirs:
            pair = weights[p] * weights[n]
            whole += pair
            beaten += pair * (1.0 if scores[p] > scores[n] else 0.5 if scores[p] == scores[n] else 0.0)
    precision_sum, recall_before, best, at95 = 0.0, 0.0, 0.0, math.inf
    for threshold in sorted(set(scores.tolist()), reverse=True):
        found = scores >= threshold
        right, wrong = weights[found & positive].sum(), weights[found & ~positive].sum()
        recall = right / weights[positive].sum()
        precision_sum += (recall - recall_before) * right / (right + wrong)
        recall_before = recall
        best = max(best, 2 * right / (right + wrong + weights[positive].sum()))
        if recall >= 0.95 - 1e-12:
            at95 = min(at95, wrong / weights[~positive].sum())
    return {"auroc": beaten / whole, "auprc": precision_sum, "fpr95": at95, "best_f1": best}


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
def test_metrics_are_what_their_definitions_say(ties: bool, weighted: bool) -> None:
    for seed in range(5):
        scores, positive = sample(seed, ties)
        weights = np.random.default_rng(seed).random(len(scores)) + 0.1 if weighted else np.ones(len(scores))
        curve = Ranking(scores, positive).curve(weights)
        expected = by_hand(scores, positive, weights)
        for name, metric in {**METRICS, "best_f1": best_f1}.items():
            assert metric(curve) == pytest.approx(expected[name], abs=1e-12), name


def test_order_and_scale_do_not_matter() -> None:
    scores, positive = sample(3, ties=True)
    order = np.random.default_rng(0).permutation(len(scores))
    weights = np.ones(len(scores))
    first = Ranking(scores, positive).curve(weights)
    second = Ranking(np.exp(scores[order] / 3), positive[order]).curve(weights)
    for metric in (*METRICS.values(), best_f1):
        assert metric(first) == pytest.approx(metric(second), abs=1e-12)


def test_known_values() -> None:
    positive = np.array([True, True, False, False])
    perfect = Ranking(np.array([4.0, 3.0, 2.0, 1.0]), positive).curve(np.ones(4))
    assert [auroc(perfect), auprc(perfect), fpr95(perfect), best_f1(perfect)] == [1.0, 1.0, 0.0, 1.0]
    constant = Ranking(np.zeros(4), positive).curve(np.ones(4))
    assert [auroc(constant), auprc(constant), fpr95(constant)] == [0.5, 0.5, 1.0]
    inverted = Ranking(np.array([1.0, 2.0, 3.0, 4.0]), positive).curve(np.ones(4))
    assert auroc(inverted) == 0.0


def test_all_positive_f1_of_the_bottle() -> None:
    """63 defective bottles and 20 good ones: calling every bottle defective already scores .863."""
    positive = np.arange(83) < 63
    curve = Ranking(np.zeros(83), positive).curve(np.ones(83))
    assert f1_all_positive(curve) == pytest.approx(0.863, abs=5e-4)
    assert best_f1(curve) == pytest.approx(f1_all_positive(curve))
    assert f1(np.ones(83, bool), positive, np.ones(83)) == pytest.approx(f1_all_positive(curve))


def test_f1_of_a_decision() -> None:
    positive = np.array([True, True, True, False])
    flagged = np.array([True, False, False, True])
    assert f1(flagged, positive, np.ones(4)) == pytest.approx(2 * 1 / (2 * 1 + 2 + 1))
    assert f1(np.zeros(4, bool), positive, np.ones(4)) == 0.0


@pytest.mark.parametrize(("count", "positives"), [(4, 0), (4, 4)], ids=["no positive", "no negative"])
def test_one_kind_alone_is_refused(count: int, positives: int) -> None:
    with pytest.raises(ValueError, match="both kinds must be there"):
        Ranking(np.zeros(count), np.arange(count) < positives)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Ranking(np.array([0.0, np.nan]), np.array([True, False]))


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Garwood's table (Biometrika 1936), 95 %.
    [(0, 0.0, 3.689), (1, 0.0253, 5.572), (5, 1.624, 11.668), (10, 4.795, 18.390), (100, 81.364, 121.627)],
)
def test_poisson_intervals_are_garwoods(count: int, low: float, high: float) -> None:
    assert poisson_interval(count) == pytest.approx((low, high), abs=6e-4)


def test_poisson_intervals_cover_at_every_mean() -> None:
    """Exact means: whatever the true mean, at most one interval in twenty misses it."""
    intervals = [poisson_interval(k) for k in range(80)]
    for mean in (0.3, 1.0, 2.7, 9.0, 30.0):
        chances = [math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(80)]
        covered = sum(c for c, (low, high) in zip(chances, intervals, strict=True) if low <= mean <= high)
        assert 0.95 <= covered <= 1.0
    low, high = poisson_interval(5000)
    assert low == pytest.approx(5000 - 1.96 * math.sqrt(5000), rel=2e-3)
    assert high == pytest.approx(5000 + 1.96 * math.sqrt(5000), rel=2e-3)


def drives_of(counts: list[int]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(counts)), counts).astype(np.int64)


def test_every_drive_weighs_the_same() -> None:
    drives = drives_of([1, 10, 100])
    weights = drive_shares(drives)
    assert [weights[drives == d].sum() for d in range(3)] == pytest.approx([1.0] * 3)


def test_thinning_keeps_short_drives_whole() -> None:
    drives = drives_of([5, 1000, 2000])
    rows = thinned(drives, 300)
    assert np.bincount(drives[rows]).tolist() == [5, 100, 100]
    assert rows[5] == 5
    assert rows[-1] == len(drives) - 1


def test_the_interval_is_over_drives_not_frames() -> None:
    """Copying every frame a hundred times must not make a result look surer."""
    random = np.random.default_rng(1)
    level = np.concatenate([random.normal(0, 1, 8), random.normal(1.2, 1, 8)])
    few, many = drives_of([3] * 16), drives_of([300] * 16)
    intervals = [
        bootstrap(level[d], d >= 8, d, d, METRICS, flagged=level[d] > 0.6, seed=5) for d in (few, many)
    ]
    for name in (*METRICS, "f1"):
        assert intervals[0][name] == pytest.approx(intervals[1][name], abs=1e-9)
    low, high = intervals[0]["auroc"] or (0.0, 0.0)
    assert high - low > 0.15


def test_drives_of_one_group_are_drawn_together() -> None:
    """Sixteen drives of two cameras know as little as two drives."""
    level = np.concatenate([np.zeros(8), np.ones(8), np.full(8, 0.4), np.full(8, 1.6)])
    drives = drives_of([2] * 32)
    positive = drives >= 16
    alone = bootstrap(level[drives], positive, drives, drives, METRICS)["auroc"] or (0.0, 0.0)
    grouped = bootstrap(level[drives], positive, drives, drives // 8, METRICS)["auroc"] or (0.0, 0.0)
    assert grouped == (0.0, 1.0)
    assert alone[1] - alone[0] < 0.5


def test_one_drive_has_no_interval() -> None:
    drives = drives_of([5, 5, 5])
    intervals = bootstrap(np.arange(15.0), drives > 0, drives, drives, METRICS, flagged=drives > 0)
    assert intervals == {"auroc": None, "auprc": None, "fpr95": None, "f1": None}


def test_the_interval_covers() -> None:
    """Of many experiments with ten drives a side, most intervals hold the truth."""
    truth = 0.5 * (1 + math.erf(1.0 / 2.0))  # P(N(1,1) > N(0,1))
    drives = drives_of([1] * 40)
    held = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        level = random.normal(0, 1, 40) + (drives >= 20)
        low, high = bootstrap(
            level, drives >= 20, drives, drives, {"auroc": auroc}, resamples=200, seed=seed
        )["auroc"] or (1.0, 0.0)
        held += low <= truth <= high
    assert held >= 51


@pytest.mark.parametrize(
    ("share", "trials", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    [
        (81 / 263, 263, 0.2553, 0.3662),
        (15 / 148, 148, 0.0624, 0.1605),
        (0.0, 20, 0.0, 0.1611),
        (1 / 29, 29, 0.0061, 0.1718),
    ],
)
def test_share_intervals_are_wilsons(share: float, trials: int, low: float, high: float) -> None:
    assert share_interval(share, trials) == pytest.approx((low, high), abs=5e-5)


def test_two_of_two_is_no_proof() -> None:
    assert share_interval(1.0, 2) == pytest.approx((0.342, 1.0), abs=1e-3)


def test_quantiles_of_nothing_are_nothing() -> None:
    assert quantile([], 0.5) is None
    assert quantile([1.0, 3.0], 0.5) == 2.0


@pytest.mark.parametrize(
    ("negative", "positive", "expected"),
    [([0, 1], [2, 3], 1.0), ([0, 1], [0, 1], 0.5), ([0, 2], [1, 3], 0.75), ([0, 0], [0], 0.5)],
)
def test_two_lots_of_scores(negative: list[float], positive: list[float], expected: float) -> None:
    assert auroc(between(np.array(negative, float), np.array(positive, float))) == expected


def test_two_lots_of_which_one_is_empty_or_no_number_are_refused() -> None:
    for negative in ([], [math.nan]):
        with pytest.raises(ValueError, match="must be"):
            between(np.array(negative), np.array([1.0]))
