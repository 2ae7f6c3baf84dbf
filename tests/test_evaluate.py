"""sightline evaluate: the figures of life, without leakage, through the real command on rendered drives."""

from __future__ import annotations

import csv
import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import Bundle, open_bundle
from engines.density import Kde, Mixture, Tilted, within_precision
from engines.errors import CalibrationError, InputError, OutputError, SightlineError
from engines.footage import Recording, find_drives, rgb_frame
from engines.leave_out import rescored, still_threshold, without
from engines.rendered import Segment, render, write_video
from engines.scores import Scores
from monitor.evaluation.baselines import Baselines
from monitor.evaluation.cases import Case, checked, from_manifest, from_mvtec, from_paths
from monitor.evaluation.command import evaluate_command
from monitor.evaluation.unseen import Unseen
from monitor.evaluation.watch import Continuation, Watcher
from monitor.pipeline import Stream
from training.fit_command import fit_command

ROOT = Path(__file__).resolve().parent.parent
FPS, SIZE = 10.0, (320, 180)
DRIVES = 6

KEYS = {
    "auroc", "auprc", "fpr95", "f1", "f1_all_positive", "best_f1", "per_drive", "events", "baselines", "budget", "intervals",
    "within_dataset", "across_datasets", "faults", "warnings", "definitions",
}  # fmt: skip


def evaluate(*arguments: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "sightline.py"), "evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=folder, check=False)


def drive(path: Path, scene: str, seconds: float, seed: int) -> Path:
    write_video(path, (image for _, _, image in render((Segment(scene, seconds),), seed, SIZE, FPS)), FPS)
    return path


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory, rendered_bundle: Path) -> Path:
    """The six taught highway drives, one more of 22 s, two cities of 7 s, and a glimpse of one."""
    folder = tmp_path_factory.mktemp("evaluation")
    shutil.copytree(rendered_bundle.parent / "drives", folder / "taught")
    for name in ("new", "city"):
        (folder / name).mkdir()
    drive(folder / "new" / "b.mp4", "highway", 22.0, 22)
    drive(folder / "city" / "one.mp4", "city", 7.0, 31)
    drive(folder / "city" / "two.mp4", "city", 7.0, 32)
    drive(folder / "glimpse.mp4", "city", 0.5, 33)
    return folder


