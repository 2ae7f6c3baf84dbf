"""What people decide for one camera: regions, budget, holds and silence, in replay as in life."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import Bundle, open_bundle
from engines.errors import CalibrationError, ConfigError
from engines.footage import Recording, find_drives
from engines.health import Health, Suspicion
from engines.health.fault import Fault
from engines.regions import Regions
from engines.rendered import Segment, render, write_video
from monitor.events import Event, Phase
from monitor.pipeline import Stream, Watched, watch
from monitor.replay_command import replay_command
from monitor.rules import AS_TAUGHT, SCENE_CHANNELS, Rules
from training.calibrate_command import Footing, calibrate_bundle
from training.fit_command import fit_command

FPS, SIZE = 10.0, (320, 180)
CLOCK = (0.55, 0.03, 0.97, 0.17)


@pytest.fixture(scope="module")
def bundle(rendered_bundle: Path) -> Bundle:
    return open_bundle(rendered_bundle)


@pytest.fixture(scope="module")
def ignoring(rendered_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that was taught not to look at the clock."""
    out = tmp_path_factory.mktemp("ignoring") / "no-clock.bundle"
    fit_command(normal=[rendered_bundle.parent / "drives"], out=out, ignore=["0.55,0.03,0.97,0.17"])
    return open_bundle(out)


@pytest.fixture(scope="module")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same drive without and with a clock that runs, a picture in itself; both without loss."""
    folder, random = tmp_path_factory.mktemp("clocks"), np.random.default_rng(1)
    plain = [image for _, _, image in render((Segment("highway", 5.0),), 21, SIZE, FPS)]
    inside = Regions((CLOCK,)).mask(SIZE[1], SIZE[0])
    running = []
    for image in plain:
        noise = random.integers(0, 256, image.shape).astype(np.uint8)
        running.append(np.where(inside[:, :, None], noise, image))
    write_video(folder / "plain.mp4", plain, FPS, crf=0)
    write_video(folder / "clock.mp4", running, FPS, crf=0)
    return folder / "plain.mp4", folder / "clock.mp4"


def watched(path: Path, bundle: Bundle, rules: Rules = AS_TAUGHT) -> list[Watched]:
    engine = OnnxRuntimeEngine(bundle.model_path)
    recording = Recording(find_drives([path])[0], engine.input_size)
    return list(watch(recording, engine, Stream("x", bundle, rules=rules)))


def surprises(path: Path, bundle: Bundle, rules: Rules = AS_TAUGHT) -> np.ndarray:
    return np.array([w.surprise for w in watched(path, bundle, rules)])


def test_a_clock_in_an_ignored_region_leaves_every_score_as_it_is(
    clocks: tuple[Path, Path], bundle: Bundle, ignoring: Bundle
) -> None:
    plain, clock = clocks
    assert ignoring.ignored == Regions((CLOCK,))
    assert np.abs(surprises(plain, bundle) - surprises(clock, bundle)).max() > 1.0
    assert np.array_equal(surprises(plain, ignoring), surprises(clock, ignoring))
    own = Rules(ignored=Regions((CLOCK,)))
    assert np.array_equal(surprises(plain, bundle, own), surprises(clock, bundle, own))
    assert np.array_equal(surprises(plain, ignoring, own), surprises(plain, ignoring))


def test_a_clock_in_an_ignored_region_says_nothing_of_the_cameras_health(
    clocks: tuple[Path, Path], ignoring: Bundle
) -> None:
    plain, clock = (watched(path, ignoring) for path in clocks)
    for a, b in zip(plain, clock, strict=True):
        for name, value in a.health.statistics.items():
            # Colours have half the resolution, so that a little of the clock's stands beside it.
            assert b.health.statistics[name] == pytest.approx(value, abs=0.01, nan_ok=True), name


def test_a_camera_adds_its_regions_when_a_bundle_is_moved_to_it(
    rendered_bundle: Path, ignoring: Bundle, tmp_path: Path
) -> None:
    write_video(
        tmp_path / "new.mp4", (i for _, _, i in render((Segment("highway", 40.0),), 77, SIZE, FPS)), FPS
    )
    bonnet = Regions(((0.0, 0.85, 1.0, 1.0),))
    footing = Footing(rate=5.0, ignored=bonnet)
    moved, _ = calibrate_bundle(
        tmp_path / "moved.bundle", ignoring, find_drives([tmp_path / "new.mp4"]), footing
    )
    assert moved.ignored == Regions((CLOCK, *bonnet.shapes))
    assert moved.ignored.mask(180, 320)[:20].any()


def test_a_budget_takes_the_thresholds_that_it_asks_for(bundle: Bundle) -> None:
    learnt = bundle.calibration
    looser = Rules(false_alarms_per_hour=3 * learnt.false_alarms_per_hour).calibration(learnt)
    assert learnt.false_alarms_per_hour < looser.false_alarms_per_hour <= 3.001 * learnt.false_alarms_per_hour
    assert all(a.threshold <= b.threshold for a, b in zip(looser.channels, learnt.channels, strict=True))
    assert looser.held_out == learnt.held_out
    assert Rules().calibration(learnt) == learnt
    with pytest.raises(CalibrationError, match=r"^false_alarms_per_hour: a budget of 0.01 .* support \d"):
        Rules(false_alarms_per_hour=0.01).calibration(learnt)


def test_a_hold_may_only_be_longer_than_what_thresholds_were_found_for(bundle: Bundle) -> None:
    learnt = bundle.calibration
    assert Rules(domain_hold_s=4.0).calibration(learnt).rule.confirm_s == 4.0
    with pytest.raises(
        CalibrationError, match=r"^left_domain.hold_s: must be 2 s or more, got 1: the thresh"
    ):
        Rules(domain_hold_s=1.0).calibration(learnt)


def test_a_silenced_channel_is_out_of_reach(bundle: Bundle) -> None:
    quiet = Rules(silenced=frozenset({Fault.CORRUPTED})).calibration(bundle.calibration)
    assert [c.name for c in quiet.channels if c.threshold == math.inf] == ["corruption"]


def test_a_domain_that_nobody_asks_after_is_never_told(bundle: Bundle) -> None:
    deaf = Rules(domain_told=False).calibration(bundle.calibration)
    assert all(c.threshold == math.inf for c in deaf.channels if c.name in ("domain", "departure"))


def suspicion(fault: Fault, confirm_s: float = 0.5) -> Suspicion:
    return Suspicion(fault, "x", 1.0, 0.5, "", confirm_s)


def test_what_is_silenced_is_not_heard_and_holds_nothing_up() -> None:
    blur = suspicion(Fault.BLUR)
    health = Health({}, (blur, suspicion(Fault.BLACK, 1.5)), blur, blur)
    heard = Rules(silenced=frozenset({Fault.BLUR}), fault_hold_s=1.0).heard(health)
    assert heard.suspect == Fault.BLACK
    assert (heard.nearest, heard.hint) == (None, None)
    assert [s.confirm_s for s in heard.suspicions] == [1.5]
    assert [s.confirm_s for s in Rules(fault_hold_s=1.0).heard(health).suspicions] == [1.0, 1.5]
    assert Rules().heard(health) is health


@pytest.fixture(scope="module")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A highway that goes black for 4 s, then a city."""
    path = tmp_path_factory.mktemp("dark") / "dark.mp4"
    script = (
        Segment("highway", 6.0),
        Segment("highway", 4.0, "black"),
        Segment("highway", 4.0),
        Segment("city", 9.0),
    )
    write_video(path, (i for _, _, i in render(script, 41, SIZE, FPS)), FPS)
    return path


