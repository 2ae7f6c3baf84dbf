"""The health checks on rendered footage, with faults made to order."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from engines.faults import inject
from engines.frames import Frame, Image
from engines.rendered import Segment, render
from monitor.events import Fault
from monitor.health import CONFIRM_S, HealthChecks

FPS, SECONDS, AT = 10.0, 16, 100


def pictures(seed: int, seconds: float = SECONDS, size: tuple[int, int] = (640, 360)) -> Iterator[Image]:
    return (image for _, _, image in render((Segment("highway", seconds),), seed, size, FPS))


def frame(index: int, image: Image) -> Frame:
    small = np.asarray(cv2.resize(image, (144, 96), interpolation=cv2.INTER_AREA), np.uint8)
    luma = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    return Frame("cam", index, index / FPS, 0.0, small, luma)


@pytest.fixture(scope="module")
def drive() -> list[Image]:
    return list(pictures(2))


@pytest.mark.parametrize(
    ("mode", "fault", "severity"),
    [
        ("black", Fault.BLACK, 3),
        ("white", Fault.WHITE, 4),
        ("freeze", Fault.FREEZE, 3),
        ("blur", Fault.BLUR, 4),
        ("mud", Fault.COVERED, 4),
        ("covered", Fault.COVERED, 4),
    ],
    ids=lambda value: str(value),
)
def test_each_fault_is_suspected_in_time(mode: str, fault: Fault, severity: int, drive: list[Image]) -> None:
    checks = HealthChecks()
    found = [checks.check(frame(i, p)).suspect for i, p in enumerate(inject(drive, mode, AT, None, severity))]
    assert set(found[:AT]) == {None}
    bound = AT + round((2.0 if fault != Fault.FREEZE else 1.0) * FPS)
    assert set(found[bound : bound + round(2 * CONFIRM_S[fault] * FPS)]) == {fault}


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_clean_drive_is_never_suspected(seed: int) -> None:
    checks = HealthChecks()
    suspects = {checks.check(frame(i, p)).suspect for i, p in enumerate(pictures(seed, 20))}
    assert suspects == {None}


def test_a_change_of_resolution_is_no_fault(drive: list[Image]) -> None:
    checks = HealthChecks()
    for i, image in enumerate(drive):
        if i >= AT:
            image = np.asarray(cv2.resize(image, (320, 180), interpolation=cv2.INTER_AREA), np.uint8)
        assert checks.check(frame(i, image)).suspect is None


@pytest.mark.parametrize("size", [(8, 8), (16, 9), (40, 30)], ids=str)
def test_tiny_pictures_are_judged_too(size: tuple[int, int]) -> None:
    checks = HealthChecks()
    for i in range(60):
        image = np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
        assert np.isfinite(checks.check(frame(i, image)).sharpness)
