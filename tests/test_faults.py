"""Camera faults: never in place, seeded, worse with severity, at any size."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from engines.errors import InputError
from engines.faults import FAULTS, apply, covered_share, inject

FRAME_MODES = [mode for mode, fault in FAULTS.items() if fault.on_frame is not None]
CLIP_MODES = [mode for mode, fault in FAULTS.items() if fault.on_clip is not None]
SIZES = [(360, 640), (97, 131), (33, 47), (32, 32)]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with light, dark, colour and detail everywhere."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(
        rng.integers(20, 236, (6, 9, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)


def detail(image: np.ndarray) -> float:
    return float(cv2.Laplacian(image.astype(np.float32), cv2.CV_32F).std())


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("mode", FRAME_MODES)
def test_fault_changes_a_copy_alone_and_the_same_way_each_time(
    mode: str, severity: int, size: tuple[int, int]
) -> None:
    image = picture(*size)
    before = image.copy()
    image.setflags(write=False)
    broken = apply(image, mode, severity, seed=4)
    assert (broken.shape, broken.dtype) == (image.shape, np.uint8)
    assert np.array_equal(image, before)
    assert not np.shares_memory(broken, image)
    assert np.array_equal(broken, apply(image, mode, severity, seed=4))
    if size[0] > 90:
        assert np.abs(broken.astype(int) - before).mean() > 0.02


def test_every_mode_acts_on_frames_or_on_clips_and_says_what_gives_it_away() -> None:
    for name, fault in FAULTS.items():
        assert fault.mode == name
        assert fault.on_frame is not None or fault.on_clip is not None
        assert fault.cue
        assert fault.confusable_with
        assert fault.verdict in FAULTS or fault.verdict == "no_frames"
    assert [fault.number for fault in FAULTS.values()] == list(range(1, 37))


@pytest.mark.parametrize(
    ("mode", "measure", "rising"),
    [
        ("blur", detail, False),
        ("noise", lambda image: float((image.astype(float) - 128).std()), True),
        ("black", lambda image: float(image.mean()), False),
        ("white", lambda image: float(image.std()), False),
        ("colour_cast", lambda image: float(np.ptp(image.mean((0, 1)))), True),
        ("under_exposed", lambda image: float(image.mean()), False),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_severity_is_monotone(mode: str, measure: object, rising: bool) -> None:
    image = np.full((120, 160, 3), 128, np.uint8) if mode in {"noise", "colour_cast"} else picture(120, 160)
    values = [measure(apply(image, mode, severity, seed=2)) for severity in range(1, 6)]  # type: ignore[operator]
    ordered = itertools.pairwise(values if rising else values[::-1])
    assert all(low < high for low, high in ordered), values


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", ["covered", "mud"])
def test_worse_dirt_covers_more_and_stays_on_the_glass(mode: str, seed: int) -> None:
    shares = [covered_share(mode, (320, 180), severity, seed) for severity in range(1, 6)]
    assert all(low < high for low, high in itertools.pairwise(shares)), shares
    assert shares[0] < 0.3
    assert shares[-1] > 0.75
    first, second = (apply(picture(180, 320, drawn), mode, 5, seed) for drawn in (1, 2))
    same = np.abs(first.astype(int) - second).max(axis=2) <= 12
    assert same.mean() > 0.7


def test_black_and_white_end_in_nothing_and_everything() -> None:
    image = picture(90, 160)
    assert apply(image, "black", 5).max() == 0
    assert apply(image, "white", 5).min() == 255
    assert apply(image, "black", 3).mean() < 8


def test_freeze_repeats_exactly_and_lets_go() -> None:
    frames = [picture(40, 60, seed) for seed in range(10)]
    seen = list(inject(frames, "freeze", 3, 7))
    assert len(seen) == len(frames)
    for index, image in enumerate(seen):
        assert np.array_equal(image, frames[3 if 3 <= index < 7 else index]), index


@pytest.mark.parametrize("mode", FRAME_MODES)
def test_inject_breaks_the_interval_and_nothing_else(mode: str) -> None:
    frames = [picture(60, 90, seed) for seed in range(7)]
    seen = list(inject(frames, mode, 2, 5, severity=4, seed=3))
    assert [not np.array_equal(a, b) for a, b in zip(seen, frames, strict=True)] == [False] * 2 + [
        True
    ] * 3 + [False] * 2


def test_noise_is_fresh_in_each_frame_and_mud_is_not() -> None:
    still = [picture(60, 90)] * 3
    first, second, _ = inject(still, "noise")
    assert not np.array_equal(first, second)
    first, second, _ = inject(still, "mud")
    assert np.array_equal(first, second)


def test_inject_runs_on_an_endless_stream() -> None:
    endless = (picture(40, 60, index) for index in itertools.count())
    seen = list(itertools.islice(inject(endless, "freeze", 2), 6))
    assert len(seen) == 6
    assert np.array_equal(seen[2], seen[5])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: apply(picture(32, 32), "gremlin"), "must be one of disconnected, irregular_frames, freeze"),
        (lambda: inject([], "gremlin"), "must be one of disconnected, irregular_frames, freeze"),
        (lambda: apply(picture(32, 32), "freeze"), "use inject"),
        (lambda: apply(picture(32, 32), "blur", 6), "1, 2, 3, 4 or 5, not 6"),
        (lambda: apply(np.zeros((4, 4), np.uint8), "blur"), "H × W × 3"),
        (lambda: apply(np.zeros((4, 4, 3), np.float32), "blur"), "float32"),
        (lambda: inject([], "blur", 5, 2), "not 5 and 2"),
        (lambda: covered_share("blur", (10, 10), 1), "covered or mud"),
    ],
    ids=["unknown", "unknown in a clip", "clip fault", "severity", "shape", "type", "interval", "share"],
)
def test_what_cannot_be_is_refused_in_one_line(call: object, says: str) -> None:
    with pytest.raises(InputError) as caught:
        call()  # type: ignore[operator]
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
