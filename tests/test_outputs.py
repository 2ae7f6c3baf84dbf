"""Where results go: nothing that is read is replaced, nothing half-written stays, and output that cannot be written is told in
a line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engines.errors import OutputError
from engines.whole_file import check_outputs, partial_beside, write_whole
from tests.test_commands import ROOT, drive, sightline


@pytest.fixture(scope="module")
def folder(rendered_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, a video, and a manifest that names it."""
    place = tmp_path_factory.mktemp("outputs")
    shutil.copytree(rendered_bundle, place / "hw.bundle")
    drive(place / "drive.mp4", 4.0)
    drive(place / "other.mp4", 4.0, 1)
    (place / "manifest.csv").write_text(
        "path,label,drive,split\ndrive.mp4,highway,drive,val\nother.mp4,city,other,val\n"
    )
    return place


@pytest.mark.parametrize(
    "words",
    [
        "replay drive.mp4 --bundle hw.bundle --events drive.mp4",
        "replay drive.mp4 --bundle hw.bundle --report ./hw.bundle/../drive.mp4",
        "replay drive.mp4 --bundle hw.bundle --scores hw.bundle/scores.csv",
        "evaluate hw.bundle --manifest manifest.csv --split val --json manifest.csv",
        "evaluate hw.bundle --normal drive.mp4 --anomalous other.mp4 --report other.mp4",
        "verify hw.bundle --json hw.bundle/bundle.json",
        "bench hw.bundle --json hw.bundle/bundle.json",
        "calibrate hw.bundle --normal drive.mp4 --out hw.bundle/sub",
    ],
)
def test_nothing_that_is_read_is_replaced(words: str, folder: Path) -> None:
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    done = sightline(*words.split(), folder=folder)
    assert done.returncode == 7, done.stderr
    (line,) = done.stderr.splitlines()
    assert "must not be, or lie in, what is read" in line or "must be another name than the bundle's" in line
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    "words", ["verify hw.bundle --json nowhere/x.json", "bench hw.bundle --json nowhere/x.json"]
)
def test_a_place_that_is_not_there_is_told_before_the_work(words: str, folder: Path) -> None:
    done = sightline(*words.split(), folder=folder)
    assert (done.returncode, done.stdout) == (7, "")
    assert "must be in a folder that exists" in done.stderr


def test_a_link_to_what_is_read_is_that(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b.json").symlink_to(tmp_path / "a.mp4")
    with pytest.raises(OutputError, match="what is read"):
        check_outputs(tmp_path / "b.json", reads=[tmp_path / "a.mp4"])
    check_outputs(tmp_path / "c.json", None, reads=[tmp_path / "a.mp4"])


def test_two_that_write_one_file_leave_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with partial_beside(path) as one, partial_beside(path) as other:
        one.write_text("one")
        other.write_text("other")
        one.replace(path)
        other.replace(path)
    assert path.read_text() == "other"
    write_whole(path, b"third")
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]
    umask = os.umask(0o022)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("words", ["--version", "verify hw.bundle", "replay drive.mp4 --bundle hw.bundle"])
def test_a_full_disk_behind_the_output_is_a_line(words: str, folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "sightline", *words.split()]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment, timeout=120
        )
    assert done.returncode == 7
    assert (
        done.stderr
        == "sightline: standard output: must be writable: No space left on device; write it elsewhere\n"
    )


@pytest.mark.parametrize("closing", [">&-", "2>&-"])
def test_output_that_is_closed_costs_nothing(closing: str, folder: Path) -> None:
    command = f"{sys.executable} -m sightline replay drive.mp4 --bundle hw.bundle --scores s.csv {closing}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, cwd=folder, env=environment, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (folder / "s.csv").read_text().count("\n") > 20
    (folder / "s.csv").unlink()


def test_characters_that_the_output_does_not_know_are_replaced(folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "sightline", "verify", "hw.bundle"]
    done = subprocess.run(command, capture_output=True, cwd=folder, env=environment, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"engines against the float64 reference" in done.stdout