@pytest.fixture(scope="module")
def evaluated(footage: Path, rendered_bundle: Path) -> tuple[dict[str, Any], str, str]:
    """JSON, printed text and report of one evaluation of everything."""
    done = evaluate(
        rendered_bundle, "--normal", "taught", "new", "--anomalous", "city", "glimpse.mp4", "--json", "all.json",
        "--report", "all.html", "--faults", "--fault-modes", "black,disconnected", "--fault-severities", "5",
        folder=footage,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads((footage / "all.json").read_text()), done.stdout, (footage / "all.html").read_text()


def test_json_says_all_that_was_promised(evaluated: tuple[dict[str, Any], str, str]) -> None:
    result, _, _ = evaluated
    assert set(result) >= KEYS
    assert {"recall", "delay_p50_s", "delay_p95_s", "false_alarms_per_hour", "interval"} <= set(
        result["events"]
    )
    assert (result["normal_drives"], result["anomalous_drives"]) == (DRIVES + 1, 3)
    assert {d["name"]: d["side"] for d in result["per_drive"]}["one"] == "anomalous"
    # Every drive weighs the same: three of ten are anomalous.
    assert result["f1_all_positive"] == pytest.approx(2 * 3 / (2 * 3 + 7))
    assert result["best_f1"] >= result["f1"]
    for name in ("auroc", "auprc", "fpr95", "f1"):
        low, high = result["intervals"][name]
        assert 0 <= low <= high <= 1
    assert set(result["baselines"]) == {
        "mean_brightness", "frame_difference", "raw_nearest_neighbour", "untrained_encoder"
    }  # fmt: skip
    assert result["baselines"]["mean_brightness"]["direction"] in {"higher", "lower"}
    assert result["baselines"]["mean_brightness"]["auroc"] >= 0.5
    assert not any(isinstance(v, float) and math.isnan(v) for v in result.values())


def test_a_city_is_told_from_a_highway(evaluated: tuple[dict[str, Any], str, str]) -> None:
    result, _, _ = evaluated
    assert result["auroc"] > 0.9
    spliced = result["events"]["spliced"]
    # Two cities of 7 s behind four highways each; the glimpse is too short to expect anything of it.
    assert spliced["count"] == 8
    assert spliced["recall"] == result["events"]["recall"] > 0.8
    assert 0 < result["events"]["delay_p50_s"] <= result["events"]["delay_p95_s"] < 10
    assert result["events"]["from_the_first_frame"]["count"] == 2
    assert result["events"]["control"]["count"] > 0


def test_false_alarms_have_garwoods_interval_and_the_budget_is_judged(
    evaluated: tuple[dict[str, Any], str, str],
) -> None:
    result, said, _ = evaluated
    events, budget = result["events"], result["budget"]
    hours = sum(d["seconds"] for d in result["per_drive"] if d["side"] == "normal") / 3600
    assert events["hours"] == pytest.approx(hours)
    count = sum(events["false_alarms"].values())
    assert events["false_alarms_per_hour"] == pytest.approx(count / hours)
    if not count:
        assert events["interval"] == pytest.approx([0.0, 3.6889 / hours], rel=1e-4)
    assert budget["claimed_per_hour"] > 10
    assert budget["verdict"] in {"kept", "undecided", "broken"}
    assert budget["verdict"] in said


def test_taught_drives_are_named_and_left_out(evaluated: tuple[dict[str, Any], str, str]) -> None:
    result, said, _ = evaluated
    assert result["taught_drives"] == [f"highway{i}" for i in range(DRIVES)]
    assert "6 drives of these were taught" in said
    rows = {d["name"]: d for d in result["per_drive"]}
    assert rows["highway3"]["taught"] == ["highway3"]
    assert rows["b"]["taught"] == []
    assert (
        rows["highway3"]["threshold"] != rows["highway4"]["threshold"]
        or rows["highway3"]["threshold"] != rows["b"]["threshold"]
    )


def test_faults_are_noticed_within_their_interval(evaluated: tuple[dict[str, Any], str, str]) -> None:
    """Only the drive of 22 s is long enough; no frames at all are the daemon's to notice, after 3 s."""
    rows = {f["mode"]: f for f in evaluated[0]["faults"]}
    assert set(rows) == {"black", "disconnected"}
    for row in rows.values():
        assert (row["severity"], row["trials"]) == (5, 1)
        assert row["recall"] == row["recall_fault"] == row["recall_mode"] == 1.0
    assert rows["black"]["delay_p50_s"] < 1.0
    assert rows["disconnected"]["delay_p50_s"] == pytest.approx(2.9, abs=0.15)


def test_the_report_is_one_file_that_asks_for_nothing(evaluated: tuple[dict[str, Any], str, str]) -> None:
    result, _, page = evaluated
    assert "default-src 'none'" in page
    assert "<script src" not in page
    for words in (
        "What it must beat",
        "Events, as in life",
        "Drive by drive",
        "Worst misses",
        "Camera faults",
        "--share:1.00",
    ):
        assert words in page, words
    assert f"{result['auroc']:.3f}" in page
    assert page.count("data:image/jpeg;base64,") >= 5


def judged(bundle: Path, folder: Path, **options: Any) -> dict[str, Any]:
    """The JSON of one evaluation, made in this process."""
    evaluate_command(bundle, json=folder / "judged.json", **options)
    return json.loads((folder / "judged.json").read_text())  # type: ignore[no-any-return]


def test_disjoint_datasets_are_warned_of_and_a_named_one_is_not(
    evaluated: tuple[dict[str, Any], str, str], footage: Path, rendered_bundle: Path, tmp_path: Path
) -> None:
    assert any("no dataset is on both sides" in warning for warning in evaluated[0]["warnings"])
    normal, anomalous = f"drawn={footage}/taught/highway0.mp4", f"drawn={footage}/city/one.mp4"
    result = judged(rendered_bundle, tmp_path, normal=[Path(normal)], anomalous=[Path(anomalous)])
    assert not any("no dataset" in warning for warning in result["warnings"])
    assert result["within_dataset"]["drawn"]["auroc"] == pytest.approx(result["auroc"], abs=0.01)
    assert result["across_datasets"] is None
    assert result["intervals"]["auroc"] is None
    assert any("only one anomalous drive" in warning for warning in result["warnings"])


def frames(path: Path, size: tuple[int, int]) -> np.ndarray:
    return np.stack([f.image for f in Recording(find_drives([path])[0], size)])


@pytest.fixture(scope="module")
def less(footage: Path) -> Bundle:
    """Taught on the same drives but the third."""
    others = [footage / "taught" / f"highway{i}.mp4" for i in range(DRIVES) if i != 2]
    fit_command(normal=others, out=footage / "less.bundle")
    return open_bundle(footage / "less.bundle")


def test_a_drive_left_out_is_a_drive_never_taught(footage: Path, rendered_bundle: Path, less: Bundle) -> None:
    """The density without a drive is that of a bundle taught without it; its bandwidth alone is of the whole."""
    left = without(open_bundle(rendered_bundle), {2})
    mine, theirs = left.density.normal, less.density.normal
    assert isinstance(mine, Kde)
    assert isinstance(theirs, Kde)
    np.testing.assert_allclose(mine.support, theirs.support, atol=1e-12)
    np.testing.assert_allclose(mine.log_weights, theirs.log_weights, atol=1e-12)
    np.testing.assert_allclose(left.density.within, less.density.within, rtol=1e-9)
    whole = open_bundle(rendered_bundle)
    engine = OnnxRuntimeEngine(whole.model_path)
    images = frames(footage / "taught" / "highway2.mp4", engine.input_size)
    scores = engine.score(images)
    same = Kde(theirs.support, theirs.log_weights, mine.bandwidth)
    refit = OnnxRuntimeEngine(less.model_path).score(images)
    expected = same.surprise(refit.latent.astype(np.float64))
    np.testing.assert_allclose(rescored(scores, left.density).surprise, expected, atol=1e-3)
    assert float(np.median(expected - scores.surprise)) > 1.0, (
        "a taught drive must look less familiar when left out"
    )


def test_evaluate_scores_a_taught_drive_as_a_bundle_that_never_saw_it_does(
    evaluated: tuple[dict[str, Any], str, str], footage: Path, less: Bundle, tmp_path: Path
) -> None:
    taught, city = footage / "taught" / "highway2.mp4", footage / "city" / "one.mp4"
    never = judged(less.path, tmp_path, normal=[taught], anomalous=[city])["per_drive"][0]
    left = next(d for d in evaluated[0]["per_drive"] if d["name"] == "highway2")
    assert (never["taught"], left["taught"]) == ([], ["highway2"])
    # What differs: the bandwidth, chosen with the drive, and the other drives' peaks, scored with it.
    assert left["score"] == pytest.approx(never["score"], abs=2.0)
    assert left["threshold"] == pytest.approx(never["threshold"], rel=0.15)


def test_thresholds_are_found_again_without_the_drive(rendered_bundle: Path) -> None:
    whole = open_bundle(rendered_bundle)
    peaks = [unit.peak["domain"] for unit in whole.calibration.held_out]
    loudest = whole.calibration.held_out[int(np.argmax(peaks))].drive
    left = without(whole, {loudest}).calibration
    assert left.units == DRIVES - 1
    assert left.channel("domain").threshold < whole.calibration.channel("domain").threshold
    assert left.false_alarms_per_hour > whole.calibration.false_alarms_per_hour


def test_other_drives_leave_the_background_too(footage: Path, tmp_path: Path) -> None:
    """A bundle taught with --other has seen those drives: judged by them, it must not know them."""
    fit_command(normal=[footage / "new" / "b.mp4"], other=[footage / "city"], out=tmp_path / "b")
    bundle = open_bundle(tmp_path / "b")
    assert [d.name for d in bundle.manifest.others] == ["one", "two"]
    assert set(bundle.density.background_drives) == {-1, 0, 1, 2}
    left = without(bundle, {1})
    assert set(left.density.background_drives) == {-1, 0, 2}
    assert left.calibration == bundle.calibration
    before, after = bundle.density.background, left.density.background
    assert isinstance(before, Tilted)
    assert isinstance(after, Tilted)
    assert isinstance(after.density, Kde)
    assert np.exp(after.density.log_weights).sum() == pytest.approx(1.0)
    assert not np.allclose(before.direction, after.direction)
    np.testing.assert_array_equal(left.density.normal_drives, bundle.density.normal_drives)


def test_within_is_of_the_support_alone(rendered_bundle: Path) -> None:
    density = open_bundle(rendered_bundle).density
    assert isinstance(density.normal, Kde)
    again = within_precision(density.normal.support[:, : len(density.within)], density.normal_drives)
    np.testing.assert_allclose(again, density.within, rtol=1e-9)


def test_what_was_taught_alone_cannot_be_left_out(footage: Path, tmp_path: Path) -> None:
    alone, known, city = (
        footage / "new" / "b.mp4",
        footage / "taught" / "highway1.mp4",
        footage / "city" / "one.mp4",
    )
    fit_command(normal=[alone], out=tmp_path / "one.bundle")
    with pytest.raises(CalibrationError):
        without(open_bundle(tmp_path / "one.bundle"), {0})
    with pytest.raises(InputError, match="b was taught and cannot be left out"):
        evaluate_command(tmp_path / "one.bundle", normal=[alone], anomalous=[city])
    result = judged(tmp_path / "one.bundle", tmp_path, normal=[alone, known], anomalous=[city])
    assert result["normal_drives"] == 1
    assert any("b was taught and cannot be left out" in warning for warning in result["warnings"])


def test_a_mixture_does_not_keep_its_drives_apart(rendered_bundle: Path) -> None:
    bundle = open_bundle(rendered_bundle)
    size = bundle.manifest.dimensions
    gaussian = Mixture(np.zeros((1, size)), np.eye(size)[None], np.zeros(1))
    nobody = np.zeros(0, np.int64)
    mixed = replace(bundle, density=replace(bundle.density, normal=gaussian, normal_drives=nobody))
    with pytest.raises(CalibrationError, match="needs a kernel density"):
        without(mixed, {0})
    assert still_threshold(mixed.density) is None


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"normal": ["new"]}, InputError, "must have anomalous drives"),
        ({"anomalous": ["city"]}, InputError, "must have normal drives"),
        ({}, InputError, "use --normal and --anomalous, or --manifest, or --mvtec"),
        ({"normal": ["new"], "anomalous": ["city"], "mvtec": "."}, InputError, "in one way, got 2"),
        ({"normal": ["new"], "anomalous": ["empty"]}, InputError, "must hold videos or images"),
        ({"normal": ["new"], "anomalous": ["new/b.mp4"]}, InputError, "must be normal or anomalous, is given as both"),
        ({"normal": ["new"], "anomalous": ["nowhere"]}, InputError, "does not exist"),
        ({"normal": ["glimpse.mp4"], "anomalous": ["junk.mp4"]}, InputError, "must be a readable video"),
        ({"faults": True, "fault_modes": "rust"}, InputError, "fault rust: must be one of"),
        ({"faults": True, "fault_severities": "9"}, InputError, "must be 1, 2, 3, 4 or 5"),
        ({"faults": True, "fault_severities": "x"}, InputError, "must be numbers"),
        ({"json": "no/r.json"}, OutputError, "folder that exists"),
        ({"json": "r", "report": "r"}, OutputError, "must be the file of one output"),
        ({"manifest": "nowhere.csv"}, InputError, "must be a CSV file"),
        ({"mvtec": "city"}, InputError, "with a folder test/good"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_bad_input_is_refused_in_one_line(
    options: dict[str, Any], error: type[SightlineError], words: str, footage: Path, rendered_bundle: Path
) -> None:
    (footage / "empty").mkdir(exist_ok=True)
    (footage / "junk.mp4").write_bytes(b"x" * 5000)
    given = {
        name: [footage / path for path in value]
        if isinstance(value, list)
        else footage / value
        if name in {"json", "report", "manifest", "mvtec"}
        else value
        for name, value in options.items()
    }
    with pytest.raises(error, match=words) as caught:
        evaluate_command(rendered_bundle, **given)
    assert "\n" not in str(caught.value)


def test_the_command_ends_with_its_code(footage: Path, rendered_bundle: Path) -> None:
    done = evaluate(rendered_bundle, "--normal", "new", folder=footage)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert done.stderr.startswith("sightline: evaluate: must have anomalous drives")


def test_unreadable_and_constant_pictures_are_told_not_fatal(
    footage: Path, rendered_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "grey").mkdir()
    for i in range(40):
        cv2.imwrite(str(tmp_path / "grey" / f"{i:02d}.png"), np.full((90, 160, 3), 128, np.uint8))
    (tmp_path / "grey" / "20.png").write_bytes(b"no picture")
    known = footage / "taught" / "highway1.mp4"
    result = judged(rendered_bundle, tmp_path, normal=[known], anomalous=[tmp_path / "grey"])
    assert "grey: 20.png cannot be read as an image; it was left out" in result["notes"]
    assert result["per_drive"][1]["frames"] == 39
    assert result["per_drive"][1]["events"].get("freeze") == 1


class Dropping:
    """An engine whose scores are not finite for every ``nth`` frame."""

    def __init__(self, engine: OnnxRuntimeEngine, nth: int) -> None:
        self._engine, self._nth, self._count = engine, nth, 0
        self.input_size = engine.input_size

    def score(self, images: np.ndarray) -> Scores:
        scores = self._engine.score(images)
        numbers = self._count + np.arange(len(images))
        self._count += len(images)
        return replace(scores, surprise=np.where(numbers % self._nth == 0, np.nan, scores.surprise))


@pytest.mark.parametrize("nth", [1, 10], ids=["every frame", "one in ten"])
def test_scores_that_are_no_numbers_are_left_out_and_told(
    nth: int, footage: Path, rendered_bundle: Path
) -> None:
    bundle = open_bundle(rendered_bundle)
    cases = checked(from_paths([footage / "new"], [footage / "city" / "one.mp4"], stills=False))[0]
    engine = Dropping(OnnxRuntimeEngine(bundle.model_path), nth)
    watcher = Watcher(Unseen(bundle, cases), engine, Baselines(bundle), None)  # type: ignore[arg-type]
    if nth == 1:
        with pytest.raises(InputError, match="no finite one"):
            watcher.watch(cases[1], lambda n: None)
        return
    outcome = watcher.watch(cases[1], lambda n: None)
    assert len(outcome.domain) == 63
    assert np.isfinite(outcome.domain).all()
    assert outcome.notes == ("7 frames had no finite score",)


def test_what_a_drive_leads_into_goes_on_in_its_time_and_at_its_size(rendered_bundle: Path) -> None:
    normal = [rgb_frame(np.zeros((90, 160, 3), np.uint8), "highway", n, 0.1 * n, (96, 144)) for n in range(2)]
    other = rgb_frame(np.full((120, 120, 3), 200, np.uint8), "city", 0, 0.0, (96, 144))
    (case, *_) = from_paths([rendered_bundle.parent / "drives"], [], stills=False)
    before = Continuation(case, Stream(case.name, open_bundle(rendered_bundle)), normal[-1], 0.1)
    frame = before.frame(other)
    assert frame.time_s == pytest.approx(0.2)
    assert frame.luma.shape == normal[-1].luma.shape
    assert frame.chroma is not None
    assert normal[-1].chroma is not None
    assert [plane.shape for plane in frame.chroma] == [plane.shape for plane in normal[-1].chroma]
    assert (frame.luma == other.luma[0, 0]).all()
    assert frame.image is other.image


def test_footage_given_twice_counts_once(footage: Path, tmp_path: Path) -> None:
    shutil.copy(footage / "new" / "b.mp4", tmp_path / "again.mp4")
    cases = from_paths([footage / "new", tmp_path / "again.mp4"], [footage / "city"], stills=False)
    kept, notes = checked(cases)
    assert [c.name for c in kept] == ["b", "one", "two"]
    assert len(notes) == 1
    assert "is the same footage as" in notes[0]


def manifest(
    path: Path, rows: list[tuple[str, ...]], columns: str = "path,label,drive,split,ordered"
) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([columns.split(","), *rows])
    return path


def test_a_manifest_names_sides_groups_and_datasets(footage: Path) -> None:
    file = manifest(
        footage / "m.csv",
        [
            ("taught/highway1.mp4", "highway", "camera1", "val", "yes"),
            ("new/b.mp4", "highway", "camera1", "val", "yes"),
            ("city", "other", "(one per file)", "val", "no"),
            ("taught/highway0.mp4", "highway", "camera0", "train", "yes"),
            ("glimpse.mp4", "camera_failure", "x", "val", "yes"),
        ],
    )
    cases, notes = from_manifest(file, "val", ("highway",))
    assert {(c.name, c.anomalous, c.dataset, c.ordered) for c in cases} == {
        ("highway1", False, "camera1", True),
        ("b", False, "camera1", True),
        ("one", True, "city", False),
        ("two", True, "city", False),
    }
    assert len({c.group for c in cases}) == 3
    assert "camera failures" in notes[0]


@pytest.mark.parametrize(
    ("rows", "columns", "split", "words"),
    [
        ([("new", "highway", "x", "val")], "path,label,drive,fold", None, "must have the columns"),
        ([("new", "highway", "x", "train")], "path,label,drive,split", "val", "must have rows of the split val, has: train"),
        ([("new", "road", "x", "val")], "path,label,drive,split", None, "must have rows labelled highway"),
        ([("nowhere", "highway", "x", "val")], "path,label,drive,split", None, "does not exist"),
    ],
    ids=["column", "split", "label", "path"],
)  # fmt: skip
def test_a_manifest_that_cannot_be_is_refused(
    rows: list[tuple[str, ...]], columns: str, split: str | None, words: str, footage: Path
) -> None:
    file = manifest(footage / "bad.csv", rows, columns)
    with pytest.raises(InputError, match=words):
        from_manifest(file, split, ("highway",))


def test_a_group_is_on_one_side(footage: Path) -> None:
    file = manifest(
        footage / "both.csv",
        [("new/b.mp4", "highway", "same", "val", "yes"), ("city/one.mp4", "other", "same", "val", "yes")],
    )
    with pytest.raises(InputError, match="must be on the side of its group same"):
        checked(from_manifest(file, None, ("highway",))[0])


def bottle(folder: Path) -> Path:
    """Discs on grey, in the MVTec layout; defective ones have a notch."""
    random = np.random.default_rng(5)
    counts = {"train/good": 60, "test/good": 8, "test/notch": 8}
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            picture = np.full((96, 96, 3), 140, np.uint8)
            x, y = 48 + random.integers(-4, 5, 2)
            cv2.circle(picture, (int(x), int(y)), 30, (40, 60, 70), -1)
            if "notch" in name:
                cv2.rectangle(
                    picture, (int(x) - 14, int(y) - 14), (int(x) + 14, int(y) + 14), (220, 230, 240), -1
                )
            noisy = picture + random.normal(0, 4, picture.shape)
            cv2.imwrite(str(folder / name / f"{i:03d}.png"), np.clip(noisy, 0, 255).astype(np.uint8))
    return folder


def test_an_mvtec_category_is_single_pictures(tmp_path: Path) -> None:
    category = bottle(tmp_path / "disc")
    fit_command(normal=[category / "train" / "good"], out=tmp_path / "b", fps=2.0)
    bundle = open_bundle(tmp_path / "b")
    result = judged(tmp_path / "b", tmp_path, mvtec=category, report=tmp_path / "r.html")
    assert "Events, as in life" not in (tmp_path / "r.html").read_text()
    assert (result["normal_drives"], result["anomalous_drives"]) == (8, 8)
    assert result["within_dataset"]["disc"]["auroc"] == pytest.approx(result["auroc"], abs=1e-6)
    assert result["auroc"] > 0.95
    assert result["events"]["measured"] == "nothing"
    assert result["events"]["recall"] is None
    assert result["events"]["false_alarms_per_hour"] is None
    assert result["budget"]["verdict"] == "not watched"
    assert "frame_difference" not in result["baselines"]
    threshold = still_threshold(bundle.density)
    assert {d["threshold"] for d in result["per_drive"]} == {threshold}
    assert result["f1"] > result["f1_all_positive"]


def test_the_level_of_single_pictures_comes_from_the_taught_ones(rendered_bundle: Path) -> None:
    density = open_bundle(rendered_bundle).density
    assert isinstance(density.normal, Kde)
    expected = []
    for number in range(DRIVES):
        mine = density.normal_drives == number
        weights = np.exp(density.normal.log_weights[~mine])
        rest = Kde(density.normal.support[~mine], np.log(weights / weights.sum()), density.normal.bandwidth)
        expected.append(rest.surprise(density.normal.support[mine]))
    held = np.sort(np.concatenate(expected))
    rank = math.ceil((len(held) + 1) * 0.99)
    assert still_threshold(density) == pytest.approx(held[rank - 1], abs=np.ptp(held[-12:]))
    assert held[rank - 8] <= (still_threshold(density) or 0.0) <= held[-1]


def test_mvtec_without_defects_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test" / "good").mkdir(parents=True)
    with pytest.raises(InputError, match="a folder of a defect"):
        from_mvtec(tmp_path)


def test_names_stay_apart(footage: Path, tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    shutil.copy(footage / "new" / "b.mp4", tmp_path / "x" / "same.mp4")
    shutil.copy(footage / "city" / "one.mp4", tmp_path / "y" / "same.mp4")
    cases: list[Case] = checked(from_paths([tmp_path / "x"], [tmp_path / "y"], stills=False))[0]
    assert sorted(c.name for c in cases) == ["x/same.mp4", "y/same.mp4"]


CHROMIUM = Path("/usr/bin/chromium")


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}: apt-get install chromium")
@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (390, "dark")], ids=["wide, light", "narrow, dark"]
)
def test_a_browser_draws_every_chart_and_asks_for_nothing(
    width: int, scheme: str, evaluated: tuple[dict[str, Any], str, str], footage: Path
) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    asked: list[str] = []
    complaints: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"], timeout=60_000
        )
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((footage / "all.html").as_uri())
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.wait_for_function("document.querySelectorAll('.chart .main-svg').length >= 15", timeout=60_000)
        assert page.locator(".chart").count() == 5
        names = page.locator(
            "#c-drives .yaxislayer-above text, #c-drives .yaxislayer-below text"
        ).all_text_contents()
        assert sorted(names) == sorted(d["name"] for d in evaluated[0]["per_drive"])
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"
        browser.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
