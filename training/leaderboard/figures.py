"""What the leaderboard measures, as it is kept in its cache."""

from __future__ import annotations

import msgspec

from training.thresholds import Decided


class Figure(msgspec.Struct, frozen=True):
    """An AUROC with its interval, the worst drive, and how many highways were tested."""

    auroc: float
    low: float
    high: float
    worst: float
    worst_drive: str
    drives: int


class Entry(msgspec.Struct, frozen=True):
    """A model × density. figures, decided: by protocol."""

    model: str
    density: str
    figures: dict[str, Figure]
    decided: dict[str, Decided]
    fit_s: float


class Heat(msgspec.Struct, frozen=True):
    """A heat map against masks; see ``segmentation.Localisation``. cells: its rows and columns."""

    model: str
    cells: tuple[int, int]
    auroc: float
    precision: float
    region_overlap: float


class Bottle(msgspec.Struct, frozen=True):
    """A model × density on pictures of bottles; see ``protocols.DefectOutcome``."""

    model: str
    density: str
    auroc: float
    f1: float
    best_f1: float
    f1_all_positive: float


class Cost(msgspec.Struct, frozen=True):
    """frames_per_s: of the encoder. times: as long as ``cost.YARDSTICK``'s is a batch, both timed in turns. megabytes, gflop: of
    its graph, the latter per frame."""

    frames_per_s: float
    times: float
    megabytes: float
    gflop: float
