"""fit, replay and the command line itself, as a user runs them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.bundle import open_bundle
from engines.rendered import Segment, render, write_video
from monitor.subscriber import Subscriber
from sightline import COMMANDS, repeated

ROOT = Path(__file__).resolve().parent.parent
FPS, SIZE = 10.0, (320, 180)


def sightline(*arguments: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "sightline.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=folder, check=False)


def drive(path: Path, seconds: float, seed: int = 0, fault: str = "") -> Path:
    script = (Segment("highway", seconds / 2), Segment("highway", seconds / 2, fault))
    write_video(path, (image for _, _, image in render(script, seed, SIZE, FPS)), FPS)
    return path


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three highway drives of 30, 12 and 12 s, and one of 16 s that goes black half way."""
    folder = tmp_path_factory.mktemp("footage")
    drive(folder / "long.mp4", 30, 21)
    for seed in (22, 23):
        drive(folder / f"short{seed}.mp4", 12, seed)
    drive(folder / "dark.mp4", 16, 24, "black")
    return folder


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--normal", "long.mp4", "short22.mp4", "short23.mp4"], "blocks"),
        (["--normal", "long.mp4"], "blocks"),
        (["--normal", "long.mp4", "short22.mp4", "--own-projection"], "absolute"),
        (["--normal", "long.mp4", "--other", "short22.mp4"], "relative to the background"),
        (["--normal", "long.mp4", "--relative"], "relative to the background"),
    ],
    ids=["three drives", "one drive", "own projection", "other", "relative"],
)
def test_fit_says_what_it_learnt_and_supports(
    options: list[str], words: str, footage: Path, tmp_path: Path
) -> None:
    done = sightline("fit", *options, "--out", tmp_path / "b", folder=footage)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
    assert "false alarms per hour" in done.stdout
    assert open_bundle(tmp_path / "b").calibration.units >= 3


def test_fit_finds_the_same_thresholds_twice(footage: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert sightline("fit", "--normal", footage / "long.mp4", "--out", tmp_path / name).returncode == 0
    first, second = open_bundle(tmp_path / "a"), open_bundle(tmp_path / "b")
    assert first.calibration == second.calibration
    np.testing.assert_array_equal(first.density.normal.support, second.density.normal.support)


def constant(folder: Path) -> Path:
    folder.mkdir()
    for i in range(200):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((60, 90, 3), 90, np.uint8))
    return folder


def test_too_little_footage_is_refused(tmp_path: Path) -> None:
    done = sightline("fit", "--normal", drive(tmp_path / "s.mp4", 4), "--out", tmp_path / "b")
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert "give more or longer footage" in done.stderr
    assert not (tmp_path / "b").exists()


