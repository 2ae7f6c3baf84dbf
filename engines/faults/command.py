"""``sightline faults``: what broken cameras do to footage, as a sheet to look at or a clip to test with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.table import Table

from engines.console import console, progress
from engines.errors import InputError, OutputError
from engines.faults.inject import inject_timed
from engines.faults.mixture import faults_of, severities_of
from engines.faults.sheet import SMALL, STRIP_S, Sample, cells, contact_sheet
from engines.faults.table import FAULTS, FaultMode
from engines.faults.timing import Timed
from engines.footage import Drive, Recording, find_drives
from engines.frames import Image
from engines.video import check_format, write_timed
from engines.whole_file import write_whole

_SHEET_PX = 640
"""Width to which pictures are reduced, if wider, before a sheet breaks them."""
_CRF = 16
"""Fine enough a quantiser for noise and dead pixels to survive in the clip."""


def faults(
    path: Annotated[
        Path | None, typer.Argument(help="A video, an image or a folder of images.", show_default=False)
    ] = None,
    mode: Annotated[
        str, typer.Option(help="One of the 36, or two, as mud+noise.", show_default="all of them")
    ] = "",
    severity: Annotated[
        int | None,
        typer.Option(
            min=1, max=5, help="1: just visible, 5: nothing left of use.", show_default="sheet: all; clip: 3"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another case of the fault.")] = 0,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a contact sheet of the picture at --start.", metavar="FILE.png")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the footage with the fault: .mp4, .mkv or .mov.", metavar="FILE.mp4"),
    ] = None,
    start: Annotated[float, typer.Option(min=0, help="Seconds at which the fault begins.")] = 0.0,
    stop: Annotated[
        float | None, typer.Option(min=0, help="Seconds at which it ends.", show_default="the end")
    ] = None,
) -> None:
    """Break the camera of any footage in one of 36 ways.

    Without --sheet and --out, the table of the modes is printed. Example:

        sightline faults drive.mp4 --mode mud+noise --severity 4 --start 5 --stop 12 --out muddy.mp4
    """
    severities = _severities(mode, severity)
    _check_options(mode, out, sheet, start, stop)
    drive = None if path is None else _one_drive(path, (out, sheet))
    if sheet is None and out is None:
        _print_table(faults_of(mode, severities[0]) if mode else tuple(FAULTS.values()))
        return
    if drive is None:
        raise InputError("PATH", "must be given: the video, image or folder of images to break")
    if sheet is not None:
        _write_sheet(sheet, drive, (mode,) if mode else tuple(FAULTS), severities, seed, start)
    if out is not None:
        _write_clip(out, drive, _Fault(mode, severity or 3, seed, start, stop))


def _severities(mode: str, severity: int | None) -> tuple[int, ...]:
    """Return those that are asked for, all possible ones by default; InputError for what cannot be."""
    if severity is None:
        return severities_of(mode) if mode else (1, 2, 3, 4, 5)
    if mode:
        faults_of(mode, severity)
    return (severity,)


def _check_options(mode: str, out: Path | None, sheet: Path | None, start: float, stop: float | None) -> None:
    """Refuse now what would fail after the work."""
    for path in (out, sheet):
        if path is not None and not path.parent.is_dir():
            raise OutputError(path, "must be in a folder that exists", "make the folder first")
        if path is not None and path.is_dir():
            raise OutputError(path, "must be a file, is a folder", "name a file in it")
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise OutputError(sheet, f"must end in .png, not {sheet.suffix or 'nothing'}", "rename it")
    if out is not None:
        check_format(out)
        if not mode:
            raise InputError(
                "--out", "must come with --mode: a clip shows one fault, or one pair", "add --mode"
            )
    if not math.isfinite(start) or (stop is not None and not stop > start):
        raise InputError("--start and --stop", f"must be 0 <= start < stop, not {start:g} and {stop or 0:g}")


def _one_drive(path: Path, outputs: tuple[Path | None, ...]) -> Drive:
    drives = find_drives([path])
    if len(drives) > 1:
        raise InputError(
            path, f"must be one drive, holds {len(drives)}", f"name one, such as {drives[0].path}"
        )
    read = {file.resolve() for file in (drives[0].path, *drives[0].files)}
    for out in outputs:
        if out is not None and out.resolve() in read:
            raise OutputError(out, "must not be the footage that is read", "name another file")
    return drives[0]


def _print_table(chosen: tuple[FaultMode, ...]) -> None:
    table = Table(title="Camera faults")
    for heading in ("#", "mode", "made on", "what gives it away", "easily confused with"):
        whole = heading in {"#", "mode", "made on"}
        table.add_column(heading, justify="right" if heading == "#" else "left", no_wrap=whole)
    for fault in chosen:
        like = ", ".join(fault.confusable_with)
        table.add_row(f"{fault.number}", fault.mode, fault.scope, fault.cue, like)
    console().print(table)


def _camera(drive: Drive) -> tuple[int, int, float]:
    """Return height and width of the camera's own pictures, and how many come in a second."""
    first = list(itertools.islice(Recording(drive, (2, 2)), 10))
    height, width = first[0].luma.shape
    steps = np.diff([frame.time_s for frame in first])
    return height, width, float(np.clip(1 / np.median(steps), 1, 240)) if len(steps) else 25.0


