"""Camera faults: never in place, seeded, worse with severity, at any size, on streams without end."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from engines.errors import InputError
from engines.faults import FAULTS, Timed, apply, covered_share, inject, inject_timed

FRAME_MODES = [mode for mode, fault in FAULTS.items() if fault.on_frame is not None]
LOSING = {"disconnected", "irregular_frames"}
STATIC = {
    "white", "under_exposed", "blur", "motion_blur", "dead_pixels", "colour_cast", "monochrome", "no_demosaic",
    "channel_swap", "chromatic_aberration", "distortion", "frost", "mud", "water_drops", "broken_lens", "covered",
    "moved", "flipped", "flare", "test_pattern", "wrong_size", "bright_lines",
}  # fmt: skip
"""Modes that do the same to each picture: a still scene stays still."""
SIZES = [(360, 640), (97, 131), (33, 47), (32, 32)]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with light, dark, colour and detail everywhere."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(
        rng.integers(20, 236, (6, 9, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)


def drive(count: int, height: int = 48, width: int = 64, fps: float = 10.0) -> list[Timed]:
    """A scene that moves sideways, as every scene does for a camera on wheels."""
    scene = picture(height, width + 3 * count)
    return [Timed(n / fps, scene[:, 3 * n : 3 * n + width].copy()) for n in range(count)]


def stills(count: int) -> list[Timed]:
    return [Timed(n / 10, picture(48, 64)) for n in range(count)]


def pictures(frames: Iterator[Timed]) -> np.ndarray:
    return np.stack([image for _, image in frames]).astype(int)


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


def changed(mode: str, severity: int) -> float:
    """How much of the light of a picture is wrong, on average over scenes and cases."""
    broken = [(picture(90, 160, n), apply(picture(90, 160, n), mode, severity, n)) for n in range(4)]
    return float(np.mean([np.abs(after.astype(int) - before).mean() for before, after in broken]))


@pytest.mark.parametrize("mode", [m for m in FRAME_MODES if FAULTS[m].graded and m not in {"white", "moved"}])
def test_each_severity_does_more_damage(mode: str) -> None:
    values = [changed(mode, severity) for severity in range(1, 6)]
    assert all(low < high for low, high in itertools.pairwise(values)), values
    assert values[0] < 0.85 * values[4]


@pytest.mark.parametrize("seed", range(4))
def test_worse_knocks_move_the_camera_farther(seed: int) -> None:
    across, down = np.meshgrid(np.arange(160), np.arange(90))
    place = np.stack([across, down, np.zeros_like(across)], axis=2).astype(np.uint8)
    middle = place[45, 80, :2].astype(int)
    there = [apply(place, "moved", severity, seed)[45, 80, :2].astype(int) for severity in range(1, 6)]
    away = [float(np.hypot(*(point - middle))) for point in there]
    assert all(low < high for low, high in itertools.pairwise(away)), away


def test_white_leaves_ever_less_contrast() -> None:
    left = [float(apply(picture(120, 160), "white", severity).std()) for severity in range(1, 6)]
    assert all(high > low for high, low in itertools.pairwise(left)), left


CLIP_DAMAGE: dict[str, Callable[[list[Timed], list[Timed]], float]] = {
    "disconnected": lambda clean, broken: len(clean) - len(broken),
    "irregular_frames": lambda clean, broken: len(clean) - len(broken),
    "reencoded_freeze": lambda _, broken: -float(np.abs(np.diff(pictures(iter(broken)), axis=0)).mean()),
    "partial_freeze": lambda clean, broken: float((pictures(iter(clean)) != pictures(iter(broken))).mean()),
    "loop": lambda _, broken: -len({image.tobytes() for _, image in broken}),
    "exposure_oscillation": lambda _, broken: float(pictures(iter(broken)).mean((1, 2, 3)).std()),
    "vibration": lambda clean, broken: float(np.abs(pictures(iter(clean)) - pictures(iter(broken))).mean()),
    "macroblocks": lambda clean, broken: float(np.abs(pictures(iter(clean)) - pictures(iter(broken))).mean()),
}


@pytest.mark.parametrize("mode", CLIP_DAMAGE)
def test_each_severity_does_more_damage_to_a_clip(mode: str) -> None:
    clean = stills(40) if mode in {"exposure_oscillation", "vibration"} else drive(120)
    values = [
        CLIP_DAMAGE[mode](clean, list(inject_timed(clean, mode, severity=s, seed=2))) for s in range(1, 6)
    ]
    assert all(low < high for low, high in itertools.pairwise(values)), values


def test_every_graded_mode_is_held_to_its_severities() -> None:
    graded = {mode for mode, fault in FAULTS.items() if fault.graded}
    assert graded == set(CLIP_DAMAGE) | {mode for mode in FRAME_MODES if FAULTS[mode].graded}


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


@pytest.mark.parametrize("mode", ["mud", "covered", "frost", "condensation"])
def test_what_is_on_the_glass_has_no_light_of_its_own(mode: str) -> None:
    day = picture(120, 160)
    night = (day // 12).astype(np.uint8)
    assert apply(night, mode, 5, 1).mean() < 0.6 * apply(day, mode, 5, 1).mean()
    assert np.array_equal(apply(night, "test_pattern", 5), apply(day, "test_pattern", 5))


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


@pytest.mark.parametrize("mode", [mode for mode in FRAME_MODES if FAULTS[mode].scope != "bitstream"])
def test_what_sits_on_the_glass_stays_and_what_is_noise_is_fresh(mode: str) -> None:
    seen = pictures(inject_timed(stills(6), mode, severity=3, seed=2))
    still = all(np.array_equal(a, b) for a, b in itertools.pairwise(seen))
    assert still == (mode in STATIC)
    if mode in STATIC:
        assert np.array_equal(seen[0], apply(picture(48, 64), mode, 3, seed=2))


def test_noise_of_one_seed_is_not_that_of_the_next_a_picture_later() -> None:
    first, second = (pictures(inject_timed(stills(3), "noise", seed=seed)) for seed in (0, 1))
    assert not np.array_equal(first[1], second[0])


@pytest.mark.parametrize("size", [(48, 64), (33, 47)], ids=["even", "odd"])
@pytest.mark.parametrize("mode", FAULTS)
def test_a_clip_is_broken_the_same_way_each_time_and_left_as_it_was(mode: str, size: tuple[int, int]) -> None:
    clean = drive(12, *size)
    before = [image.copy() for _, image in clean]
    for _, image in clean:
        image.setflags(write=False)
    first, again = (list(inject_timed(clean, mode, 0.3, 0.9, 4, seed=3)) for _ in range(2))
    assert [time_s for time_s, _ in first] == [time_s for time_s, _ in again]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert all(image.shape == (*size, 3) and image.dtype == np.uint8 for _, image in first)
    assert all(np.array_equal(frame.image, old) for frame, old in zip(clean, before, strict=True))


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("mode", FAULTS)
def test_times_always_rise_and_only_the_interval_is_broken(mode: str, severity: int) -> None:
    clean = drive(20, 32, 48)
    broken = list(inject_timed(clean, mode, 0.5, 1.5, severity, seed=1))
    times = [time_s for time_s, _ in broken]
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
    for old, new in (*zip(clean[:5], broken[:5], strict=True), *zip(clean[15:], broken[-5:], strict=True)):
        assert np.array_equal(old.image, new.image)
        assert new.time_s == old.time_s or mode == "irregular_frames"
    if mode not in LOSING:
        assert times == [time_s for time_s, _ in clean]


@pytest.mark.parametrize("mode", FAULTS)
def test_endless_streams_run_in_bounded_memory(mode: str) -> None:
    """A loop keeps up to 32 pictures, whatever the length; nothing else keeps more than a few."""
    scenes = [image for _, image in drive(40)]
    endless = (Timed(n / 10, scenes[n % 40].copy()) for n in itertools.count())
    broken = inject_timed(endless, mode, severity=1)
    tracemalloc.start()
    try:
        assert len(list(itertools.islice((1 for _ in broken), 60))) == 60
        early = tracemalloc.get_traced_memory()[0]
        assert len(list(itertools.islice((1 for _ in broken), 200))) == 200
        grown = tracemalloc.get_traced_memory()[0] - early
    finally:
        tracemalloc.stop()
    assert grown < 12 * scenes[0].nbytes


def test_an_endless_stream_ends_where_the_camera_is_gone_for_good() -> None:
    endless = (picture(40, 60, index) for index in itertools.count())
    assert len(list(inject(endless, "disconnected", 2, None, 5))) == 2


def lost(clean: np.ndarray, broken: np.ndarray) -> float:
    """Share of pixels that nobody would take for the scene's."""
    return float((np.abs(clean.astype(int) - broken).max(axis=-1) > 40).mean())


