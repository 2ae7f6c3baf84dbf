"""The drive manifest: which footage is what, and its clips through an encoder.

``manifest.csv`` has the columns path, label, drive, split and, where something may ship, ship. A row whose path is a folder of
drives is one rig of many drives, named after its sub-folders; any other row is a recording of ``drive``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.console import progress
from engines.errors import InputError
from engines.footage import Drive, Recording, find_drives
from engines.frames import Image
from training.protocols import Clip

Encoder: TypeAlias = Callable[[Image], tuple[NDArray[np.floating], NDArray[np.floating] | None]]
"""uint8 N×H×W×3 RGB -> late features and early statistics, as an engine's ``features``."""

SAME_CAMERA = ("udacity_", "cambridge_", "karlsruhe_", "robustlane_")
"""Drives whose names begin so were made by one camera, or come from one data set: one rig."""

BATCH = 16
MOST_FRAMES = 120


@dataclass(frozen=True, slots=True)
class Row:
    """One recording of the manifest."""

    recording: Drive
    drive: str
    rig: str
    label: str
    split: str
    ship: bool


def read_manifest(data: Path) -> list[Row]:
    """Every recording of the manifest ``data``, or of ``manifest.csv`` in that folder, whose paths are relative to it;
    raises InputError where it, a column or a path is missing. Without a column ``ship``, nothing may ship."""
    manifest = data / "manifest.csv" if data.is_dir() else data
    if not manifest.is_file():
        raise InputError(
            manifest,
            "must be a manifest of drives as CSV; it does not exist",
            "give the file, or the folder that holds manifest.csv",
        )
    rows = []
    with manifest.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file)
        missing = {"path", "label", "drive", "split"} - set(reader.fieldnames or ())
        if missing:
            raise InputError(
                manifest, f"must have the columns {', '.join(sorted(missing))}, has not", "add them"
            )
        for row in reader:
            path = manifest.parent / row["path"]
            found = find_drives([path])
            for recording in found:
                alone = recording.path == path
                drive = row["drive"] if alone else f"{path.name}/{row['label']}/{recording.path.name}"
                rig = _rig(drive) if alone else path.name
                rows.append(Row(recording, drive, rig, row["label"], row["split"], row.get("ship") == "yes"))
    return rows


def _rig(drive: str) -> str:
    return next((prefix.rstrip("_") for prefix in SAME_CAMERA if drive.startswith(prefix)), drive)


def encode_clips(
    rows: Sequence[Row], encoder: Encoder, size: tuple[int, int], most_frames: int = MOST_FRAMES
) -> list[Clip]:
    """Encode up to ``most_frames`` evenly spaced frames of every row at ``size`` (height, width)."""
    clips = []
    with progress("encoding", len(rows), "drives") as advance:
        for row in rows:
            images, times_s = _frames(row.recording, size, most_frames)
            late, early = [], []
            for start in range(0, len(images), BATCH):
                found, statistics = encoder(images[start : start + BATCH])
                late.append(found.astype(np.float32))
                early.append(
                    np.zeros((len(found), 0), np.float32)
                    if statistics is None
                    else statistics.astype(np.float32)
                )
            clips.append(
                Clip(
                    row.drive,
                    row.rig,
                    row.label,
                    row.ship,
                    np.concatenate(late),
                    np.concatenate(early),
                    times_s,
                )
            )
            advance(1, row.drive)
    return clips


def _frames(recording: Drive, size: tuple[int, int], most: int) -> tuple[Image, NDArray[np.float64]]:
    # Files don't always say how many frames they hold: all are read, then thinned.
    frames = list(Recording(recording, size))
    kept = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, most).astype(int))]
    return np.stack([f.image for f in kept]), np.array([f.time_s for f in kept])
