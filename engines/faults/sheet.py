"""The contact sheet: faults of the table at every severity, on one picture; those of time as strips of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from engines.faults.inject import apply, inject_timed
from engines.faults.mixture import faults_of
from engines.faults.strip import liveliest_column, time_strip
from engines.faults.table import FAULTS
from engines.faults.timing import Timed
from engines.frames import Image

STRIP_S = 8.0
"""How much of a clip a strip of time shows."""
SMALL, LARGE = 240, 480
"""Width in pixels of a cell in a sheet of many modes, and of one."""
_PAPER, _INK, _PALE, _GAP = (22, 24, 28), (236, 238, 240), (150, 156, 164), 8
_FONT = cv2.FONT_HERSHEY_SIMPLEX

Done = Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What a sheet is made of.

    name: of the footage. picture: the one that is broken, H × W × 3. clip: what follows it, for STRIP_S at most, in
    pictures of any size; empty where only a picture is there.
    """

    name: str
    picture: Image
    clip: Sequence[Timed] = ()

    @property
    def clip_s(self) -> float:
        """How long the clip lasts."""
        return self.clip[-1].time_s - self.clip[0].time_s if self.clip else 0.0


def cells(modes: Sequence[str], severities: Sequence[int]) -> list[tuple[str, int]]:
    """Return every (mode, severity) of a sheet; modes that are all or nothing come once, at the first."""
    return [
        (mode, severity)
        for mode in modes
        for severity in severities
        if any(fault.graded for fault in faults_of(mode, severity)) or severity == severities[0]
    ]


def contact_sheet(
    sample: Sample,
    modes: Sequence[str] = tuple(FAULTS),
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    seed: int = 0,
    done: Done = lambda: None,
) -> Image:
    """Return the sheet; ``done`` is called after each of ``cells(modes, severities)``.

    Many modes at many severities are a table in two halves, anything less a grid that begins with the clean picture.
    """
    wide = SMALL if len(modes) > 1 else LARGE
    drawn = {}
    for cell in cells(modes, severities):
        drawn[cell] = _cell(sample, *cell, seed, wide)
        done()
    title = f"{sample.name}   seed {seed}"
    if any(None in [fault.on_frame for fault in faults_of(mode, severities[0])] for mode in modes):
        title += f"   strips: {sample.clip_s:.1f} s of a column of pixels, time to the right"
    if len(modes) > 1 and len(severities) > 1:
        return _table(title, _fitted(sample.picture, wide), modes, severities, drawn)
    labelled = [("clean", _fitted(sample.picture, wide))]
    labelled += [(_words(mode, severity, len(modes) > 1), image) for (mode, severity), image in drawn.items()]
    if len(modes) > 1:
        title += f"   severity {severities[0]}"
    return _grid(title, labelled)


def _cell(sample: Sample, mode: str, severity: int, seed: int, wide: int) -> Image:
    """Return one mode at one severity: a picture where one can show it, else a strip of time."""
    if all(fault.on_frame is not None for fault in faults_of(mode, severity)):
        return _fitted(apply(sample.picture, mode, severity, seed), wide)
    high = _height(sample.picture, wide)
    if len(sample.clip) < 2:
        return _written(
            _hatched(high, wide), "shows only in a clip", (wide // 2 - 75, high // 2), 0.45, _PALE
        )
    times = np.array([time_s for time_s, _ in sample.clip])
    moments = np.linspace(times[0], times[-1], wide, endpoint=False)
    broken = inject_timed(sample.clip, mode, severity=severity, seed=seed)
    paper = _hatched(sample.clip[0].image.shape[0], wide)
    lasts_s = 1.5 * float(np.median(np.diff(times)))
    strip = time_strip(broken, liveliest_column(sample.clip), moments, lasts_s, paper)
    return np.asarray(cv2.resize(strip, (wide, high), interpolation=cv2.INTER_LINEAR), np.uint8)


def _hatched(high: int, wide: int) -> Image:
    """Return what stands for no picture."""
    paper = np.full((high, wide, 3), _PAPER, np.uint8)
    paper[(np.add.outer(np.arange(high), np.arange(wide)) // 5) % 2 == 0] += 14
    return paper


def _table(
    title: str,
    clean: Image,
    modes: Sequence[str],
    severities: Sequence[int],
    drawn: dict[tuple[str, int], Image],
) -> Image:
    high, wide = clean.shape[:2]
    label, head = 190, 46
    rows = -(-len(modes) // 2)
    half = label + len(severities) * (wide + _GAP)
    sheet = np.full((head * 2 + rows * (high + _GAP), 2 * half + 4 * _GAP, 3), _PAPER, np.uint8)
    _written(sheet, title, (_GAP * 2, 32), 0.6, _INK)
    for n, mode in enumerate(modes):
        left, top = 2 * _GAP + (n // rows) * (half + 2 * _GAP), 2 * head + (n % rows) * (high + _GAP)
        _written(sheet, mode, (left, top + 22), 0.5, _INK)
        _written(sheet, _remark(mode), (left, top + 44), 0.45, _PALE)
        for k, severity in enumerate(severities):
            x = left + label + k * (wide + _GAP)
            if n % rows == 0:
                _written(sheet, f"severity {severity}", (x, 2 * head - 12), 0.5, _PALE)
            if (mode, severity) in drawn:
                sheet[top : top + high, x : x + wide] = drawn[mode, severity]
    return sheet


def _grid(title: str, labelled: Sequence[tuple[str, Image]]) -> Image:
    high, wide = labelled[0][1].shape[:2]
    head, line = 46, 26
    across = 3 if wide == LARGE else 8
    down = -(-len(labelled) // across)
    sheet = np.full((head + down * (high + line + _GAP), _GAP + across * (wide + _GAP), 3), _PAPER, np.uint8)
    _written(sheet, title, (_GAP, 30), 0.6, _INK)
    for n, (words, image) in enumerate(labelled):
        x, y = _GAP + (n % across) * (wide + _GAP), head + (n // across) * (high + line + _GAP)
        _written(sheet, words, (x, y + 18), 0.5, _PALE)
        sheet[y + line : y + line + high, x : x + wide] = image
    return sheet


def _remark(mode: str) -> str:
    """Return the number of a mode, and what has to be known to read its row."""
    fault = FAULTS[mode]
    notes = (f"{fault.number}", "" if fault.on_frame else "strip", "" if fault.graded else "all or nothing")
    return "  ".join(note for note in notes if note)


def _words(mode: str, severity: int, many: bool) -> str:
    return mode if many else f"{mode}   severity {severity}"


def _fitted(image: Image, wide: int) -> Image:
    method = cv2.INTER_AREA if image.shape[1] > wide else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (wide, _height(image, wide)), interpolation=method), np.uint8)


def _height(image: Image, wide: int) -> int:
    return max(1, round(wide * int(image.shape[0]) / int(image.shape[1])))


def _written(sheet: Image, words: str, at: tuple[int, int], size: float, ink: tuple[int, int, int]) -> Image:
    cv2.putText(sheet, words, at, _FONT, size, ink, 1, cv2.LINE_AA)
    return sheet
