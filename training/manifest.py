"""The drive manifest: which footage is what.

``manifest.csv`` has the columns path, label, drive, split and, where something may ship, ship. A row whose path is a folder of
drives is one rig of many drives, named after its sub-folders; any other row is a recording of ``drive``."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from engines.errors import InputError
from engines.footage import Drive, find_drives

SAME_CAMERA = ("udacity_", "cambridge_", "karlsruhe_", "robustlane_")
"""Drives whose names begin so were made by one camera, or come from one data set: one rig."""


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
