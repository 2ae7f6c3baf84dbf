"""A bundle moved to a new camera: fewer false alarms, other scenes still found, nothing else touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import Bundle, open_bundle
from engines.decision import HeldOut, Rule, calibrate, calibration_without, run_channels
from engines.density import Floats, Projection
from engines.errors import BundleError, CalibrationError, InputError, OutputError
from engines.faults import apply
from engines.footage import Recording, find_drives
from engines.frames import Image
from engines.health import Health
from engines.leave_out import without
from engines.proof.verify import verify_engine
from engines.rendered import Segment, render, write_video
from monitor.detector import Detector, Sample
from monitor.events import Event, Phase
from training.alarms import Alarm, Tally, alarms, tally
from training.calibrate_command import calibrate_command
from training.fit import DensityKind
from training.fit_command import fit_command

ROOT = Path(__file__).resolve().parent.parent
FPS, SIZE = 4.0, (320, 180)
LEARNT_S, LATER_S = 60.0, 16.0


def another_make(image: Image) -> Image:
    """What a camera of another make sees: heat, and so no colours, and light where the other's picture is dark."""
    return 255 - apply(image, "monochrome", 5)


def film(scene: str, seconds: float, seed: int = 21) -> list[Image]:
    return [another_make(image) for _, _, image in render((Segment(scene, seconds),), seed, SIZE, FPS)]


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The new camera: a minute to learn from, what it sees later, a city, and the minute with a covered lens in it."""
    folder = tmp_path_factory.mktemp("camera")
    drive = film("highway", LEARNT_S + LATER_S)
    learnt = int(LEARNT_S * FPS)
    covered = [
        apply(image, "covered", 4) if 20.0 <= i / FPS < 30.0 else image
        for i, image in enumerate(drive[:learnt])
    ]
    for name, images in (
        ("minute", drive[:learnt]),
        ("later", drive[learnt:]),
        ("city", film("city", 12.0)),
        ("covered", covered),
        ("short", drive[: int(20.0 * FPS)]),
        ("still", [drive[0]] * 120),
    ):
        write_video(folder / f"{name}.mp4", images, FPS)
    return folder


def sightline(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sightline", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def moved(camera: Path, rendered_bundle: Path) -> tuple[Bundle, Bundle, str]:
    """The parent, the bundle that the command made of it, and what the command said."""
    out = camera / "moved.bundle"
    said = sightline("calibrate", rendered_bundle, "--normal", camera / "minute.mp4", "--out", out)
    return open_bundle(rendered_bundle), open_bundle(out), said


def watched(bundle: Bundle, *paths: Path) -> tuple[Alarm, ...]:
    """The alarms of recordings, one after another as one stream."""
    engine = OnnxRuntimeEngine(bundle.model_path)
    images = [f.image for p in paths for f in Recording(find_drives([p])[0], engine.input_size)]
    scores = engine.score(np.stack(images))
    times_s = np.arange(len(images)) / FPS
    rule = bundle.calibration.rule
    levels = run_channels(
        list(times_s), scores.domain, scores.latent, scores.damage, bundle.density.within, rule
    )
    return alarms(times_s, levels, bundle.calibration)


def test_false_alarms_end_and_the_city_is_still_found(
    camera: Path, moved: tuple[Bundle, Bundle, str]
) -> None:
    parent, child, said = moved
    before, after = (watched(bundle, camera / "later.mp4") for bundle in (parent, child))
    assert sum(a.ended_s - a.detected_s for a in before) > 0.5 * LATER_S
    assert after == ()
    found = watched(child, camera / "later.mp4", camera / "city.mp4")
    assert len(found) == 1
    assert LATER_S <= found[0].detected_s < LATER_S + 8.0
    # Held-out stretches of the minute itself say the same.
    lines = {
        line.split()[2]: line
        for line in said.splitlines()
        if "false alarms before" in line or "false alarms after" in line
    }
    assert int(lines["before"].split()[3]) >= 4
    assert int(lines["after"].split()[3]) == 0
    assert "95 %" in lines["after"]


def test_only_the_calibration_and_the_mean_move(moved: tuple[Bundle, Bundle, str]) -> None:
    parent, child, said = moved
    assert verify_engine(OnnxRuntimeEngine(child.model_path), child).failed == ""
    old, new = parent.density, child.density
    assert new.normal.support.tobytes() == old.normal.support.tobytes()  # type: ignore[attr-defined]
    assert new.within.tobytes() == old.within.tobytes()
    assert new.projection.basis.tobytes() == old.projection.basis.tobytes()
    frames = parent.probes().frames
    features = OnnxRuntimeEngine(parent.model_path).features(frames).late
    assert np.array_equal(OnnxRuntimeEngine(child.model_path).features(frames).late, features)
    step = child.manifest.lineage[-1]
    latents = [OnnxRuntimeEngine(b.model_path).score(frames).latent for b in (parent, child)]
    shift = latents[0] - latents[1]
    assert np.abs(shift - shift[0]).max() < 1e-4
    assert np.linalg.norm(shift[0]) == pytest.approx(step.shift, rel=1e-3)
    assert f"mean by {step.shift:.1f} standard deviations" in said


def test_a_moved_bundle_names_its_parent(camera: Path, moved: tuple[Bundle, Bundle, str]) -> None:
    parent, child, _ = moved
    assert parent.manifest.lineage == ()
    (step,) = child.manifest.lineage
    assert (step.parent, step.parent_sha256) == (parent.manifest.name, parent.sha256)
    assert step.parent_created == parent.manifest.created
    assert step.moved == ("thresholds", "typical levels", "latent mean")
    assert [(d.name, d.frames) for d in step.drives] == [("minute", int(LEARNT_S * FPS))]
    assert child.manifest.drives == parent.manifest.drives
    assert child.manifest.known[-1] == step.drives[0]
    _, numbers = child.normal_pictures()
    assert set(numbers) == set(range(len(parent.manifest.drives) + 1))


def test_the_camera_can_be_left_out_as_taught_drives_can(moved: tuple[Bundle, Bundle, str]) -> None:
    _, child, _ = moved
    number = len(child.manifest.drives)
    assert {unit.drive for unit in child.calibration.held_out} == {number}
    assert without(child, frozenset({0})).calibration.channels == child.calibration.channels
    with pytest.raises(CalibrationError, match="needs at least 3 held-out blocks"):
        without(child, frozenset({number}))


def test_without_a_shift_the_latent_stays(camera: Path, rendered_bundle: Path) -> None:
    calibrate_command(
        rendered_bundle, [camera / "minute.mp4"], camera / "still.bundle", shift=False, rate=FPS
    )
    parent, child = open_bundle(rendered_bundle), open_bundle(camera / "still.bundle")
    assert child.density.projection.mean.tobytes() == parent.density.projection.mean.tobytes()
    assert child.manifest.lineage[-1].moved == ("thresholds", "typical levels")
    assert child.calibration.channel("domain").typical > parent.calibration.channel("domain").typical
    assert watched(child, camera / "later.mp4") == ()


def test_a_bundle_moved_again_names_a_fault_and_leaves_it_out(
    camera: Path, moved: tuple[Bundle, Bundle, str], capsys: pytest.CaptureFixture[str]
) -> None:
    parent, (covered, doubt, sure) = moved[1], (camera / n for n in ("covered.mp4", "doubt", "sure"))
    calibrate_command(parent.path, [covered], doubt)
    note = next(line for line in capsys.readouterr().out.splitlines() if "as far above the rest" in line)
    start, end = (float(word) for word in note.split("covered, ")[1].split(" s:")[0].split(" to "))
    assert 19.0 <= start <= 26.0
    assert start < end <= 31.0
    calibrate_command(parent.path, [covered], sure, exclude_strange=True)
    doubted, kept = open_bundle(doubt), open_bundle(sure)
    assert kept.manifest.lineage[-1].left_out
    assert not any("as far above the rest" in note for note in kept.manifest.notes)
    assert kept.calibration.units < doubted.calibration.units
    # Without the fault the threshold is nearer to that of the minute in which there was none.
    limits = [b.calibration.channel("domain").threshold for b in (parent, doubted, kept)]
    assert abs(limits[2] - limits[0]) < abs(limits[1] - limits[0])
    assert [step.parent for step in kept.manifest.lineage] == ["highway", "moved"]
    assert kept.manifest.known[len(kept.manifest.drives) :] == kept.manifest.lineage[-1].drives
    assert set(kept.normal_pictures()[1]) == set(parent.normal_pictures()[1])


def test_footage_that_cannot_do_is_refused(camera: Path, rendered_bundle: Path, tmp_path: Path) -> None:
    out, minute = tmp_path / "out.bundle", camera / "minute.mp4"
    with pytest.raises(
        CalibrationError, match=r"needs at least 4 stretches of 7 s .* got 2; give at least 28 s"
    ):
        calibrate_command(rendered_bundle, [camera / "short.mp4"], out)
    with pytest.raises(CalibrationError, match="must vary"):
        calibrate_command(rendered_bundle, [camera / "still.mp4"], out)
    with pytest.raises(CalibrationError, match=r"budget of 0.1 .* needs about 40 h .* support"):
        calibrate_command(rendered_bundle, [minute], out, budget=0.1)
    with pytest.raises(InputError, match="does not exist"):
        calibrate_command(rendered_bundle, [camera / "nowhere.mp4"], out)
    with pytest.raises(InputError, match="taught on it as highway0"):
        calibrate_command(rendered_bundle, [rendered_bundle.parent / "drives" / "highway0.mp4", minute], out)
    assert list(tmp_path.iterdir()) == []


def test_bundles_that_cannot_do_are_refused(camera: Path, rendered_bundle: Path, tmp_path: Path) -> None:
    minute, sha256 = camera / "minute.mp4", open_bundle(rendered_bundle).sha256
    with pytest.raises(OutputError, match="another name than the bundle's"):
        calibrate_command(rendered_bundle, [minute], rendered_bundle)
    assert open_bundle(rendered_bundle).sha256 == sha256
    with pytest.raises(BundleError, match="must be a bundle"):
        calibrate_command(camera, [minute], tmp_path / "out.bundle")
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(OutputError, match="something else is there"):
        calibrate_command(rendered_bundle, [minute], tmp_path / "taken")


def test_a_score_of_a_networks_own_moves_its_thresholds_alone(camera: Path, rendered_bundle: Path) -> None:
    path = brightness_network(camera / "brightness.onnx")
    fit_command(
        normal=[rendered_bundle.parent / "drives"],
        out=camera / "brightness.bundle",
        encoder=str(path),
        density=DensityKind.DIRECT,
    )
    calibrate_command(camera / "brightness.bundle", [camera / "minute.mp4"], camera / "brighter.bundle")
    parent, child = open_bundle(camera / "brightness.bundle"), open_bundle(camera / "brighter.bundle")
    assert child.manifest.lineage[-1].moved == ("thresholds", "typical levels")
    assert child.calibration.channel("domain").typical != parent.calibration.channel("domain").typical
    assert verify_engine(OnnxRuntimeEngine(child.model_path), child).failed == ""


def brightness_network(path: Path) -> Path:
    """One score per frame: how bright it is."""
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["late"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 24, 32, 3])],
        [helper.make_tensor_value_info("late", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(np.array([1, 2, 3]), "axes"), numpy_helper.from_array(np.array([-1, 1]), "shape")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_a_shifted_projection_shifts_latents_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    basis = np.linalg.qr(random.normal(size=(12, 5)))[0]
    projection = Projection(random.normal(size=12), basis, random.uniform(0.1, 2.0, 5), unit=False)
    shift, features = random.normal(size=5), random.normal(size=(7, 12))
    moved = projection.shifted(shift)
    np.testing.assert_allclose(moved.latent(features), projection.latent(features) - shift, atol=1e-12)
    np.testing.assert_allclose(moved.residual(features), projection.residual(features), atol=1e-12)


def held(drive: int, domain: float) -> HeldOut:
    return HeldOut(drive, 60.0, {"domain": 1.0, "departure": 0.5}, {"domain": domain, "departure": 1.0})


def test_thresholds_reckon_with_a_known_peak_at_least() -> None:
    units, rule = [held(i, 2.0 + i) for i in range(4)], Rule(margin=1.0)
    plain = calibrate(units, rule, "block")
    raised = calibrate(units, rule, "block", least={"domain": 9.0, "departure": 0.7})
    assert [c.threshold for c in plain.channels] == [5.0, 1.0]
    assert [c.threshold for c in raised.channels] == [9.0, 1.0]
    assert raised.false_alarms_per_hour == plain.false_alarms_per_hour
    assert calibration_without(raised, {3}).channel("domain").threshold == 9.0


def test_alarms_are_the_detectors_own() -> None:
    units, rule = [held(i, 2.0) for i in range(4)], Rule()
    calibration = calibrate(units, rule, "block")
    random, within = np.random.default_rng(5), np.eye(2)
    times_s = np.arange(0.0, 300.0, 0.2)
    surprise = np.repeat(random.choice([0.0, 2.45, 4.0], 100), 15) + 0.3 * random.normal(size=len(times_s))
    latent: Floats = np.zeros((len(times_s), 2))
    found = alarms(
        times_s,
        run_channels(list(times_s), surprise, latent, np.zeros(len(times_s)), within, rule),
        calibration,
    )
    detector = Detector("camera", calibration, within)
    events: list[Event] = []
    for t, s, z in zip(times_s, surprise, latent, strict=True):
        events += detector.update(Sample(float(t), float(s), z, sound())).events
    started = [e.detected_s for e in events if e.phase == Phase.START]
    assert len(started) > 5
    assert [a.detected_s for a in found] == pytest.approx(started)


def sound() -> Health:
    """A camera that has nothing."""
    return Health()


def test_a_tally_is_a_rate_with_its_interval() -> None:
    counted = tally([(1800.0, (Alarm(10.0, 12.0, 30.0),)), (1800.0, ())])
    assert counted == Tally(1, 3600.0, 18.0)
    assert counted.per_hour == 1.0
    # Garwood's interval of one event.
    assert counted.interval == pytest.approx((0.0253, 5.572), abs=1e-3)
    assert counted.share == 0.005