def test_footage_that_never_changes_has_no_axes_of_its_own(tmp_path: Path) -> None:
    still = constant(tmp_path / "still")
    done = sightline("fit", "--normal", still, "--own-projection", "--out", tmp_path / "b")
    assert done.returncode == 6
    assert "must vary" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fit", "--normal", "nowhere", "--out", "b"], 3, "nowhere: must be a video"),
        (["fit", "--normal", "long.mp4", "--out", "dark.mp4/b"], 7, "must be writable"),
        (
            ["fit", "--normal", "long.mp4", "--out", "b", "--encoder", "zebra"],
            3,
            "must be an ONNX file or one of",
        ),
        (["fit", "--normal", "long.mp4", "--out", "b", "--budget", "0.01"], 6, "needs about 4e+02 h"),
        (["replay", "nowhere", "--bundle", "BUNDLE"], 3, "does not exist"),
        (["replay", "dark.mp4", "--bundle", "nowhere"], 4, "must be a bundle"),
        (
            ["replay", "dark.mp4", "--bundle", "BUNDLE", "--scores", "s.txt"],
            7,
            "must end in .csv or .parquet",
        ),
        (["replay", "dark.mp4", "--bundle", "BUNDLE", "--events", "no/e.jsonl"], 7, "folder that exists"),
        (["replay", "dark.mp4", "--bundle", "BUNDLE", "--publish", "tcp://0.0.0.0:5"], 9, "loopback"),
        (["replay", "dark.mp4", "--bundle", "BUNDLE", "--publish", "carrier-pigeon"], 9, "carrier-pigeon"),
        (["verify", "nowhere"], 4, "must be a bundle"),
        (["frobnicate"], 2, "No such command"),
        (["fit", "--out", "b"], 2, "--normal"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_ends_with_one_line_and_its_code(
    arguments: list[str], code: int, words: str, footage: Path, rendered_bundle: Path
) -> None:
    before = sorted(p.name for p in footage.iterdir())
    done = sightline(*(rendered_bundle if a == "BUNDLE" else a for a in arguments), folder=footage)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    if code != 2:
        assert len([line for line in done.stderr.splitlines() if line.startswith("sightline: ")]) == 1
    left = (
        {p.name for p in footage.iterdir()}
        - set(before)
        - {"replay.journal", "replay.journal-wal", "replay.journal-shm"}
    )
    assert left == set()


def test_debug_shows_where_it_came_from(footage: Path) -> None:
    done = sightline("--debug", "fit", "--normal", "nowhere", "--out", "b", folder=footage)
    assert "Traceback" in done.stderr


def test_replay_leaves_scores_events_and_a_report(
    footage: Path, rendered_bundle: Path, tmp_path: Path
) -> None:
    done = sightline(
        "replay", footage / "dark.mp4", footage / "short22.mp4", "--bundle", rendered_bundle, "--scores", tmp_path / "s.csv",
        "--events", tmp_path / "e.jsonl", "--report", tmp_path / "r.html",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "camera fault (black)" in done.stdout
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == ["source", "index", "time_s", "surprise", "verdict"]
    assert [r["source"] for r in rows] == ["dark"] * 160 + ["short22"] * 120
    assert {r["mode"] for r in rows if r["verdict"] == "camera_fault"} == {"black"}
    events = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert [(e["phase"], e["mode"]) for e in events if e["kind"] == "camera_fault"] == [
        ("start", "black"),
        ("end", "black"),
    ]
    assert (tmp_path / "r.html").read_text().startswith("<!")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.jsonl", "r.html", "s.csv"]


def test_replay_goes_on_past_damage_and_tells(footage: Path, rendered_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stills"
    folder.mkdir()
    for i, (_, _, image) in enumerate(render((Segment("highway", 3.0),), 5, SIZE, FPS)):
        cv2.imwrite(str(folder / f"{i}.jpg"), image[:, :, ::-1])
    (folder / "7.jpg").write_bytes(b"")
    done = sightline("replay", folder, "--bundle", rendered_bundle)
    assert done.returncode == 0, done.stderr
    assert "note 7.jpg cannot be read" in done.stdout
    assert "29 frames" in done.stdout


def test_replay_publishes_every_event(footage: Path, rendered_bundle: Path, tmp_path: Path) -> None:
    endpoint, events = f"ipc://{tmp_path}/alerts", tmp_path / "e.jsonl"
    command = [
        sys.executable, str(ROOT / "sightline.py"), "replay", str(footage / "dark.mp4"), "--bundle", str(rendered_bundle),
        "--publish", endpoint, "--journal", str(tmp_path / "j"), "--events", str(events), "--realtime",
    ]  # fmt: skip
    got: list[tuple[str, str]] = []
    deadline = time.monotonic() + 60.0
    with (
        Subscriber(endpoint, since=0) as alerts,
        subprocess.Popen(command, stdout=subprocess.DEVNULL) as replaying,
    ):
        while (replaying.poll() is None or len(got) < 2) and time.monotonic() < deadline:
            alert = alerts.receive(0.2)
            if alert is not None:
                got.append((alert.data.phase, alert.data.mode))
    messages = [json.loads(line) for line in events.read_text().splitlines()]
    assert got == [(m["phase"], m["mode"]) for m in messages]
    assert ("start", "black") in got


def test_help_is_quick_and_lists_every_command() -> None:
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        done = sightline("--help")
        seconds.append(time.perf_counter() - started)
    assert done.returncode == 0
    assert all(c.name in done.stdout for c in COMMANDS)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("name", [c.name for c in COMMANDS])
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    done = sightline(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "Example" in done.stdout
    assert f"sightline {name}" in done.stdout


@pytest.mark.parametrize(
    "package", ["monitor", "engines", "training", "monitor.subscriber", "monitor.pipeline"]
)
def test_imports_stay_light(package: str) -> None:
    heavy = "{'torch', 'onnxruntime', 'tensorrt', 'openvino', 'plotly'}"
    code = f"import sys, {package}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


def test_many_words_behind_one_option() -> None:
    words = ["fit", "--normal", "a", "b", "--out", "x", "--other", "c", "d", "e", "--budget", "1"]
    assert repeated(words) == [
        "fit", "--normal", "a", "--normal", "b", "--out", "x", "--other", "c", "--other", "d", "--other", "e", "--budget", "1",
    ]  # fmt: skip
