"""The health checks on rendered footage, with faults made to order, and on what must not be called a fault."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engines.backends.scripted import ScriptedEngine
from engines.bundle import open_bundle
from engines.decision import Calibration, Channel, Rule
from engines.faults import FAULTS, Timed, inject_timed
from engines.footage import rgb_frame
from engines.frames import Frame, Image
from engines.health import CHECKS, MODES, HealthChecks, held_levels, raised_limits
from engines.health.fault import Fault
from engines.health.past import GUARD_S, WARMUP_S
from engines.planes import Chroma, planes, rgb_planes
from engines.regions import Regions
from engines.rendered import Drive, Segment, render
from monitor.detector import Detector, Sample
from monitor.events import Event, Phase
from monitor.pipeline import SILENT_AFTER_S, Stream
from monitor.rules import Rules

FPS, BEFORE_S, AFTER_S = 10.0, 8.0, 8.0
SIZE, INPUT = (480, 270), (96, 144)
DEAF = Calibration(
    Rule(), (Channel("domain", 1e9, 0.0), Channel("departure", 1e9, 0.0)), "drive", 9, 60.0, 1.0
)
"""No change of scene is an event: these are tests of the camera."""


class Camera:
    """Health checks and detector of one stream."""

    def __init__(self, limits: Mapping[str, float] | None = None, ignored: Regions | None = None) -> None:
        self.health, self.detector = HealthChecks(limits, ignored), Detector("cam", DEAF, np.eye(2))
        self.index = 0

    def watch(self, frames: Iterable[Timed], **facts: bool) -> Iterator[Event]:
        """What is told of ``frames``; ``facts`` are what their reader knows of them."""
        for time_s, image in frames:
            yield from self.see(replace(rgb_frame(image, "cam", self.index, time_s, INPUT), **facts))

    def see(self, frame: Frame) -> tuple[Event, ...]:
        self.index += 1
        health = self.health.check(frame)
        events = self.detector.update(Sample(frame.time_s, 0.0, np.zeros(2), health)).events
        if any(event.phase == Phase.START for event in events):
            self.health.forget_waiting()
        return events


def begun(events: Iterable[Event]) -> list[str]:
    return [event.mode for event in events if event.phase == Phase.START]


def pictures(
    seed: int, *segments: Segment, size: tuple[int, int] = SIZE, begin_s: float = 0.0
) -> list[Timed]:
    return [Timed(begin_s + time_s, image) for _, time_s, image in render(segments, seed, size, FPS)]


@pytest.fixture(scope="module")
def drive() -> list[Timed]:
    return pictures(4, Segment("highway", BEFORE_S + AFTER_S))


@pytest.fixture(scope="module")
def camera(drive: list[Timed]) -> Camera:
    """A camera that has seen ``BEFORE_S`` of the drive; copy it, do not use it up."""
    camera = Camera()
    assert begun(camera.watch(t for t in drive if t.time_s < BEFORE_S)) == []
    return camera


def decoded(picture: Image) -> tuple[Image, Chroma]:
    return planes(av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p"))


@pytest.mark.parametrize("planes_of", [decoded, rgb_planes])
@pytest.mark.parametrize("size", [(478, 268), (479, 269), (479, 268), (478, 269)])
def test_a_picture_of_odd_size_is_judged_as_an_even_one(
    size: tuple[int, int], planes_of: Callable[[Image], tuple[Image, Chroma]], drive: list[Timed]
) -> None:
    """Chroma of 269 rows has 135 from decoders and 134 from us; it was taken to have as many as luma. In the end the codec's
    grey fills the lower half."""
    (width, height), health, small = size, HealthChecks(), np.zeros((*INPUT, 3), np.uint8)
    for index, (time_s, picture) in enumerate(drive[:80]):
        luma, chroma = planes_of(np.ascontiguousarray(picture[:height, :width]))
        if index >= 60:
            luma, *chroma = (
                np.concatenate([p[: len(p) // 2], np.full_like(p[len(p) // 2 :], 128)])
                for p in (luma, *chroma)
            )
        frame = Frame("cam", index, time_s, 0.0, small, luma, chroma=(chroma[0], chroma[1]))
        statistics = health.check(frame).statistics
    assert statistics["decay"] == pytest.approx(0.5, abs=0.1)


def broken(drive: list[Timed], mode: str, severity: int, seed: int) -> Iterator[Timed]:
    after = (t for t in drive if t.time_s >= BEFORE_S)
    return inject_timed(after, mode, BEFORE_S, None, severity, seed)


@pytest.mark.parametrize(
    ("mode", "severity", "seed"),
    [
        ("irregular_frames", 4, 1),
        ("freeze", 3, 0),
        ("loop", 4, 0),
        ("black", 3, 0),
        ("monochrome", 4, 0),
        ("no_demosaic", 4, 0),
        ("channel_swap", 3, 0),
        ("flipped", 3, 0),
        ("flipped", 3, 1),
        ("flipped", 3, 2),
        ("test_pattern", 3, 0),
        ("test_pattern", 4, 0),
        ("test_pattern", 5, 0),
        ("wrong_size", 5, 0),
        ("wrong_size", 4, 1),
        ("wrong_size", 4, 2),
    ],
)
def test_modes_told_at_once_are_told_within_their_bound_in_frames(
    mode: str, severity: int, seed: int, camera: Camera, drive: list[Timed]
) -> None:
    told = next(m for m in MODES if m.name == mode).told[0]
    frames = itertools.islice(broken(drive, mode, severity, seed), bound(told))
    assert begun(deepcopy(camera).watch(frames))[:1] == [told]


def bound(fault: Fault) -> int:
    """Frames from the onset to the belief, whichever check of the fault speaks."""
    return max(check.bound_frames(FPS) for check in CHECKS if check.fault == fault)


@pytest.mark.parametrize(
    ("mode", "severity"),
    [
        ("reencoded_freeze", 4),
        ("partial_freeze", 4),
        ("white", 4),
        ("under_exposed", 4),
        ("exposure_oscillation", 4),
        ("blur", 4),
        ("noise", 4),
        ("banding", 4),
        ("dead_pixels", 4),
        ("bright_lines", 4),
        ("colour_cast", 4),
        ("chromatic_aberration", 4),
        ("vibration", 5),
        ("flare", 5),
        ("broken_lens", 5),
        ("frost", 4),
        ("mud", 4),
        ("covered", 4),
    ],
)
def test_other_modes_are_told_as_their_group(
    mode: str, severity: int, camera: Camera, drive: list[Timed]
) -> None:
    told = next(m for m in MODES if m.name == mode).told
    assert set(begun(deepcopy(camera).watch(broken(drive, mode, severity, 3)))[:1]) <= set(told)
    assert begun(deepcopy(camera).watch(broken(drive, mode, severity, 3)))


def test_damaged_frames_are_told(camera: Camera, drive: list[Timed]) -> None:
    after = [t for t in drive if t.time_s >= BEFORE_S]
    assert begun(deepcopy(camera).watch(after[: bound(Fault.MACROBLOCKS)], damaged=True)) == ["macroblocks"]


@pytest.mark.parametrize(("before", "after"), [(25.0, 12.5), (25.0, 5.0), (30.0, 2.0), (2.0, 25.0)])
def test_another_frame_rate_is_no_fault(drive: list[Timed], before: float, after: float) -> None:
    camera, time_s, told = Camera(), 0.0, []
    for n, timed in enumerate(drive[:120]):
        told += begun(camera.see(rgb_frame(timed.image, "cam", n, time_s, INPUT)))
        time_s += 1.0 / (before if n < 60 else after)
    assert told == []


def test_wrong_time_stamps_are_told(camera: Camera, drive: list[Timed]) -> None:
    after = [t for t in drive if t.time_s >= BEFORE_S]
    frames = after[: bound(Fault.IRREGULAR_FRAMES)]
    assert begun(deepcopy(camera).watch(frames, mistimed=True)) == ["irregular_frames"]


@pytest.mark.parametrize(("hole_s", "told"), [(2.0, ["irregular_frames"]), (5.0, ["no_frames"])])
def test_a_hole_in_the_stream_is_told_once(
    hole_s: float, told: list[str], drive: list[Timed], small_bundle: Path
) -> None:
    """What was told as a want of frames was told again as irregular ones, once frames came."""
    bundle = open_bundle(small_bundle)
    stream, events = Stream("cam", bundle, SILENT_AFTER_S, Rules(domain_told=False)), []
    quiet = ScriptedEngine(INPUT, bundle.manifest.dimensions).score(np.zeros((1, *INPUT, 3), np.uint8))
    for index, (time_s, image) in enumerate(drive):
        later_s = time_s + (hole_s if time_s >= BEFORE_S else 0.0)
        events += stream.judge(rgb_frame(image, "cam", index, later_s, INPUT), quiet, 0).judged.events
    assert begun(events) == told


@pytest.mark.parametrize(
    ("mode", "severity", "told"),
    [
        ("black", 4, "black"),
        ("white", 5, "white"),
        ("covered", 5, "covered"),
        ("test_pattern", 5, "test_pattern"),
        ("noise", 4, "noise"),
        ("freeze", 3, "freeze"),
        ("no_demosaic", 5, "no_demosaic"),
    ],
)
def test_a_camera_that_was_never_all_right_is_told(
    mode: str, severity: int, told: str, drive: list[Timed]
) -> None:
    frames = inject_timed(drive[:40], mode, 0.0, None, severity, 3)
    assert begun(Camera().watch(frames))[:1] == [told]


CLEAN = {
    "tunnel": (Segment("highway", 6.0), Segment("tunnel", 5.0), Segment("highway", 4.0)),
    "city, night": (Segment("highway", 6.0), Segment("city", 5.0), Segment("night", 5.0)),
}


def test_a_picture_that_goes_dark_all_over_bit_by_bit_is_black(camera: Camera, drive: list[Timed]) -> None:
    # Not a patch is left then by which a cover could be told from nightfall.
    shares = [(t, min(1.0, (t.time_s - BEFORE_S) / 1.5)) for t in drive if t.time_s >= BEFORE_S]
    frames = (
        Timed(t.time_s, np.asarray(t.image * (1.0 - share) + 6.0 * share, np.uint8)) for t, share in shares
    )
    assert begun(deepcopy(camera).watch(frames)) == ["black"]


@pytest.mark.parametrize("scenes", CLEAN)
def test_a_clean_drive_is_no_fault(scenes: str) -> None:
    assert begun(Camera().watch(pictures(len(scenes), *CLEAN[scenes], size=(320, 180)))) == []


@pytest.mark.parametrize(("seed", "scene"), [(11, "city"), (13, "highway")])
def test_a_cut_is_no_fault(seed: int, scene: str, camera: Camera) -> None:
    """Another drive through another camera, from one frame to the next."""
    after = pictures(seed, Segment(scene, 5.0), begin_s=BEFORE_S)
    assert begun(deepcopy(camera).watch(after)) == []


def parked(drive: Drive) -> Iterator[Timed]:
    """The car brakes to a stand within 3 s, and stands for 6 s, while somebody walks by."""
    place = BEFORE_S
    for n in range(90):
        image = drive.image(round(place * drive.fps)).copy()
        place += max(0.0, 1.0 - n / 30) / FPS
        left = 20 + 4 * n
        image[130:190, left : left + 14] = (70, 40, 60)
        yield Timed(BEFORE_S + n / FPS, image)


def grainless(frames: Iterable[Timed]) -> Iterator[Timed]:
    return (Timed(t.time_s, np.asarray(cv2.blur(t.image, (5, 5)), np.uint8)) for t in frames)


def grainy(frames: Iterable[Timed]) -> Iterator[Timed]:
    rng = np.random.default_rng(5)
    for time_s, image in frames:
        noisy = image + 2.0 * rng.standard_normal(image.shape, np.float32)
        yield Timed(time_s, np.clip(noisy, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def stop(drive: list[Timed]) -> list[Timed]:
    slow = Drive((Segment("highway", BEFORE_S + AFTER_S),), 4, SIZE, 20 * FPS)
    return [*(t for t in drive if t.time_s < BEFORE_S), *parked(slow)]


@pytest.mark.parametrize("sensor", [grainless, grainy])
def test_a_parked_car_is_no_frozen_camera(
    sensor: Callable[[Iterable[Timed]], Iterator[Timed]], stop: list[Timed]
) -> None:
    assert begun(Camera().watch(sensor(stop))) == []


def test_a_change_of_resolution_is_no_fault(camera: Camera, drive: list[Timed]) -> None:
    after = [
        Timed(t.time_s, np.asarray(cv2.resize(t.image, (240, 135), interpolation=cv2.INTER_AREA), np.uint8))
        for t in drive
        if t.time_s >= BEFORE_S
    ]
    assert begun(deepcopy(camera).watch(after)) == []


@pytest.mark.parametrize("size", [(8, 8), (16, 9), (40, 30), (64, 48)], ids=str)
def test_tiny_pictures_are_judged_too(size: tuple[int, int]) -> None:
    camera = Camera()
    black = np.zeros((size[1], size[0], 3), np.uint8)
    for n in range(40):
        image = np.random.default_rng(n).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
        list(camera.watch([Timed(n / FPS, image)]))
    assert begun(camera.watch(Timed(4.0 + n / FPS, black) for n in range(15)))[-1:] == ["black"]


def test_a_grey_stream_is_judged_too(camera: Camera, drive: list[Timed]) -> None:
    grey, found = Camera(), []
    for n, (time_s, image) in enumerate(drive):
        frame = rgb_frame(image, "cam", n, time_s, INPUT)
        light = np.repeat(
            np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), np.uint8)[..., None], 3, 2
        )
        found += grey.see(replace(frame, image=light, chroma=None))
    assert begun(found) == []


def test_a_fault_keeps_out_of_the_past_and_ends(camera: Camera, drive: list[Timed]) -> None:
    watched = deepcopy(camera)
    frames = list(inject_timed((t for t in drive if t.time_s >= BEFORE_S), "blur", 0.0, 12.0, 4, 0))
    events = list(watched.watch(frames))
    assert [(event.phase, event.mode) for event in events] == [(Phase.START, "blur"), (Phase.END, "blur")]
    assert abs(float(events[-1].end_s or math.nan) - 12.0) < 0.5
    assert abs(events[0].onset_s - BEFORE_S) < 0.2


def test_the_same_frames_give_the_same_health(camera: Camera, drive: list[Timed]) -> None:
    """A copy of the state goes on as the original does."""
    first, second = deepcopy(camera), deepcopy(camera)
    for n, (time_s, image) in enumerate(t for t in drive if t.time_s >= BEFORE_S):
        if n > 20:
            break
        frame = rgb_frame(image, "cam", 80 + n, time_s, INPUT)
        one, other = first.health.check(frame), second.health.check(frame)
        assert one.suspicions == other.suspicions
        np.testing.assert_array_equal(list(one.statistics.values()), list(other.statistics.values()))


def test_the_most_certain_suspicion_comes_first(camera: Camera, drive: list[Timed]) -> None:
    checks = deepcopy(camera).health
    healths = [
        checks.check(rgb_frame(image, "cam", 80 + n, time_s, INPUT))
        for n, (time_s, image) in enumerate(broken(drive, "black", 4, 0))
    ]
    last = healths[-1]
    assert last.suspect == Fault.BLACK
    assert last.of("black") == last.suspicions[0]
    assert last.of("blur") is None or last.of("blur") in last.suspicions[1:]
    assert {check.statistic for check in CHECKS} <= set(last.statistics)


def test_all_36_modes_are_accounted_for() -> None:
    assert [(mode.number, mode.name) for mode in MODES] == [(f.number, f.mode) for f in FAULTS.values()]
    assert [mode.told[0] for mode in MODES] == [f.verdict for f in FAULTS.values()]
    checked = {check.fault for check in CHECKS} | {Fault.NO_FRAMES}
    # What no check knows is told by the early features.
    assert checked == set(Fault) - {Fault.CORRUPTED} == {fault for mode in MODES for fault in mode.told}


def test_bounds_are_in_frames_and_warm_up_is_stated() -> None:
    black = next(check for check in CHECKS if check.statistic == "black")
    assert (black.bound_frames(10.0), black.bound_frames(30.0)) == (7, 17)
    assert WARMUP_S + GUARD_S <= BEFORE_S


def noisy(drive: list[Timed], deviation: float, until_s: float) -> Iterator[Timed]:
    """The drive behind a grainy camera."""
    rng = np.random.default_rng(1)
    for time_s, image in drive:
        grain = deviation * rng.standard_normal(image.shape, np.float32)
        if time_s < until_s:
            yield Timed(time_s, np.clip(image + grain, 0, 255).astype(np.uint8))


def test_limits_from_normal_footage_keep_a_grainy_camera_quiet(drive: list[Timed]) -> None:
    taught, other = (list(noisy(drive, deviation, 8.0)) for deviation in (9.0, 10.0))
    assert begun(Camera().watch(other)) == ["noise"]
    checks = HealthChecks()
    healths = [checks.check(rgb_frame(t.image, "cam", n, t.time_s, INPUT)) for n, t in enumerate(taught)]
    times_s = np.array([t.time_s for t in taught])
    levels = held_levels(times_s, np.stack([h.levels for h in healths]))
    assert set(levels) <= {check.name for check in CHECKS if not check.certain}
    assert levels["noise.noise"] > 1.0
    limits = raised_limits([levels], 1.5)
    threshold = next(check.threshold for check in CHECKS if check.name == "noise.noise")
    assert limits["noise.noise"] * threshold > max(h.statistics["noise"] for h in healths)
    assert begun(Camera(limits).watch(other)) == []
    assert begun(Camera(limits).watch(noisy(drive, 40.0, 8.0))) == ["noise"]


def test_what_is_certain_has_no_limit(drive: list[Timed]) -> None:
    deaf = {check.name: 1e9 for check in CHECKS}
    assert len(deaf) == len(CHECKS)
    for mode in ("black", "freeze", "test_pattern"):
        told = next(m for m in MODES if m.name == mode).told[0]
        camera = Camera(deaf)
        assert begun(camera.watch(t for t in drive if t.time_s < BEFORE_S)) == []
        assert begun(camera.watch(itertools.islice(broken(drive, mode, 5, 0), bound(told)))) == [told]


def test_a_level_is_what_was_held_for_as_long_as_it_takes_to_be_believed() -> None:
    number, check = next((n, c) for n, c in enumerate(CHECKS) if c.name == "noise.noise")
    times_s = 0.1 * np.arange(40)
    levels = np.zeros((40, 2, len(CHECKS)), np.float32)
    levels[3, :, number] = 9.0  # alone
    levels[10:30, :, number] = 0.7 * check.keeps
    levels[10, :, number] = 2.0  # what began high may go on lower
    held = held_levels(times_s, levels)
    assert held == {"noise.noise": pytest.approx(0.7)}
    assert raised_limits([held], 1.2) == {}
    assert raised_limits([held], 2.0) == {"noise.noise": pytest.approx(1.4)}


BONNET_AND_CLOCK = Regions(((0.0, 0.8, 1.0, 1.0), (0.7, 0.0, 1.0, 0.12)))


def scribbled(frames: Iterable[Timed], shares: Regions, seed: int) -> Iterator[Timed]:
    """Frames with anything whatever in some regions: noise, black, white, colours, for half a second each."""
    rng = np.random.default_rng(seed)
    for n, (time_s, image) in enumerate(frames):
        mask = shares.mask(*image.shape[:2])
        kind = n // 5 % 4
        scribble = (
            rng.integers(0, 256, image.shape) if kind == 0 else np.full(image.shape, (0, 255, 90)[kind - 1])
        )
        if kind == 3:
            scribble[..., 0] = 250
        yield Timed(time_s, np.where(mask[..., None], scribble, image).astype(np.uint8))


def test_what_is_ignored_moves_no_statistic(drive: list[Timed]) -> None:
    """Inside the regions, by a margin for the chroma and the small picture, anything may be seen."""
    inside = Regions(((0.0, 0.83, 1.0, 1.0), (0.73, 0.0, 1.0, 0.09)))
    plain, other = (HealthChecks(ignored=BONNET_AND_CLOCK) for _ in range(2))
    for n, (one, two) in enumerate(zip(drive[:60], scribbled(drive[:60], inside, 0), strict=True)):
        first, second = (
            checks.check(rgb_frame(t.image, "cam", n, t.time_s, INPUT))
            for checks, t in ((plain, one), (other, two))
        )
        for name, value in first.statistics.items():
            assert second.statistics[name] == pytest.approx(value, nan_ok=True, abs=1e-5), (name, n)


@pytest.mark.parametrize(
    ("mode", "severity"), [("freeze", 3), ("black", 4), ("bright_lines", 4), ("banding", 4), ("mud", 4)]
)
def test_faults_beside_what_is_ignored_are_told(mode: str, severity: int, drive: list[Timed]) -> None:
    camera = Camera(ignored=BONNET_AND_CLOCK)
    assert begun(camera.watch(t for t in drive if t.time_s < BEFORE_S)) == []
    told = next(m for m in MODES if m.name == mode).told
    assert begun(camera.watch(broken(drive, mode, severity, 3)))[0] in told
