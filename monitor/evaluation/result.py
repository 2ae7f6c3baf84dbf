"""What an evaluation says, as it is written to JSON; ``docs/evaluate.md`` explains every figure."""

from __future__ import annotations

import msgspec

Interval = tuple[float, float]

DEFINITIONS = {
    "frames": (
        "score: the frame's surprise relative to the background (the domain channel before smoothing); "
        "frames are weighted so that every drive weighs the same; intervals are 95 %, over resampled drives"
    ),
    "f1": (
        "a frame is called anomalous above the threshold that was calibrated on normal footage alone; of single pictures, "
        "above the 99 % level of the taught ones, each scored without itself. best_f1 is chosen on these very frames"
    ),
    "recall": (
        "spliced streams: a normal drive leads into an anomalous one at a known moment; found is a left_domain event "
        "believed within 30 s after it. Delays are from the splice to that belief, over the splices that were found; the "
        "interval (Wilson, 95 %) counts each anomalous drive once"
    ),
    "from_the_first_frame": (
        "an anomalous drive of 5 s or more, watched alone: found is any left_domain event in it, delay counts from its first frame. "
        "There is no onset and no normal past, so the departure channel is blind"
    ),
    "control": "one normal drive behind another: a left_domain event there tells the camera, not the scene",
    "false_alarms": "events in normal drives, per hour of footage; the interval is exact (Garwood), 95 %",
    "unseen": (
        "a drive the bundle was taught on is scored with its own support points, and those of its group, taken out of the "
        "density, and with the thresholds that calibration finds without its peaks"
    ),
}


class Telling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How well one score tells frames of normal from frames of anomalous drives. direction: of a baseline that has
    none of its own, chosen for it on these frames."""

    auroc: float
    auprc: float
    fpr95: float
    best_f1: float
    auroc_interval: Interval | None = None
    direction: str = ""


class Pairs(msgspec.Struct, frozen=True):
    """Mean AUROC over pairs of a normal and an anomalous drive. worst: the lowest mean of one normal drive."""

    auroc: float
    worst: float
    normal_drives: int
    anomalous_drives: int


class DriveResult(msgspec.Struct, frozen=True):
    """One drive. taught: the drives that were left out for it. auroc: against all drives of the other side.
    score: 5th, 50th and 95th percentile of its frames, nats. above: share of its frames above the threshold.
    detected_s: media seconds to the first domain event of an anomalous drive."""

    name: str
    side: str
    dataset: str
    group: str
    taught: tuple[str, ...]
    frames: int
    seconds: float
    auroc: float
    score: tuple[float, float, float]
    threshold: float
    above: float
    events: dict[str, int]
    detected_s: float | None
    splices: int
    splices_found: int
    notes: tuple[str, ...]


class Recall(msgspec.Struct, frozen=True):
    """Events that had to come. count: how many were expected; faults: how many were told as a camera fault first;
    cant_tell: how many were not found, but told as something that may be either."""

    count: int
    found: int
    recall: float | None
    interval: Interval | None
    delay_p50_s: float | None
    delay_p95_s: float | None
    faults: int
    cant_tell: int


class Events(msgspec.Struct, frozen=True):
    """Events as in life. recall and delays: of splices where there are any, else from the first frame; ``measured``
    says which. false_alarms_per_hour and interval: both kinds of events, in normal drives."""

    recall: float | None
    delay_p50_s: float | None
    delay_p95_s: float | None
    false_alarms_per_hour: float | None
    interval: Interval | None
    measured: str
    false_alarms: dict[str, int]
    hours: float
    spliced: Recall
    spliced_within_dataset: Recall
    from_the_first_frame: Recall
    control: Recall


class Budget(msgspec.Struct, frozen=True):
    """What the bundle promises of domain events, and what came. verdict: kept (the whole interval is below the
    promise), broken (the whole interval is above it), undecided (too few hours to tell), or not watched."""

    claimed_per_hour: float
    observed_per_hour: float | None
    interval: Interval | None
    hours: float
    verdict: str


class FaultResult(msgspec.Struct, frozen=True):
    """One fault mode at one severity. recall: any event while the fault lasted; recall_fault: a camera fault;
    recall_mode: the right mode. delays: to the first camera fault, from the fault's first frame."""

    mode: str
    severity: int
    told_as: str
    trials: int
    recall: float
    recall_fault: float
    recall_mode: float
    delay_p50_s: float | None
    delay_p95_s: float | None


class Evaluation(msgspec.Struct, frozen=True):
    """The whole result."""

    schema: int
    bundle: dict[str, str]
    version: str
    command: str
    frames: int
    seconds: float
    normal_drives: int
    anomalous_drives: int
    taught_drives: tuple[str, ...]
    auroc: float
    auprc: float
    fpr95: float
    f1: float
    best_f1: float
    f1_all_positive: float
    intervals: dict[str, Interval | None]
    within_dataset: dict[str, Pairs]
    within_datasets: Pairs | None
    across_datasets: Pairs | None
    per_drive: tuple[DriveResult, ...]
    events: Events
    baselines: dict[str, Telling]
    budget: Budget
    faults: tuple[FaultResult, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    definitions: dict[str, str]
