"""From footage to a bundle: what is learnt, what is promised, and what is refused before anything is promised."""

from __future__ import annotations

import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import Bundle, open_bundle
from engines.decision import Rule
from engines.density import Kde, Tilted
from engines.errors import CalibrationError, EngineError, InputError, OutputError, SightlineError
from engines.frames import Image
from engines.proof.verify import verify_engine
from engines.rendered import Segment, render, write_video
from training.fit import Footage, held_out_units
from training.fit_command import fit_command
from training.support import SHIPPED

FPS = 5.0


def pictures(scene: str, seconds: float, seed: int) -> list[Image]:
    return [image for _, _, image in render((Segment(scene, seconds),), seed, (160, 90), FPS)]


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One highway drive of 40 s, two short ones, and a city."""
    folder = tmp_path_factory.mktemp("footage")
    write_video(folder / "long.mp4", pictures("highway", 40.0, 1), FPS)
    write_video(folder / "short.mp4", pictures("highway", 3.0, 2), FPS)
    write_video(folder / "glimpse.mp4", pictures("highway", 0.4, 3), FPS)
    write_video(folder / "city.mp4", pictures("city", 8.0, 4), FPS)
    return folder


@pytest.fixture(scope="module")
def one_drive(footage: Path) -> Bundle:
    fit_command(normal=[footage / "long.mp4"], out=footage / "one.bundle", rate=FPS)
    return open_bundle(footage / "one.bundle")


def with_a_hole(path: Path, hole_s: float) -> None:
    """A recording that stopped for a while: its time stamps leap in the middle."""
    images = pictures("highway", 36.0, 5)
    height, width = images[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=int(FPS), options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index + (int(hole_s * FPS) if index >= len(images) // 2 else 0)
            frame.time_base = Fraction(1, int(FPS))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def mean_colour_encoder(path: Path, output: str = "late", constant_early: bool = False) -> Path:
    """The smallest encoder there is: the mean of each colour."""
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], [output], keepdims=0),
        helper.make_node("Mul", [output, "zero"], ["early"]),
    ]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", 3])]
    outputs += [helper.make_tensor_value_info("early", TensorProto.FLOAT, ["N", 3])] if constant_early else []
    graph = helper.make_graph(
        nodes if constant_early else nodes[:2],
        "colour",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 24, 32, 3])],
        outputs,
        [numpy_helper.from_array(np.array([1, 2]), "axes"), numpy_helper.from_array(np.float32(0), "zero")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_drives_are_the_unit_where_there_are_enough(rendered_bundle: Path) -> None:
    bundle = open_bundle(rendered_bundle)
    calibration = bundle.calibration
    assert (calibration.unit, calibration.units) == ("drive", 6)
    assert calibration.unit_s == pytest.approx(10.9, abs=0.05)
    # Three channels and health, six exchangeable drives: the least that they can vouch for.
    assert calibration.false_alarms_per_hour == pytest.approx(4 / 7 * 3600 / calibration.unit_s)
    assert all(channel.threshold > channel.typical for channel in calibration.channels)
    assert isinstance(bundle.density.normal, Kde)
    assert bundle.density.normal.support.shape[1] == bundle.manifest.dimensions
    assert bundle.manifest.density.startswith(f"{len(bundle.density.normal.support)} support points")
    assert np.exp(bundle.density.normal.log_weights).sum() == pytest.approx(1.0)


def test_one_drive_is_held_out_in_blocks(one_drive: Bundle) -> None:
    calibration = one_drive.calibration
    rule = calibration.rule
    assert calibration.unit == "block"
    assert calibration.units >= 3
    assert calibration.unit_s >= rule.guard_s + rule.warmup_s
    assert [drive.name for drive in one_drive.manifest.drives] == ["long"]
    assert one_drive.manifest.drives[0].frames == 200


def test_city_is_stranger_than_another_highway(one_drive: Bundle) -> None:
    engine = OnnxRuntimeEngine(one_drive.model_path)
    height, width = engine.input_size

    def surprise(scene: str) -> float:
        small = [
            cv2.resize(i, (width, height), interpolation=cv2.INTER_AREA) for i in pictures(scene, 4.0, 6)
        ]
        return float(np.median(engine.score(np.stack(small).astype(np.uint8)).surprise))

    assert surprise("city") > surprise("highway")


def test_the_same_footage_gives_the_same_bundle(footage: Path, one_drive: Bundle) -> None:
    fit_command(normal=[footage / "long.mp4"], out=footage / "again.bundle", rate=FPS)
    again = open_bundle(footage / "again.bundle")
    assert again.calibration == one_drive.calibration
    assert again.manifest.files == one_drive.manifest.files


def test_the_rate_thins_the_footage(footage: Path, one_drive: Bundle) -> None:
    fit_command(normal=[footage / "long.mp4"], out=footage / "sparse.bundle", rate=2.0)
    sparse = open_bundle(footage / "sparse.bundle").manifest.drives[0]
    full = one_drive.manifest.drives[0]
    assert sparse.frames == pytest.approx(full.frames * 2.0 / FPS, abs=2)
    assert sparse.seconds == pytest.approx(full.seconds, abs=0.5)


@pytest.mark.parametrize("own", [False, True], ids=["background", "own projection"])
def test_other_footage_makes_scores_relative(footage: Path, own: bool) -> None:
    out = footage / f"relative{own}.bundle"
    normal = [footage / "long.mp4", footage / "short.mp4", footage / "glimpse.mp4"]
    fit_command(normal=normal, other=[footage / "city.mp4"], out=out, rate=FPS, own_projection=own)
    bundle = open_bundle(out)
    assert bundle.manifest.relative
    assert len(bundle.manifest.drives) == 3
    tilted = bundle.density.background
    assert isinstance(tilted, Tilted)
    assert isinstance(tilted.density, Kde)
    assert isinstance(bundle.density.normal, Kde)
    shipped = len(tilted.density.support) - len(bundle.density.normal.support)
    assert (shipped < 100) == own
    failed = [
        check
        for check in verify_engine(OnnxRuntimeEngine(bundle.model_path), bundle).checks
        if not check.passed
    ]
    assert failed == []


def test_many_drives_of_both_kinds_are_trusted_over_what_ships(tmp_path: Path) -> None:
    for kind, scene in (("normal", "highway"), ("other", "city")):
        for number in range(5):
            (tmp_path / kind).mkdir(exist_ok=True)
            write_video(
                tmp_path / kind / f"{number}.mp4",
                pictures(scene, 11.0 if kind == "normal" else 3.0, 10 + number),
                FPS,
            )
    for name, own in (("default", None), ("shipped", False)):
        fit_command(
            normal=[tmp_path / "normal"],
            other=[tmp_path / "other"],
            out=tmp_path / name,
            rate=FPS,
            own_projection=own,
        )
        sources = open_bundle(tmp_path / name).density.background_drives
        assert (SHIPPED in sources) == (name == "shipped")
        assert set(range(10)) <= set(sources.tolist())


@pytest.mark.parametrize("constant_early", [False, True], ids=["no early", "constant early"])
def test_any_encoder_will_do(footage: Path, tmp_path: Path, constant_early: bool) -> None:
    encoder = mean_colour_encoder(tmp_path / "colour.onnx", constant_early=constant_early)
    fit_command(normal=[footage / "long.mp4"], out=tmp_path / "b", rate=FPS, encoder=str(encoder))
    bundle = open_bundle(tmp_path / "b")
    assert bundle.manifest.encoder.name == "colour"
    assert bundle.manifest.input_size == (24, 32)
    assert verify_engine(OnnxRuntimeEngine(bundle.model_path), bundle).failed == ""


def test_a_hole_in_a_recording_is_no_footage(tmp_path: Path) -> None:
    """Time stamps that leap by a minute left blocks of held-out time without a single frame."""
    with_a_hole(tmp_path / "hole.mp4", 60.0)
    fit_command(normal=[tmp_path / "hole.mp4"], out=tmp_path / "b", rate=FPS)
    drive = open_bundle(tmp_path / "b").manifest.drives[0]
    assert drive.frames == 180
    assert drive.seconds == pytest.approx(36.0 + 60.0 - 0.2, abs=0.05)


def test_footage_that_never_changes_is_refused(tmp_path: Path) -> None:
    picture = pictures("highway", 0.2, 1)[0]
    (tmp_path / "still").mkdir()
    for index in range(200):
        cv2.imwrite(str(tmp_path / "still" / f"{index}.png"), picture)
    for own in (False, True):
        with pytest.raises(CalibrationError, match="must vary"):
            fit_command(normal=[tmp_path / "still"], out=tmp_path / "b", own_projection=own)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("normal", "options", "error", "says"),
    [
        (["glimpse.mp4"], {}, CalibrationError, "at least 8 frames of normal footage, got 2"),
        (["short.mp4"], {}, CalibrationError, "at least 3 held-out blocks"),
        (["long.mp4"], {"budget": 1.0}, CalibrationError, "needs about 4 h of normal footage"),
        (["nowhere.mp4"], {}, InputError, "does not exist"),
        (["long.mp4"], {"encoder": "nonesuch"}, InputError, "an ONNX file or one of: road"),
    ],
    ids=["glimpse", "short", "budget", "missing", "encoder"],
)
def test_what_cannot_be_promised_is_refused(
    normal: list[str],
    options: dict[str, object],
    error: type[SightlineError],
    says: str,
    footage: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=says) as caught:
        fit_command(normal=[footage / name for name in normal], out=tmp_path / "b", rate=FPS, **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_without_late_output_is_refused(footage: Path, tmp_path: Path) -> None:
    encoder = mean_colour_encoder(tmp_path / "colour.onnx", output="embedding")
    with pytest.raises(EngineError, match="must have an output called 'late', it has embedding"):
        fit_command(normal=[footage / "long.mp4"], out=tmp_path / "b", encoder=str(encoder))


def test_a_target_that_cannot_be_is_refused_before_the_work(footage: Path, tmp_path: Path) -> None:
    """A wrong --out was told only after hours of footage had been read: here the footage does not even exist."""
    shutil.copy(footage / "glimpse.mp4", tmp_path / "mine.mp4")
    for out in (tmp_path / "mine.mp4", tmp_path / "mine.mp4" / "b"):
        with pytest.raises(OutputError):
            fit_command(normal=[footage / "nowhere.mp4"], out=out)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.mp4"]


def table(seconds: list[float]) -> Footage:
    times = [np.arange(0.0, s, 0.2) for s in seconds]
    count = sum(map(len, times))
    drives = np.concatenate([np.full(len(t), i) for i, t in enumerate(times)])
    return Footage(np.zeros((count, 2)), np.zeros((count, 0)), drives, np.concatenate(times))


@pytest.mark.parametrize(
    ("seconds", "unit", "count"),
    [
        ([20.0] * 5, "drive", 5),
        ([20.0] * 4 + [1.0] * 9, "block", 8),
        ([600.0], "block", 19),
        ([3.0], "block", 0),
    ],
    ids=["five drives", "four drives and scraps", "one long drive", "a scrap"],
)
def test_held_out_stretches_never_vouch_for_themselves(seconds: list[float], unit: str, count: int) -> None:
    footage, rule = table(seconds), Rule()
    name, units = held_out_units(footage, rule)
    assert name == unit
    assert len(units) == pytest.approx(count, abs=1 if count > 10 else 0)
    for held in units:
        inside = np.zeros(len(footage.times_s), bool)
        inside[held.start : held.stop] = True
        assert held.excluded[inside].all()
        same = footage.drives == footage.drives[held.start]
        near = same & (np.abs(footage.times_s - footage.times_s[held.start]) < rule.guard_s - 1e-6)
        assert held.excluded[near].all()
        assert not held.excluded[~same].any()


def test_many_paths_may_follow_one_option(footage: Path, tmp_path: Path) -> None:
    """A shell expands drives/*.mp4 to many words behind one --normal."""
    words = ["long.mp4", "short.mp4", "glimpse.mp4", "--out", str(tmp_path / "b"), "--rate", "5"]
    command = [sys.executable, "-m", "sightline", "fit", "--normal", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=footage)
    assert done.returncode == 0, done.stderr
    assert [d.name for d in open_bundle(tmp_path / "b").manifest.drives] == ["long", "short", "glimpse"]
