"""Evaluate a bundle on drives of both kinds: watch, sum up, say what to beware of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines import __version__
from engines.bundle import Bundle
from engines.console import progress
from engines.density import Floats
from engines.engine import Engine
from engines.errors import InputError
from engines.footage import Recording
from engines.opening import open_engine
from monitor.evaluation import summary
from monitor.evaluation.baselines import Baselines
from monitor.evaluation.cases import Case
from monitor.evaluation.faults import fault_results, fault_trials
from monitor.evaluation.result import DEFINITIONS, DriveResult, Evaluation, Events, FaultResult
from monitor.evaluation.unseen import Unseen
from monitor.evaluation.watch import Outcome, Watcher

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Which faults to try: modes and severities, on up to ``drives`` normal drives."""

    modes: tuple[str, ...]
    severities: tuple[int, ...]
    drives: int


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """The result, and what a report needs besides: every drive's outcome, in the order of ``result.per_drive``."""

    result: Evaluation
    outcomes: tuple[Outcome, ...]


def evaluate(
    bundle: Bundle,
    cases: Sequence[Case],
    *,
    command: str,
    faults: FaultPlan | None = None,
    images_per_second: float | None = None,
    notes: Sequence[str] = (),
) -> Evaluated:
    """Watch every case and sum up; InputError where one side has nothing that can be judged."""
    engine = open_engine(bundle)
    unseen = Unseen(bundle, cases)
    able, refused = _able(cases, unseen)
    outcomes = _watched(able, unseen, engine, bundle, images_per_second)
    rows, remarks = _faults(able, unseen, engine, faults) if faults is not None else ((), ())
    values, intervals = summary.frame_metrics(outcomes)
    table = summary.pair_table(outcomes)
    within, same, across = summary.by_dataset(outcomes, table)
    claimed = bundle.calibration.false_alarms_per_hour
    events = summary.events(outcomes)
    result = Evaluation(
        schema=SCHEMA,
        bundle={
            "name": bundle.manifest.name,
            "sha256": bundle.sha256,
            "encoder": bundle.manifest.encoder.name,
            "density": bundle.manifest.density,
            "created": bundle.manifest.created,
        },
        version=__version__,
        command=command,
        frames=sum(len(o.domain) for o in outcomes),
        seconds=sum(o.seconds for o in outcomes),
        normal_drives=sum(not o.case.anomalous for o in outcomes),
        anomalous_drives=sum(o.case.anomalous for o in outcomes),
        taught_drives=tuple(o.case.name for o in outcomes if o.left_out),
        intervals=intervals,
        within_dataset=within,
        within_datasets=same,
        across_datasets=across,
        per_drive=_per_drive(outcomes, table, unseen.names),
        events=events,
        baselines=summary.baselines(outcomes),
        budget=summary.budget(outcomes, claimed),
        faults=rows,
        warnings=(*_warnings(outcomes, bundle, events, bool(within)), *refused),
        notes=(*notes, *remarks, *(f"{o.case.name}: {note}" for o in outcomes for note in o.notes)),
        definitions=DEFINITIONS,
        **values,
    )
    return Evaluated(result, tuple(outcomes))


def _able(cases: Sequence[Case], unseen: Unseen) -> tuple[list[Case], tuple[str, ...]]:
    """Normal cases first; without those that were taught and cannot be left out, each with the reason."""
    refusals = {case: unseen.refusal(case) for case in cases}
    able = sorted((c for c in cases if not refusals[c]), key=lambda c: c.anomalous)
    told = tuple(
        f"{c.name} was taught and cannot be left out ({reason}), so it was not judged"
        for c, reason in refusals.items()
        if reason
    )
    if {c.anomalous for c in able} != {True, False}:
        raise InputError(
            "evaluate",
            f"must have a drive on each side that can be judged; {told[0]}",
            "give drives that the bundle was not taught on",
        )
    return able, told


def _watched(
    cases: Sequence[Case],
    unseen: Unseen,
    engine: Engine,
    bundle: Bundle,
    images_per_second: float | None,
) -> list[Outcome]:
    watcher = Watcher(unseen, engine, Baselines(bundle), images_per_second)
    total = sum(Recording(c.drive, engine.input_size).expected_frames for c in cases)
    outcomes = []
    with progress("watching", total) as advance:
        for number, case in enumerate(cases, 1):
            note = f"drive {number} of {len(cases)}: {case.name}"
            outcomes.append(watcher.watch(case, lambda n, note=note: advance(n, note)))  # type: ignore[misc]
    return outcomes


def _faults(
    cases: Sequence[Case], unseen: Unseen, engine: Engine, plan: FaultPlan
) -> tuple[tuple[FaultResult, ...], tuple[str, ...]]:
    normal = [c for c in cases if not c.anomalous and c.ordered]
    total = len(plan.modes) * len(plan.severities) * min(plan.drives, len(normal))
    with progress("breaking cameras", total, "faults") as advance:
        trials, used = fault_trials(normal, unseen, engine, plan.modes, plan.severities, plan.drives, advance)
    if not used:
        return (), ("no normal drive is long enough, and quiet enough, to try camera faults on",)
    return fault_results(trials), ()


def _per_drive(outcomes: Sequence[Outcome], table: Floats, names: Sequence[str]) -> tuple[DriveResult, ...]:
    means = np.concatenate([table.mean(axis=1), table.mean(axis=0)])
    return tuple(summary.drive_result(o, float(mean), names) for o, mean in zip(outcomes, means, strict=True))


def _warnings(outcomes: Sequence[Outcome], bundle: Bundle, events: Events, shared: bool) -> tuple[str, ...]:
    told = []
    sides = {strange: [o for o in outcomes if o.case.anomalous == strange] for strange in (False, True)}
    if not shared:
        names = [sorted({o.case.dataset for o in side}) for side in sides.values()]
        told.append(
            f"no dataset is on both sides (normal: {_few(names[0])}; anomalous: {_few(names[1])}): what tells cameras "
            "apart can pass for leaving the domain. Where both come from one source, say so: DATASET=PATH"
        )
    for strange, word in ((False, "normal"), (True, "anomalous")):
        groups = {o.case.group for o in sides[strange]}
        if len(groups) == 1:
            told.append(
                f"only one {word} drive: no interval can be given, and little can be said of the next one"
            )
    taught = {d.fingerprint for d in bundle.manifest.drives}
    told += [
        f"{o.case.name} is given as anomalous, but the bundle was taught on it as normal; it was left out for its score"
        for o in sides[True]
        if o.case.fingerprint in taught
    ]
    if events.control.recall is not None and events.recall is not None and events.spliced.count:
        share = events.control.recall / max(events.recall, 1e-9)
        told += [
            f"a normal drive behind another normal one raised an event in {events.control.found} of {events.control.count} "
            "splices: much of what was found behind a splice is the change of camera, not of scene"
        ] * (share > 0.25)
    if any(o.case.ordered for o in sides[True]) and not any(o.splices for o in sides[True]):
        told.append(
            "no splice could be watched: that needs a normal drive of 6 s that ends without an event, and an anomalous "
            "one of 5 s; recall and delay count from the first frame instead"
        )
    return tuple(told)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
