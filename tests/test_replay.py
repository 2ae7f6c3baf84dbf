"""Replay: the same every time, and nothing left half done when a recording or a result is no good."""

from __future__ import annotations

import csv
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engines.backends.scripted import ScriptedEngine
from engines.bundle import open_bundle
from engines.decision import Calibration, Channel, Rule
from engines.footage import Recording, find_drives
from engines.health import Health
from engines.rendered import Segment, render, write_video
from monitor.detector import Detector, Sample
from monitor.events import Phase
from monitor.output import ScoreFile
from monitor.pipeline import Watched
from monitor.replay import Trace
from monitor.replay import replay as watch_drive

ROOT = Path(__file__).resolve().parent.parent
FPS, SIZE = 10.0, (320, 180)


def replay(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "sightline.py"), "replay", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder, check=False)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drive of 14 s that goes black half way, half of it in Matroska, a file of junk, 20 stills."""
    folder = tmp_path_factory.mktemp("recordings")
    script = (Segment("highway", 7.0), Segment("highway", 7.0, "black"))
    images = [image for _, _, image in render(script, 31, SIZE, FPS)]
    write_video(folder / "dark.mp4", images, FPS)
    write_video(folder / "cut.mkv", images, FPS)
    whole = (folder / "cut.mkv").read_bytes()
    (folder / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    (folder / "junk.mp4").write_bytes(b"x" * 5000)
    (folder / "stills").mkdir()
    for i, image in enumerate(images[:20]):
        cv2.imwrite(str(folder / "stills" / f"{i}.png"), image[:, :, ::-1])
    (folder / "folder.csv").mkdir()
    return folder


def surprises(path: Path) -> np.ndarray:
    with path.open(newline="") as file:
        return np.array([float(row["surprise"]) for row in csv.DictReader(file)])


def test_two_runs_are_byte_for_byte_the_same_and_the_batch_changes_nothing(
    recordings: Path, rendered_bundle: Path, tmp_path: Path
) -> None:
    for name, batch in (("a", 16), ("b", 16), ("c", 1), ("d", 7)):
        done = replay(
            "dark.mp4", "--bundle", rendered_bundle, "--batch", batch, "--scores", tmp_path / f"{name}.csv",
            "--events", tmp_path / f"{name}.jsonl", folder=recordings,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    for suffix in (".csv", ".jsonl"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    first = surprises(tmp_path / "a.csv")
    assert len(first) == 140
    for name in ("c", "d"):
        np.testing.assert_allclose(surprises(tmp_path / f"{name}.csv"), first, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["dark.mp4", "junk.mp4", "--scores", "s.csv", "--events", "e.jsonl"], 3, "must be a readable video"),
        (["dark.mp4", "--scores", "folder.csv"], 7, "is a folder"),
        (["dark.mp4", "--report", "folder.csv"], 7, "is a folder"),
        (["dark.mp4", "--scores", "same.csv", "--events", "./same.csv"], 7, "is that of two"),
        (["dark.mp4", "--events", "dark.mp4/e.jsonl"], 7, "folder that exists"),
        (["stills", "--fps", "-5"], 2, "--fps"),
        (["stills", "--fps", "0"], 2, "--fps"),
        (["stills", "--fps", "nan"], 2, "--fps"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    arguments: list[str], code: int, words: str, recordings: Path, rendered_bundle: Path
) -> None:
    before = sorted(recordings.iterdir())
    done = replay(*arguments, "--bundle", rendered_bundle, folder=recordings)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    # On a slow machine lines of progress come before it.
    assert code == 2 or len([s for s in done.stderr.splitlines() if s.startswith("sightline: ")]) == 1
    assert sorted(recordings.iterdir()) == before


def test_an_output_that_cannot_be_is_found_out_before_the_work(
    recordings: Path, rendered_bundle: Path
) -> None:
    done = replay("dark.mp4", "--bundle", rendered_bundle, "--events", "folder.csv", folder=recordings)
    assert done.stdout == ""
    assert done.returncode == 7


def test_a_truncated_matroska_is_watched_and_noted(recordings: Path, rendered_bundle: Path) -> None:
    done = replay("cut.mkv", "--bundle", rendered_bundle, folder=recordings)
    assert done.returncode == 0, done.stderr
    assert "note truncated: " in done.stdout
    assert "of 14.0 s could be read" in done.stdout


def test_a_whole_matroska_is_not_called_truncated(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", (i for _, _, i in render((Segment("highway", 3.0),), 1, SIZE, FPS)), FPS)
    recording = Recording(find_drives([tmp_path / "a.mkv"])[0], (24, 32))
    assert len(list(recording)) == 30
    assert recording.notes == []


@pytest.mark.parametrize("every_s", [0.1, 0.3, 0.5, 1.0])
def test_a_hole_in_the_time_stamps_is_not_made_up_by_a_burst(every_s: float, tmp_path: Path) -> None:
    """The clock of what to keep stood still in the hole; then every frame came until it had caught up."""
    with av.open(str(tmp_path / "hole.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(100):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 2 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i + (100 if i >= 50 else 0), Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    drive = find_drives([tmp_path / "hole.mp4"])[0]
    times = [frame.time_s for frame in Recording(drive, (24, 32), every_s=every_s)]
    assert min(np.diff(times)) >= every_s - 1e-3
    assert len(times) == 2 * -(-50 // round(10 * every_s))


def test_want_of_frames_that_lasts_to_the_end_ends_no_earlier_than_it_was_told() -> None:
    channels = (Channel("domain", 20.0, 10.0), Channel("departure", 3.0, 0.5))
    detector = Detector("cam", Calibration(Rule(), channels, "drive", 9, 60.0, 12.0), np.eye(2))
    healthy = Health()
    detector.update(Sample(5.0, 10.0, np.zeros(2), healthy))
    (start,) = detector.no_frames(8.0, 5.0, 3.0)
    (end,) = detector.finish()
    assert (start.phase, end.phase) == (Phase.START, Phase.END)
    assert end.end_s is not None
    assert end.end_s >= start.detected_s >= start.onset_s


def test_scores_that_are_not_finite_are_counted_in_a_note_and_the_rest_goes_on(
    recordings: Path, rendered_bundle: Path, tmp_path: Path
) -> None:
    bundle, trace = open_bundle(rendered_bundle), Trace("dark")
    engine = ScriptedEngine(
        (64, 64), bundle.manifest.dimensions, lambda frame: float("nan") if 20 <= frame < 29 else 0.0
    )
    with ScoreFile(tmp_path / "scores.csv") as file:
        watched: list[bool] = []

        def keep(one: Watched) -> None:
            trace.add(one)
            file.write(one)
            watched.append(one.scored)

        drive = find_drives([recordings / "dark.mp4"])[0]
        recording = watch_drive(drive, bundle, engine, on_frame=keep, on_event=trace.tell, batch=16)
    assert (len(watched), watched.count(False)) == (140, 9)
    assert recording.notes == [
        "9 frames got no finite score, the first at 2.0 s and the last at 2.8 s; only the camera's health was judged there"
    ]
    assert np.isnan(surprises(tmp_path / "scores.csv")).sum() == 9
    assert np.isfinite(trace.channels["domain"]).all()
    assert [event.mode for event in trace.events.values()] == ["black"]
