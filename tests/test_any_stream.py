"""Whatever a stream shows, however its pictures and times change, it is judged: no error, no warning, finite verdicts.

Streams are made up at random of drives, faults, fades, covers, patterns and plain pictures of all sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest

from engines.decision import Calibration, Channel, Rule
from engines.faults import FAULTS, Timed, inject_timed
from engines.footage import rgb_frame
from engines.frames import Image
from engines.health import HealthChecks
from engines.regions import NOWHERE, parse_regions
from engines.rendered import Segment, render
from monitor.detector import Detector, Sample
from monitor.events import Phase

INPUT, SIZE = (96, 144), (180, 320)
SIZES = (SIZE, SIZE, SIZE, (270, 480), INPUT, (1, 1), (2, 3), (17, 31), (64, 640), (640, 64), (1080, 1920))
IGNORED = (
    NOWHERE,
    NOWHERE,
    parse_regions("ignored", [(0.0, 0.8, 1.0, 1.0)]),
    parse_regions("ignored", [(0.0, 0.0, 0.93, 0.93)]),
    parse_regions("ignored", [(0.0, 0.0, 1.0, 0.4), (0.0, 0.6, 0.5, 1.0)]),
)
SENSITIVE = Calibration(
    Rule(), (Channel("domain", 2.0, 0.0), Channel("departure", 2.0, 0.0)), "drive", 9, 60.0, 1.0
)


@pytest.fixture(scope="module")
def drive() -> list[Image]:
    script = (Segment("highway", 6.0), Segment("tunnel", 3.0), Segment("night", 3.0))
    return [image for _, _, image in render(script, 5, SIZE[::-1], 10.0)]


def mixed(image: Image, level: int, share: float) -> Image:
    return np.asarray(image * (1.0 - share) + level * share, np.uint8)


def covered(image: Image, level: int, share: float) -> Image:
    image = image.copy()
    image[:, : int(share * image.shape[1])] = level
    return image


Look = Callable[[Image, int, float, np.random.Generator], Image]
"""From a picture of a drive, a grey level, and how far the scene is on its way from 0 to 1."""
LOOKS: tuple[Look, ...] = (
    lambda image, level, share, rng: image,
    lambda image, level, share, rng: image,
    lambda image, level, share, rng: np.full_like(image, level),
    lambda image, level, share, rng: np.full_like(image, 255 * (level % 2)),
    lambda image, level, share, rng: mixed(image, level, share),
    lambda image, level, share, rng: mixed(image, level // 16, share),
    lambda image, level, share, rng: mixed(image, level, 1.0 - share),
    lambda image, level, share, rng: covered(image, level // 4, share),
    lambda image, level, share, rng: covered(image, level // 4, 1.0),
    lambda image, level, share, rng: np.roll(image, int(200 * share), axis=1),
    lambda image, level, share, rng: rng.integers(0, 256, image.shape).astype(np.uint8),
    lambda image, level, share, rng: np.tile(np.uint8([[[0], [255]], [[255], [0]]]), (90, 160, 3)),
)


def scene(drive: list[Image], rng: np.random.Generator) -> Iterator[Image]:
    """Pictures of one kind, now and then with a fault."""
    look, level = LOOKS[int(rng.integers(len(LOOKS)))], int(rng.integers(256))
    size, count, begin = SIZES[int(rng.integers(len(SIZES)))], int(rng.integers(2, 40)), int(rng.integers(99))
    if size == SIZES[-1]:
        count = min(count, 5)
    pictures = (look(drive[(begin + n) % len(drive)], level, n / (count - 1), rng) for n in range(count))
    sized = (
        np.asarray(cv2.resize(p, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8) for p in pictures
    )
    if rng.random() < 0.3 and 64 <= min(size) < 1080:
        mode, severity = str(rng.choice(list(FAULTS))), int(rng.integers(1, 6))
        timed = [Timed(0.1 * n, picture) for n, picture in enumerate(sized)]
        sized = (t.image for t in inject_timed(timed, mode, 0.0, None, severity, int(rng.integers(999))))
    yield from sized


# With the last three a picture that went dark, or became smaller, once ended the checks.
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", [*range(20), 94, 130, 219])
def test_any_stream_is_judged(drive: list[Image], seed: int) -> None:
    rng = np.random.default_rng(seed)
    health = HealthChecks(None, IGNORED[int(rng.integers(len(IGNORED)))])
    detector = Detector("any", SENSITIVE, np.eye(2))
    time_s, step_s = 0.0, float(rng.choice([1.0, 0.2, 0.1, 0.04]))
    judged = 0
    for _ in range(5):
        for image in scene(drive, rng):
            frame = rgb_frame(image, "any", judged, time_s, INPUT)
            frame = replace(
                frame,
                chroma=None if rng.random() < 0.1 else frame.chroma,
                damaged=bool(rng.random() < 0.05),
                mistimed=bool(rng.random() < 0.05),
            )
            seen = health.check(frame)
            assert all(np.isfinite(s.value) and np.isfinite(s.threshold) for s in seen.suspicions)
            sample = Sample(time_s, float(rng.normal()), rng.normal(size=2), seen, float(rng.normal()))
            for event in detector.update(sample).events:
                assert np.isfinite([event.value, event.threshold, event.onset_s]).all()
                if event.phase == Phase.START:
                    (health.new_scene if rng.random() < 0.5 else health.forget_waiting)()
            judged += 1
            time_s += step_s * (float(rng.choice([0.01, 30.0])) if rng.random() < 0.03 else 1.0)
    assert judged > 5