@pytest.mark.parametrize("seed", range(8))
def test_damage_of_the_stream_is_there_from_severity_3_and_green(seed: int) -> None:
    clean = picture(180, 320, seed)
    for severity, least in ((3, 0.2), (4, 0.35), (5, 0.6)):
        broken = apply(clean, "macroblocks", severity, seed)
        assert lost(clean, broken) > least, severity
        # Luma and chroma of zero are this green in every decoder.
        green = np.abs(broken.astype(int) - (0, 135, 0)).max(axis=2) < 10
        assert green.mean() > 0.15, severity


@pytest.mark.parametrize("seed", range(3))
def test_damage_of_the_stream_lasts(seed: int) -> None:
    clean = drive(80, 96, 144)
    for severity, least in ((3, 0.03), (4, 0.1), (5, 0.3)):
        broken = inject_timed(clean, "macroblocks", severity=severity, seed=seed)
        shares = [lost(old.image, new.image) for old, new in zip(clean, broken, strict=True)]
        assert min(shares) > least, severity


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 144), (120, 90)], ids=str)
def test_no_damage_makes_the_decoder_raise(size: tuple[int, int]) -> None:
    """A decoder that was given 800 broken pictures answers each of them with a picture."""
    clean = drive(50, *size)
    for seed, severity in itertools.product(range(4), (1, 3, 4, 5)):
        broken = inject_timed(clean, "macroblocks", severity=severity, seed=seed)
        assert [image.shape for _, image in broken] == [(*size, 3)] * 50


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: apply(picture(32, 32), "gremlin"), "must be one of disconnected, irregular_frames, freeze"),
        (lambda: inject([], "gremlin"), "must be one of disconnected, irregular_frames, freeze"),
        (lambda: apply(picture(32, 32), "freeze"), "use inject"),
        (lambda: inject([], "blur", fps=0), "more than nothing, not 0"),
        (lambda: inject_timed([], "blur", -1.0), "not -1.0 and None"),
        (lambda: apply(picture(32, 32), "blur", 6), "1, 2, 3, 4 or 5, not 6"),
        (lambda: apply(np.zeros((4, 4), np.uint8), "blur"), "H × W × 3"),
        (lambda: apply(np.zeros((4, 4, 3), np.float32), "blur"), "float32"),
        (lambda: inject([], "blur", 5, 2), "not 5 and 2"),
        (lambda: covered_share("blur", (10, 10), 1), "covered or mud"),
    ],
    ids=[
        "unknown",
        "unknown in a clip",
        "clip fault",
        "rate",
        "negative start",
        "severity",
        "shape",
        "type",
        "interval",
        "share",
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call: object, says: str) -> None:
    with pytest.raises(InputError) as caught:
        call()  # type: ignore[operator]
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