def _write_sheet(
    path: Path, drive: Drive, modes: tuple[str, ...], severities: tuple[int, ...], seed: int, start: float
) -> None:
    sample = _sample(drive, start)
    count = len(cells(modes, severities))
    with progress(f"drawing {path.name}", count, "pictures") as advance:
        picture = contact_sheet(sample, modes, severities, seed, advance)
    write_whole(path, cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes(), "choose another folder")
    typer.echo(
        f"{path}: {count} pictures of {sample.name}, {picture.shape[1]}x{picture.shape[0]}, seed {seed}"
    )


def _sample(drive: Drive, start: float) -> Sample:
    """Read the picture at a time, and what follows it for as long as a strip of time shows."""
    height, width, _ = _camera(drive)
    scale = min(1.0, _SHEET_PX / width)
    small = SMALL, max(32, round(SMALL * height / width))
    picture: Image | None = None
    clip: list[Timed] = []
    for frame in Recording(drive, (round(height * scale), round(width * scale)), every_s=1 / 30):
        if frame.time_s >= start + STRIP_S:
            break
        if frame.time_s >= start:
            picture = frame.image if picture is None else picture
            reduced = cv2.resize(frame.image, small, interpolation=cv2.INTER_AREA)
            clip.append(Timed(frame.time_s, np.asarray(reduced, np.uint8)))
    if picture is None:
        raise _too_short(drive, start)
    return Sample(f"{drive.name} at {clip[0].time_s:.1f} s", picture, clip)


def _too_short(drive: Drive, start: float) -> InputError:
    return InputError(drive.path, f"must last beyond --start {start:g} s, does not", "start earlier")


@dataclass(frozen=True, slots=True)
class _Fault:
    """What goes wrong in a clip, and when."""

    mode: str
    severity: int
    seed: int
    start_s: float
    stop_s: float | None


def _write_clip(path: Path, drive: Drive, fault: _Fault) -> None:
    height, width, fps = _camera(drive)
    recording = Recording(drive, (height, width))
    with progress(f"breaking {path.name}", recording.expected_frames) as advance:

        def read() -> Iterator[Timed]:
            last_s = -1.0
            for frame in recording:
                last_s = frame.time_s
                yield Timed(last_s, frame.image)
                advance()
            if last_s < fault.start_s:
                raise _too_short(drive, fault.start_s)

        count = write_timed(path, _broken(read(), fault), fps, _CRF)
    for note in recording.notes:
        console(errors=True).print(f"{drive.name}: {note}")
    until = "the end" if fault.stop_s is None else f"{fault.stop_s:g} s"
    typer.echo(
        f"{path}: {count} frames, {width}x{height}; {fault.mode} at severity {fault.severity} "
        f"from {fault.start_s:g} s to {until}, seed {fault.seed}"
    )


def _broken(frames: Iterator[Timed], fault: _Fault) -> Iterator[Timed]:
    left = 0
    for frame in inject_timed(frames, fault.mode, fault.start_s, fault.stop_s, fault.severity, fault.seed):
        left += 1
        yield frame
    if not left:
        raise InputError(
            f"fault {fault.mode}", f"leaves no picture at severity {fault.severity}", "set --start or --stop"
        )
