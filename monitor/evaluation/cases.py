"""Which drives are judged, and which side each is on: from PATHs, from a manifest, or from an MVTec folder."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engines.errors import InputError
from engines.footage import Drive, find_drives, fingerprint
from monitor.report.words import count

MANIFEST_COLUMNS = ("path", "label", "drive", "split")
FAILURE_LABEL = "camera_failure"
"""Rows that show no road but a broken camera: neither normal nor another domain."""


@dataclass(frozen=True, slots=True)
class Case:
    """One drive to judge.

    anomalous: outside the domain from its first frame to its last. group: drives of one group vouch for each
    other, so that they are left out, and resampled, together. dataset: where it came from; what tells datasets
    apart may pass for leaving the domain. ordered: whether its pictures follow each other in time; without
    order there are no events. fingerprint: of its content."""

    drive: Drive
    anomalous: bool
    group: str
    dataset: str
    ordered: bool
    fingerprint: str

    @property
    def name(self) -> str:
        return self.drive.name


def from_paths(normal: Iterable[Path], anomalous: Iterable[Path], *, stills: bool) -> list[Case]:
    """Cases from PATHs, each of which may be written DATASET=PATH; the name of a PATH is its dataset's otherwise.

    With ``stills`` every picture stands alone."""
    cases: list[Case] = []
    for paths, strange in ((normal, False), (anomalous, True)):
        for path in paths:
            dataset, found = _named(path)
            drives = find_drives([found])
            drives = _pictures(drives) if stills else drives
            known = {case.drive.path for case in cases if case.anomalous == strange}
            cases += [
                _case(d, strange, group=str(d.path.resolve()), dataset=dataset, ordered=not stills)
                for d in drives
                if d.path not in known
            ]
    return cases


def _named(path: Path) -> tuple[str, Path]:
    """The dataset and the path of ``DATASET=PATH`` or of a PATH alone."""
    name, sign, rest = str(path).partition("=")
    if sign and "/" not in name and not path.exists():
        return name, Path(rest)
    return (path.stem if path.is_file() else path.resolve().name), path


def from_manifest(
    file: Path, split: str | None, normal_labels: Sequence[str]
) -> tuple[list[Case], tuple[str, ...]]:
    """Cases from a CSV with the columns path, label, drive, split, and perhaps ordered and dataset; and notes on
    what was left out.

    Rows of equal ``drive`` are one group. An empty one, or one in parentheses, leaves each drive found there on its
    own. Without a column ``dataset``, a folder of drives is one dataset and any other row is its own."""
    cases: list[Case] = []
    failures, labels = 0, set()
    for row in _rows(file, split):
        labels.add(row["label"])
        if row["label"] == FAILURE_LABEL:
            failures += 1
            continue
        path = file.parent / row["path"]
        drives = find_drives([path])
        alone = not row["drive"] or row["drive"].startswith("(")
        dataset = row.get("dataset") or (path.name if len(drives) > 1 else "" if alone else row["drive"])
        cases += [
            _case(
                drive,
                row["label"] not in normal_labels,
                group=str(drive.path.resolve()) if alone else row["drive"],
                dataset=dataset or drive.name,
                ordered=row.get("ordered", "yes") != "no",
            )
            for drive in drives
        ]
    if not any(not case.anomalous for case in cases):
        raise InputError(
            file,
            f"must have rows labelled {' or '.join(normal_labels)}, its labels are: {', '.join(sorted(labels))}",
            "name those that are normal with --normal-label",
        )
    note = f"{count(failures, 'row')} of camera failures in the manifest left out: --faults measures those"
    return cases, (note,) * bool(failures)


def _rows(file: Path, split: str | None) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            reader = csv.DictReader(opened)
            columns = tuple(reader.fieldnames or ())
            rows = [{k: v or "" for k, v in row.items() if k is not None} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(file, f"must be a CSV file: {reason}", "check --manifest") from error
    missing = [name for name in MANIFEST_COLUMNS if name not in columns]
    if missing:
        raise InputError(
            file, f"must have the columns {', '.join(MANIFEST_COLUMNS)}; {missing[0]} is missing", "add it"
        )
    kept = [row for row in rows if split is None or row["split"] == split]
    if not kept:
        known = ", ".join(sorted({row["split"] for row in rows})) or "none"
        raise InputError(file, f"must have rows of the split {split}, has: {known}", "check --split")
    return kept


def from_mvtec(folder: Path) -> list[Case]:
    """Cases from the MVTec AD layout (``test/good``, ``test/<defect>``): every picture of its test side stands
    alone."""
    good = folder / "test" / "good"
    if not good.is_dir():
        raise InputError(
            folder,
            "must be a category of MVTec AD, with a folder test/good",
            "name the category's own folder",
        )
    defects = sorted(p for p in (folder / "test").iterdir() if p.is_dir() and p != good)
    if not defects:
        raise InputError(folder / "test", "must hold a folder of a defect beside good", "check the folder")
    return [
        _case(d, path != good, str(d.path.resolve()), folder.name, ordered=False)
        for path in (good, *defects)
        for d in _pictures(find_drives([path]))
    ]


def _pictures(drives: Iterable[Drive]) -> list[Drive]:
    """Each picture as a drive of its own."""
    return [
        Drive(d.name if d.path == file else f"{d.name}/{file.stem}", file, (file,))
        for d in drives
        for file in d.files
    ]


def _case(drive: Drive, anomalous: bool, group: str, dataset: str, ordered: bool) -> Case:
    return Case(drive, anomalous, group, dataset, ordered, fingerprint(drive))


def checked(cases: Sequence[Case]) -> tuple[list[Case], tuple[str, ...]]:
    """Return the cases with names unique among them, and notes; raise InputError where they cannot be judged.

    Refused: a side without drives, and footage, or a group, that is on both sides. Footage given twice on one
    side counts once."""
    for strange, option in ((False, "--normal"), (True, "--anomalous")):
        if not any(case.anomalous == strange for case in cases):
            kind = "anomalous" if strange else "normal"
            raise InputError("evaluate", f"must have {kind} drives, got none", f"give some with {option}")
    kept: dict[str, Case] = {}
    notes = []
    for case in cases:
        known = kept.setdefault(case.fingerprint, case)
        if known.anomalous != case.anomalous:
            raise InputError(
                case.drive.path,
                f"must be normal or anomalous, is given as both (also as {known.drive.path})",
                "take it off one side",
            )
        if known is not case:
            notes.append(f"{case.drive.path} is the same footage as {known.drive.path}; it counts once")
    sides: dict[str, bool] = {}
    for case in kept.values():
        if sides.setdefault(case.group, case.anomalous) != case.anomalous:
            raise InputError(
                case.drive.path,
                f"must be on the side of its group {case.group}, which is given as normal and as anomalous",
                "put each group on one side",
            )
    return _uniquely_named(list(kept.values())), tuple(notes)


def _uniquely_named(cases: list[Case]) -> list[Case]:
    for parents in (1, 2, 3):
        names = [case.name for case in cases]
        cases = [
            case
            if names.count(case.name) == 1
            else replace(
                case, drive=replace(case.drive, name="/".join(case.drive.path.parts[-parents - 1 :]))
            )
            for case in cases
        ]
    return cases