def starts(path: Path, bundle: Bundle, rules: Rules) -> list[Event]:
    return [e for w in watched(path, bundle, rules) for e in w.judged.events if e.phase == Phase.START]


def test_rules_change_what_is_told_of_a_recording(dark: Path, bundle: Bundle) -> None:
    """Corruption, which a new scene moves too, is silenced, so that the scene's own channels speak."""
    calm = Rules(silenced=frozenset({Fault.CORRUPTED}))
    usual = starts(dark, bundle, calm)
    assert [e.mode for e in usual] == ["black", ""]
    assert usual[1].channel in SCENE_CHANNELS
    held = starts(dark, bundle, replace(calm, domain_hold_s=4.0, fault_hold_s=2.0))
    assert [e.kind for e in held] == [e.kind for e in usual]
    assert held[0].detected_s - usual[0].detected_s == pytest.approx(1.5, abs=0.2)
    assert held[1].detected_s - usual[1].detected_s == pytest.approx(2.0, abs=0.2)
    # The other channel of the scene may be ahead by then.
    assert held[1].onset_s == pytest.approx(usual[1].onset_s, abs=1.0)
    assert "black" not in {e.mode for e in starts(dark, bundle, Rules(silenced=frozenset({Fault.BLACK})))}
    deaf = starts(dark, bundle, replace(calm, domain_told=False))
    assert [e.mode for e in deaf] == ["black"]


def test_replay_watches_by_a_cameras_rules(dark: Path, rendered_bundle: Path, tmp_path: Path) -> None:
    cameras = "".join(
        f'[[camera]]\nname = "{name}"\nurl = "usb:0"\n{more}\n'
        for name, more in {"plain": "", "deaf": '[camera.camera_fault]\nignore_modes = ["black"]'}.items()
    )
    config = tmp_path / "cameras.toml"
    config.write_text(f'bundle = "{rendered_bundle}"\njournal = "alerts.journal"\n{cameras}')
    modes = {}
    for name in ("plain", "deaf"):
        replay_command([dark], config=config, camera=name, events=tmp_path / f"{name}.jsonl")
        modes[name] = '"mode":"black"' in (tmp_path / f"{name}.jsonl").read_text()
    assert modes == {"plain": True, "deaf": False}
    with pytest.raises(
        ConfigError, match=r"cameras.toml: camera: must be chosen among plain, deaf; give --camera"
    ):
        replay_command([dark], config=config)
    with pytest.raises(ConfigError, match="must name 'deav', does not; did you mean deaf"):
        replay_command([dark], config=config, camera="deav")
