"""From what was watched to what is said of it: figures, intervals, warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.density import Floats
from engines.metrics import (
    Curve,
    Metric,
    Ranking,
    auprc,
    auroc,
    best_f1,
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
from monitor.evaluation.result import Budget, DriveResult, Events, Interval, Pairs, Recall, Telling
from monitor.evaluation.watch import SCENE_S, Outcome, Splice
from monitor.events import Verdict

METRICS: dict[str, Metric] = {"auroc": auroc, "auprc": auprc, "fpr95": fpr95, "best_f1": best_f1}
FRAMES_PER_DRIVE = 400
"""Frames of each drive that enter the comparison of two drives: neighbours say the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """One score of many drives, a row per frame. drives, groups: N, numbers of the row's drive and its group."""

    scores: Floats
    positive: NDArray[np.bool_]
    drives: NDArray[np.int64]
    groups: NDArray[np.int64]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], values: Callable[[Outcome], Floats | list[float]]) -> Frames:
        """Join one score of every drive."""
        parts = [np.asarray(values(o), np.float64) for o in outcomes]
        counts = [len(p) for p in parts]
        names = sorted({o.case.group for o in outcomes})
        return cls(
            np.concatenate(parts),
            np.repeat([o.case.anomalous for o in outcomes], counts).astype(bool),
            np.repeat(np.arange(len(outcomes)), counts).astype(np.int64),
            np.repeat([names.index(o.case.group) for o in outcomes], counts).astype(np.int64),
        )

    def curve(self) -> Curve:
        return Ranking(self.scores, self.positive).curve(drive_shares(self.drives))

    def intervals(
        self, metrics: dict[str, Metric], flagged: NDArray[np.bool_] | None = None
    ) -> dict[str, Interval | None]:
        return bootstrap(self.scores, self.positive, self.drives, self.groups, metrics, flagged=flagged)


def domain_frames(outcomes: Sequence[Outcome]) -> Frames:
    """The score that is judged: surprise relative to the background."""
    return Frames.of(outcomes, lambda o: o.domain)


def flags(outcomes: Sequence[Outcome]) -> NDArray[np.bool_]:
    """Whether each frame lies above its drive's calibrated threshold."""
    return np.concatenate([o.domain > o.threshold for o in outcomes])


def frame_metrics(outcomes: Sequence[Outcome]) -> tuple[dict[str, float], dict[str, Interval | None]]:
    """Every metric over frames, and their intervals."""
    frames, flagged = domain_frames(outcomes), flags(outcomes)
    curve = frames.curve()
    values = {name: metric(curve) for name, metric in METRICS.items()}
    values["f1"] = f1(flagged, frames.positive, drive_shares(frames.drives))
    values["f1_all_positive"] = f1_all_positive(curve)
    return values, frames.intervals(METRICS, flagged)


def baselines(outcomes: Sequence[Outcome]) -> dict[str, Telling]:
    """The baselines on the same drives; one that has no value for a drive (change, of single pictures) is left out."""
    readings: dict[str, tuple[Callable[[Outcome], list[float]], bool]] = {
        "mean_brightness": (lambda o: o.baselines.brightness, False),
        "frame_difference": (lambda o: o.baselines.change, False),
        "raw_nearest_neighbour": (lambda o: o.baselines.nearest, True),
        "untrained_encoder": (lambda o: o.baselines.untrained, True),
    }
    told = {}
    for name, (values, directed) in readings.items():
        able = [o for o in outcomes if values(o)]
        if {o.case.anomalous for o in able} != {True, False} or len(able) < len(outcomes) / 2:
            continue
        told[name] = _telling(Frames.of(able, values), directed)
    return told


def _telling(frames: Frames, directed: bool) -> Telling:
    curve = frames.curve()
    direction = ""
    if not directed:
        direction = "higher" if auroc(curve) >= 0.5 else "lower"
        if direction == "lower":
            frames = Frames(-frames.scores, frames.positive, frames.drives, frames.groups)
            curve = frames.curve()
    interval = frames.intervals({"auroc": auroc})["auroc"]
    return Telling(auroc(curve), auprc(curve), fpr95(curve), best_f1(curve), interval, direction)


def pair_table(outcomes: Sequence[Outcome]) -> Floats:
    """AUROC of each normal drive (rows) against each anomalous one (columns), in the order of ``outcomes``."""
    few = [o.domain[thinned(np.zeros(len(o.domain), np.int64), FRAMES_PER_DRIVE)] for o in outcomes]
    normal = [v for v, o in zip(few, outcomes, strict=True) if not o.case.anomalous]
    anomalous = [np.sort(v) for v, o in zip(few, outcomes, strict=True) if o.case.anomalous]
    table = np.empty((len(normal), len(anomalous)))
    for column, theirs in enumerate(anomalous):
        for row, mine in enumerate(normal):
            below = np.searchsorted(theirs, mine, "left") + np.searchsorted(theirs, mine, "right")
            table[row, column] = 1.0 - below.mean() / (2.0 * len(theirs))
    return table


def by_dataset(
    outcomes: Sequence[Outcome], table: Floats
) -> tuple[dict[str, Pairs], Pairs | None, Pairs | None]:
    """Pairs within each dataset, within any, and across datasets."""
    rows = np.array([o.case.dataset for o in outcomes if not o.case.anomalous])
    columns = np.array([o.case.dataset for o in outcomes if o.case.anomalous])
    same = rows[:, None] == columns[None]
    shared = sorted(set(rows) & set(columns))
    each = {name: _pairs(table, same & (rows[:, None] == name)) for name in shared}
    return (
        {name: pairs for name, pairs in each.items() if pairs is not None},
        _pairs(table, same),
        _pairs(table, ~same),
    )


