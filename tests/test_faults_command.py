"""``sightline faults``: sheets, clips and the table, as a user asks for them."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.errors import InputError, OutputError, SightlineError
from engines.faults import FAULTS, Timed, inject_timed
from engines.faults.command import faults
from engines.faults.sheet import LARGE, SMALL, Sample, cells, contact_sheet
from engines.faults.strip import liveliest_column, time_strip
from engines.footage import Recording, find_drives
from engines.rendered import Segment, render, write_video
from engines.video import write_timed

ROOT = Path(__file__).resolve().parent.parent
FOOTAGE = ROOT.parent / "shared" / "data" / "driving" / "highway" / "udacity_project_a.mp4"
FPS, SIZE = 10.0, (192, 108)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of highway."""
    path = tmp_path_factory.mktemp("footage") / "drive.mp4"
    write_video(path, (image for _, _, image in render((Segment("highway", 3.0),), 5, SIZE, FPS)), FPS)
    return path


def frames(path: Path, size: tuple[int, int] = SIZE) -> list[Timed]:
    recording = Recording(find_drives([path])[0], size[::-1])
    return [Timed(frame.time_s, frame.image) for frame in recording]


def sightline(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "sightline.py"), "faults", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=ROOT, check=False)


def test_without_outputs_the_table_is_listed() -> None:
    done = sightline()
    assert done.returncode == 0, done.stderr
    rows = [
        [cell.strip() for cell in line.split("│")[1:3]] for line in done.stdout.splitlines() if "│" in line
    ]
    assert [row for row in rows if row[0]] == [[str(n), mode] for n, mode in enumerate(FAULTS, 1)]


def test_errors_are_one_line_with_the_documented_code(tmp_path: Path) -> None:
    done = sightline(tmp_path / "nowhere.mp4", "--sheet", tmp_path / "sheet.png")
    assert (done.returncode, done.stdout) == (InputError.exit_code, "")
    assert done.stderr.startswith("sightline: ")
    assert done.stderr.count("\n") == 1


