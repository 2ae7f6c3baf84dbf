"""What comes over the glass, or moves the camera, within one frame of a scene that goes on; and what is a new scene."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from engines.faults import apply
from engines.footage import rgb_frame
from engines.frames import Image
from engines.health import HealthChecks
from engines.health.scene import Scene
from engines.health.turned import relaid
from engines.health.view import look
from engines.regions import Regions
from engines.rendered import Segment, render

SIZE, INPUT, FPS, BEFORE = (480, 270), (96, 144), 10.0, 70
FAULTY = 20
"""Frames after the onset: as long as what came must stay, and a second more."""


def pictures(scene: str, seed: int, seconds: float) -> list[Image]:
    return [image for _, _, image in render((Segment(scene, seconds),), seed, SIZE, FPS)]


@pytest.fixture(scope="module")
def drive() -> list[Image]:
    return pictures("highway", 4, (BEFORE + FAULTY) / FPS)


def grey(image: Image) -> Image:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def highest(images: list[Image], *statistics: str) -> float:
    """The highest level of the statistics once the first ``BEFORE`` frames have been seen."""
    checks, level = HealthChecks(), 0.0
    for n, image in enumerate(images):
        health = checks.check(rgb_frame(image, "cam", n, n / FPS, INPUT))
        if n >= BEFORE:
            level = max(level, *(health.statistics[name] for name in statistics))
    return level


@pytest.mark.parametrize(
    ("mode", "severity", "told"),
    [("moved", 4, "moved"), ("distortion", 4, "bent"), ("distortion", 5, "bent")],
)
def test_the_layout_is_told_by_the_points_that_both_pictures_show(
    drive: list[Image], mode: str, severity: int, told: str
) -> None:
    kind, agree = relaid(grey(drive[0]), grey(apply(drive[1], mode, severity, 3)))
    assert kind == told
    assert agree > 0.2


@pytest.mark.parametrize("scene", ["highway", "city", "rural"])
def test_another_scene_is_no_other_layout(drive: list[Image], scene: str) -> None:
    assert relaid(grey(drive[0]), grey(pictures(scene, 23, 0.2)[0])) == ("", 0.0)


def test_a_new_scene_that_rocks_is_laid_out_as_nothing_before(drive: list[Image]) -> None:
    middle = (SIZE[0] / 2, SIZE[1] / 2)
    rocks = [
        np.asarray(cv2.warpAffine(i, cv2.getRotationMatrix2D(middle, 14.0 * (-1) ** n, 1.3), SIZE), np.uint8)
        for n, i in enumerate(pictures("city", 23, FAULTY / FPS))
    ]
    assert relaid(grey(rocks[0]), grey(rocks[1]))[0] == "moved"
    assert highest([*drive[:BEFORE], *rocks], "moved") == 0.0


def test_a_scene_that_goes_on_is_laid_out_as_it_was(drive: list[Image]) -> None:
    assert relaid(grey(drive[0]), grey(drive[1])) == ("", 0.0)


@pytest.mark.parametrize(("mode", "severity"), [("water_drops", 4), ("mud", 3), ("frost", 3)])
def test_what_comes_over_the_glass_stays_while_the_scene_goes_on(
    drive: list[Image], mode: str, severity: int
) -> None:
    broken = [*drive[:BEFORE], *(apply(image, mode, severity, 5) for image in drive[BEFORE:])]
    assert highest(drive, "overlay") == 0.0
    assert highest(broken, "overlay") > 0.14


@pytest.mark.parametrize(("scene", "seed"), [("highway", 14), ("city", 15), ("tunnel", 16), ("night", 17)])
def test_a_new_scene_is_not_on_the_glass(drive: list[Image], scene: str, seed: int) -> None:
    cut = [*drive[:BEFORE], *pictures(scene, seed, FAULTY / FPS)]
    assert highest(cut, "overlay", "flare", "panel") == 0.0


def hinted(images: list[Image]) -> set[str]:
    """What was hinted at once the first ``BEFORE`` frames had been seen."""
    checks, hints = HealthChecks(), set[str]()
    for n, image in enumerate(images):
        health = checks.check(rgb_frame(image, "cam", n, n / FPS, INPUT))
        if n >= BEFORE:
            hints |= {str(health.hint.fault)} if health.hint is not None else set()
    return hints


@pytest.mark.parametrize("severity", [3, 4, 5])
def test_drops_are_hinted_at(drive: list[Image], severity: int) -> None:
    broken = [*drive[:BEFORE], *(apply(image, "water_drops", severity, 5) for image in drive[BEFORE:])]
    assert hinted(drive) == set()
    assert hinted(broken) == {"covered"}


@pytest.mark.parametrize(("scene", "seed"), [("city", 15), ("tunnel", 16)])
def test_a_cut_hints_at_nothing(drive: list[Image], scene: str, seed: int) -> None:
    cut = [*drive[:BEFORE], *pictures(scene, seed, FAULTY / FPS)]
    assert hinted(cut) == set()


def test_a_leap_follows_a_steady_picture_and_a_turmoil_does_not(drive: list[Image]) -> None:
    """A bump takes several frames; points that are compared within it agree on anything."""
    heights = {BEFORE + n: pixels for n, pixels in enumerate((6, 14, 24, 38, 20, 6))}
    scene, view, links = Scene(), None, []
    for n, image in enumerate(drive[: BEFORE + FAULTY]):
        down = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, heights.get(n, 0)]])
        rocked = cv2.warpAffine(image, down, SIZE, borderMode=cv2.BORDER_REPLICATE)
        view = look(rgb_frame(np.asarray(rocked, np.uint8), "cam", n, n / FPS, INPUT), view, Regions())
        links.append(scene.link(view))
    assert links[BEFORE].steady
    assert not links[BEFORE + 4].steady
    assert links[-1].steady


@pytest.mark.parametrize("severity", [3, 4, 5])
def test_one_gain_all_over_the_picture_covers_nothing(drive: list[Image], severity: int) -> None:
    """A cast that clips a bright sky took its structure away, and was called a lid."""
    bright = [cv2.convertScaleAbs(image, alpha=1.0, beta=60.0) for image in drive]
    cast = [*bright[:BEFORE], *(apply(image, "colour_cast", severity, 2) for image in bright[BEFORE:])]
    assert highest(cast, "overlay", "covered") == 0.0
    assert highest(cast, "cast") > 0.25
