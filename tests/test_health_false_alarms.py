"""Clean footage that looks like a fault of the camera for a moment, and the fault beside it, which is still told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
import pytest

from engines.faults import Timed, inject_timed
from engines.footage import rgb_frame
from engines.frames import Image
from engines.health import HealthChecks
from engines.health.belief import Belief
from engines.rendered import Drive, Segment

FPS, BEFORE_S, AFTER_S = 10.0, 6.0, 6.0
SIZE, INPUT = (320, 180), (96, 144)


def believed(frames: Iterable[Timed]) -> set[str]:
    """The faults that are believed in a stream."""
    health, belief, told = HealthChecks(), Belief(), set()
    for index, (time_s, image) in enumerate(frames):
        found = belief.take(time_s, health.check(rgb_frame(image, "cam", index, time_s, INPUT)))
        if found is not None:
            told.add(str(found[0].fault))
            health.forget_waiting()
    return told


@pytest.fixture(scope="module")
def drive() -> list[Timed]:
    seconds = BEFORE_S + AFTER_S
    road = Drive((Segment("highway", seconds),), 4, SIZE, FPS)
    return [Timed(n / FPS, road.image(n)) for n in range(round(seconds * FPS))]


def _warped(image: Image, how: np.ndarray) -> Image:
    return np.asarray(
        cv2.warpAffine(image, how, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT_101), np.uint8
    )


def leaning(drive: list[Timed]) -> Iterator[Timed]:
    """A rolling shutter in a long fast bend: all that is upright leans, alike on both sides."""
    for time_s, image in drive:
        lean = 1.4 * min(max(time_s - 2.0, 0.0) / 2.0, 1.0)
        yield Timed(time_s, _warped(image, np.array([[1.0, lean, -0.5 * lean * SIZE[1]], [0.0, 1.0, 0.0]])))


def turning(drive: list[Timed]) -> Iterator[Timed]:
    """The car swings round a corner, and for one frame the picture leaps ahead."""
    for time_s, image in drive:
        since = min(max(time_s - BEFORE_S, 0.0), 2.0)
        yield Timed(time_s, np.roll(image, -round(100 * since + 30 * (since > 0)), axis=1))


def waiting(drive: list[Timed]) -> Iterator[Timed]:
    """Walking pace, and a dead stop: what goes by crosses the picture from left to right, time and again."""
    for time_s, image in drive:
        image = (image if time_s < BEFORE_S else drive[round(BEFORE_S * FPS)].image).copy()
        for n in range(2):
            left = round((60 * time_s + 180 * n) % (SIZE[0] + 40)) - 40
            image[70 + 20 * n : 140, max(0, left) : max(0, left + 24)] = (90 * n, 200 - 80 * n, 90)
        yield Timed(time_s, image)


def colonnade(drive: list[Timed]) -> Iterator[Timed]:
    """Lit pillars at night that the car goes by."""
    across = np.arange(SIZE[0])
    for time_s, image in drive:
        image = image.copy()
        place = across + 40 * time_s
        lit = 127 + 100 * np.tanh(3.0 * np.sin(place / 16.0 + 2.0 * np.sin(place / 71.0)))
        image[: SIZE[1] * 2 // 3] = lit.astype(np.uint8)[None, :, None]
        yield Timed(time_s, image)


def shaded_bonnet(drive: list[Timed]) -> Iterator[Timed]:
    """Daylight falls at once on a bonnet that was in the shade."""
    rng = np.random.default_rng(3)
    high = SIZE[1] * 3 // 8
    bonnet = cv2.GaussianBlur(rng.uniform(0, 255, (high, SIZE[0], 3)), (0, 0), 4.0)
    bonnet = np.clip(130 + 4 * (bonnet - 127), 20, 255)
    for time_s, image in drive:
        image = image.copy()
        image[-high:] = bonnet * (0.35 if time_s < BEFORE_S else 1.0)
        yield Timed(time_s, image)


def stamped(drive: list[Timed]) -> Iterator[Timed]:
    """The time of day, written on a bonnet that goes from the light into the shade, where it is seen the better."""
    for time_s, image in drive:
        image = image.copy()
        image[-40:] = round(210 - 150 * min(max(time_s - BEFORE_S, 0.0), 1.0))
        words = f"2026-11-28 12:00:{int(time_s):02d} CAM 01"
        cv2.putText(image, words, (6, SIZE[1] - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
        yield Timed(time_s, image)


@pytest.mark.parametrize("clean", [leaning, turning, waiting, colonnade, shaded_bonnet, stamped])
def test_what_looks_like_a_fault_is_none(
    clean: Callable[[list[Timed]], Iterator[Timed]], drive: list[Timed]
) -> None:
    assert believed(clean(drive)) == set()


@pytest.mark.parametrize(
    ("mode", "severity", "seed", "told"),
    [
        ("wrong_size", 3, 0, "wrong_size"),
        ("moved", 3, 0, "moved"),
        ("partial_freeze", 4, 0, "partial_freeze"),
        ("partial_freeze", 3, 1, "partial_freeze"),
        ("test_pattern", 4, 0, "test_pattern"),
        ("frost", 4, 0, "covered"),
    ],
)
def test_the_fault_itself_is_told(mode: str, severity: int, seed: int, told: str, drive: list[Timed]) -> None:
    assert believed(inject_timed(drive, mode, BEFORE_S, None, severity, seed)) == {told}