def _pairs(table: Floats, mask: NDArray[np.bool_]) -> Pairs | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    means = [float(table[r][mask[r]].mean()) for r in rows]
    return Pairs(float(np.mean(means)), min(means), len(rows), len(columns))


def drive_result(outcome: Outcome, auroc_: float, names: Sequence[str]) -> DriveResult:
    """One drive's row. names: of the taught drives."""
    case = outcome.case
    away = [e for e in outcome.events if e.kind == Verdict.LEFT_DOMAIN]
    low, middle, high = np.percentile(outcome.domain, (5, 50, 95))
    return DriveResult(
        name=case.name,
        side="anomalous" if case.anomalous else "normal",
        dataset=case.dataset,
        group=case.group,
        taught=tuple(names[i] for i in sorted(outcome.left_out)),
        frames=len(outcome.domain),
        seconds=round(outcome.seconds, 3),
        auroc=auroc_,
        score=(float(low), float(middle), float(high)),
        threshold=outcome.threshold,
        above=float(np.mean(outcome.domain > outcome.threshold)),
        events=dict(Counter(e.mode or e.kind.value for e in outcome.events)),
        detected_s=away[0].detected_s if away and case.anomalous else None,
        splices=len(outcome.splices),
        splices_found=sum(s.detected_s is not None for s in outcome.splices),
        notes=outcome.notes,
    )


def events(outcomes: Sequence[Outcome]) -> Events:
    """Event recall, delay, and false alarms."""
    watched = [o for o in outcomes if o.case.ordered]
    normal = [o for o in watched if not o.case.anomalous]
    splices = [s for o in watched for s in o.splices]
    spliced = _recall([s for s in splices if s.after.anomalous])
    within = _recall([s for s in splices if s.after.anomalous and s.before.dataset == s.after.dataset])
    alone = _alone([o for o in watched if o.case.anomalous and o.seconds >= SCENE_S])
    measured = "spliced" if spliced.count else "from_the_first_frame" if alone.count else "nothing"
    headline = spliced if spliced.count else alone
    hours = sum(o.seconds for o in normal) / 3600.0
    told = Counter(e.kind.value for o in normal for e in o.events)
    rate, interval = _rate(sum(told.values()), hours)
    return Events(
        recall=headline.recall,
        delay_p50_s=headline.delay_p50_s,
        delay_p95_s=headline.delay_p95_s,
        false_alarms_per_hour=rate,
        interval=interval,
        measured=measured,
        false_alarms={kind.value: told[kind.value] for kind in (Verdict.LEFT_DOMAIN, Verdict.CAMERA_FAULT)},
        hours=hours,
        spliced=spliced,
        spliced_within_dataset=within,
        from_the_first_frame=alone,
        control=_recall([s for s in splices if not s.after.anomalous]),
    )


def _rate(count: int, hours: float) -> tuple[float | None, Interval | None]:
    if not hours:
        return None, None
    low, high = poisson_interval(count)
    return count / hours, (low / hours, high / hours)


def _recall(splices: Sequence[Splice]) -> Recall:
    delays = [s.detected_s for s in splices if s.detected_s is not None]
    groups = [s.after.group for s in splices]
    found = [s.detected_s is not None for s in splices]
    unsure = [s.detected_s is None and s.instead == Verdict.CANT_TELL for s in splices]
    faults = [s.instead not in ("", Verdict.CANT_TELL) for s in splices]
    return _recalled(found, groups, delays, sum(faults), sum(unsure))


def _alone(outcomes: Sequence[Outcome]) -> Recall:
    firsts = [next((e.detected_s for e in o.events if e.kind == Verdict.LEFT_DOMAIN), None) for o in outcomes]
    kinds = [{e.kind for e in o.events} for o in outcomes]
    return _recalled(
        [f is not None for f in firsts],
        [o.case.group for o in outcomes],
        [f for f in firsts if f is not None],
        sum(Verdict.CAMERA_FAULT in told for told in kinds),
        sum(Verdict.CANT_TELL in told and Verdict.LEFT_DOMAIN not in told for told in kinds),
    )


def _recalled(
    found: Sequence[bool], groups: Sequence[str], delays: Sequence[float], faults: int, cant_tell: int
) -> Recall:
    return Recall(
        count=len(found),
        found=sum(found),
        recall=float(np.mean(found)) if found else None,
        interval=share_interval(float(np.mean(found)), len(set(groups))) if found else None,
        delay_p50_s=quantile(list(delays), 0.5),
        delay_p95_s=quantile(list(delays), 0.95),
        faults=faults,
        cant_tell=cant_tell,
    )


def budget(outcomes: Sequence[Outcome], claimed_per_hour: float) -> Budget:
    """The promise, which is of domain events, against what came in normal drives."""
    normal = [o for o in outcomes if o.case.ordered and not o.case.anomalous]
    hours = sum(o.seconds for o in normal) / 3600.0
    count = sum(e.kind == Verdict.LEFT_DOMAIN for o in normal for e in o.events)
    rate, interval = _rate(count, hours)
    verdict = "not watched"
    if interval is not None:
        low, high = interval
        verdict = "kept" if high <= claimed_per_hour else "broken" if low > claimed_per_hour else "undecided"
    return Budget(claimed_per_hour, rate, interval, hours, verdict)