def test_breaking_needs_no_torch_and_no_runtime(clip: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from engines.faults.command import faults; "
        f"faults(Path({str(clip)!r}), mode='mud', sheet=Path({str(tmp_path / 's.png')!r})); "
        "print(*{'torch', 'onnxruntime', 'zmq'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[1:] == [""]


def test_a_clip_is_broken_in_its_interval_and_keeps_its_times(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "muddy.mkv"
    faults(clip, mode="mud", severity=4, seed=3, out=out, start=1.0, stop=2.0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["muddy.mkv"]
    clean, broken = frames(clip), frames(out)
    assert [t for t, _ in broken] == pytest.approx([t for t, _ in clean], abs=2e-3)
    harm = [np.abs(a.image.astype(int) - b.image).mean() for a, b in zip(clean, broken, strict=True)]
    assert all((value > 15) == (1.0 <= t < 2.0) for value, (t, _) in zip(harm, clean, strict=True)), harm


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_pictures_that_come_late_or_never_do_so_in_the_file(suffix: str, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / f"late{suffix}"
    faults(clip, mode="irregular_frames", severity=3, seed=1, out=out, start=0.5, stop=2.0)
    expected = [t for t, _ in inject_timed(frames(clip), "irregular_frames", 0.5, 2.0, 3, 1)]
    seen = [t for t, _ in frames(out)]
    assert seen == pytest.approx(expected, abs=2e-3)
    assert len(seen) < 30
    assert np.ptp(np.diff(seen)) > 0.05


def test_two_faults_in_one_clip(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.mp4"
    faults(clip, mode="freeze+noise", severity=2, out=out)
    first, *_, last = frames(out)
    original = frames(clip)
    assert np.abs(first.image.astype(int) - original[0].image).mean() > 3
    soft = [cv2.GaussianBlur(image, (0, 0), 2).astype(int) for image in (first.image, last.image)]
    road = [cv2.GaussianBlur(image, (0, 0), 2).astype(int) for _, image in (original[0], original[-1])]
    assert np.abs(soft[0] - soft[1]).mean() < 0.5 * np.abs(road[0] - road[1]).mean()


def test_a_folder_of_images_and_a_single_image_can_be_broken(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "drive"
    folder.mkdir()
    for number, (_, image) in enumerate(frames(clip)[:6]):
        cv2.imwrite(str(folder / f"{number}.png"), image[:, :, ::-1])
    faults(folder, mode="black", severity=5, out=tmp_path / "black.mp4")
    assert [image.max() < 12 for _, image in frames(tmp_path / "black.mp4")] == [True] * 6
    faults(folder / "0.png", mode="black", severity=5, out=tmp_path / "one.mp4", sheet=tmp_path / "one.png")
    assert len(frames(tmp_path / "one.mp4")) == 1
    assert cv2.imread(str(tmp_path / "one.png")) is not None


def test_sheet_of_one_mode_shows_clean_and_five_severities(clip: Path, tmp_path: Path) -> None:
    faults(clip, mode="black", sheet=tmp_path / "black.png", start=1.0)
    sheet = cv2.imread(str(tmp_path / "black.png"))
    assert sheet.shape[1] > 3 * LARGE
    light = [half.mean() for half in np.array_split(sheet[80:300], 3, axis=1)]
    assert light[0] > 1.5 * light[1] > light[2]


def test_sheet_of_all_modes(clip: Path, tmp_path: Path) -> None:
    faults(clip, sheet=tmp_path / "all.png", start=0.5)
    assert [entry.name for entry in tmp_path.iterdir()] == ["all.png"]
    high, wide = cv2.imread(str(tmp_path / "all.png")).shape[:2]
    assert wide > 10 * SMALL
    assert high > 18 * SMALL * SIZE[1] // SIZE[0]


def test_sheet_of_all_modes_at_one_severity_from_a_picture_alone() -> None:
    picture = np.full((90, 160, 3), 128, np.uint8)
    counted = itertools.count()
    sheet = contact_sheet(Sample("grey", picture), severities=(3,), done=lambda: next(counted))
    assert next(counted) == len(cells(tuple(FAULTS), (3,))) == 36
    assert sheet.shape[1] > 8 * SMALL


def test_cells_are_every_severity_of_graded_modes_and_one_of_the_rest() -> None:
    listed = cells(tuple(FAULTS), (1, 2, 3, 4, 5))
    assert len(listed) == len(set(listed)) == 33 * 5 + 3
    assert listed.count(("freeze", 1)) == 1
    assert ("freeze", 3) not in listed


def moving(count: int) -> list[Timed]:
    """A column of light that goes round on the right half of dark pictures."""
    clip = []
    for n in range(count):
        image = np.zeros((32, 40, 3), np.uint8)
        image[n % 32, 20:] = 255
        clip.append(Timed(n / 10, image))
    return clip


def test_a_strip_of_time_shows_what_stands_still_and_what_is_missing() -> None:
    clip = moving(40)
    column = liveliest_column(clip)
    assert column >= 20
    moments, paper = np.linspace(0, 4, 80, endpoint=False), np.full((32, 80, 3), 77, np.uint8)
    lively = time_strip(clip, column, moments, 0.15, paper)
    assert [int(lively[:, k, 0].argmax()) for k in range(0, 80, 2)] == [n % 32 for n in range(40)]
    frozen = time_strip(inject_timed(clip, "freeze", 1.0), column, moments, 0.15, paper)
    assert (frozen[:, 20:] == frozen[:, 20:21]).all()
    gone = time_strip(inject_timed(clip, "disconnected", 1.0, 2.0, 5), column, moments, 0.15, paper)
    assert (gone[:, 24:40] == 77).all()
    assert not (gone[:, :20] == 77).any()
    assert (paper == 77).all()


@pytest.mark.parametrize(("name", "within"), [("odd.mp4", 1e-4), ("odd.mkv", 1.1e-3), ("odd.mov", 1e-4)])
def test_a_video_keeps_every_time_it_was_given(name: str, within: float, tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.0401, 0.5, 0.5, 2.25]
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (64, 64, 3), np.uint8) for _ in times]
    assert write_timed(tmp_path / name, zip(times, pictures, strict=True), 25.0) == 6
    seen = [t for t, _ in frames(tmp_path / name, (64, 64))]
    assert seen == pytest.approx(times, abs=within)
    assert all(earlier < later for earlier, later in itertools.pairwise(seen))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"mode": "gremlin"}, InputError, "must be one of disconnected"),
        ({"mode": "black+mud", "sheet": "s.png"}, InputError, "leaves nothing of the other"),
        ({"mode": "white+mud", "severity": 5, "out": "a.mp4"}, InputError, "white at severity 5"),
        ({"out": "a.mp4"}, InputError, "must come with --mode"),
        ({"mode": "mud", "out": "a.avi"}, OutputError, "must end in .mp4, .mkv, .mov, not .avi"),
        ({"mode": "mud", "out": "no/a.mp4"}, OutputError, "must be in a folder that exists"),
        ({"mode": "mud", "out": "."}, OutputError, "must be a file, is a folder"),
        ({"sheet": "s.jpg"}, OutputError, "must end in .png, not .jpg"),
        ({"mode": "mud", "out": "a.mp4", "start": 9.0}, InputError, "must last beyond --start 9 s"),
        ({"sheet": "s.png", "start": 9.0}, InputError, "must last beyond --start 9 s"),
        ({"mode": "mud", "out": "a.mp4", "start": 2.0, "stop": 2.0}, InputError, "not 2 and 2"),
        ({"mode": "mud", "out": "a.mp4", "start": float("nan")}, InputError, "not nan and"),
        ({"mode": "disconnected", "severity": 5, "out": "a.mp4"}, InputError, "leaves no picture"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    options: dict[str, Any], error: type[SightlineError], says: str, clip: Path, tmp_path: Path
) -> None:
    where = {name: tmp_path / options[name] for name in ("out", "sheet") if name in options}
    with pytest.raises(error) as caught:
        faults(clip, **{**options, **where})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["nothing", "text", "several drives", "empty folder", "tiny", "itself"])
def test_footage_that_cannot_be_broken_is_refused(kind: str, clip: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    if kind == "text":
        path.write_text("no video\n")
    elif kind == "several drives":
        path = clip.parent.parent / f"{clip.parent.name}-several"
        path.mkdir()
        for name in ("a.mp4", "b.mp4"):
            (path / name).write_bytes(clip.read_bytes())
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "tiny":
        path = tmp_path / "tiny.png"
        cv2.imwrite(str(path), np.zeros((20, 20, 3), np.uint8))
    elif kind == "itself":
        path.write_bytes(clip.read_bytes())
        out = path
    before = {entry.name for entry in tmp_path.iterdir()}
    with pytest.raises((InputError, OutputError)):
        faults(path, mode="mud", out=out)
    assert {entry.name for entry in tmp_path.iterdir()} == before
    if kind == "itself":
        assert path.read_bytes() == clip.read_bytes()


def test_outputs_need_footage(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="PATH: must be given"):
        faults(None, sheet=tmp_path / "sheet.png")


def test_damaged_footage_is_read_as_far_as_it_goes(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole.mkv"
    write_video(whole, (image for _, image in frames(clip)), FPS)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    faults(cut, mode="mud", out=tmp_path / "out.mp4")
    assert 0 < len(frames(tmp_path / "out.mp4")) < 30
    assert "cut: " in capsys.readouterr().err


@pytest.mark.footage
@pytest.mark.skipif(not FOOTAGE.is_file(), reason="needs ../shared/data/driving")
def test_real_footage_makes_a_sheet(tmp_path: Path) -> None:
    faults(FOOTAGE, severity=3, sheet=tmp_path / "sheet.png", start=1.0)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape[1] > 8 * SMALL
    assert sheet.std() > 40
