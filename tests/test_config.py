"""The config of ``sightline run``: what is wrong in it is said in one line with its file and key, before a camera is opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engines.errors import BundleError, ConfigError, OutputError, SightlineError
from engines.health.fault import Fault
from monitor.config import load_config
from monitor.rules import Rules
from monitor.run_command import run
from monitor.settings import rules

ROOT = Path(__file__).parent.parent
TOP = 'bundle = "highway.bundle"\njournal = "alerts.journal"\n'
CAMERA = '[[camera]]\nname = "front"\nurl = "rtsp://192.0.2.1/a"\n'


@pytest.fixture
def folder(tmp_path: Path, rendered_bundle: Path) -> Path:
    """Where a config may stand: beside a bundle."""
    (tmp_path / "highway.bundle").symlink_to(rendered_bundle)
    return tmp_path


def check(folder: Path, text: str | bytes) -> str:
    """Return the one line that ``--check`` ends with."""
    file = folder / "cameras.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SightlineError) as caught:
        run(file, check=True)
    line = str(caught.value)
    assert line.startswith(str(file))
    assert "\n" not in line
    return f"{caught.value.exit_code} {line.removeprefix(str(file))}"


@pytest.mark.parametrize(
    ("text", "begins", "says"),
    [
        pytest.param("bundle = [", "8: must be TOML", "document", id="not-toml"),
        pytest.param(b"\xff", "8: must be TOML", "utf-8", id="not-text"),
        pytest.param(TOP + "camera = []", "8: camera: must name at least one", "[[camera]]", id="no-camera"),
        pytest.param(TOP, "8: camera: must be given", "missing", id="camera-missing"),
        pytest.param(
            TOP + CAMERA.replace("[[camera]]", "[camera]"), "8: camera: must be", "[[", id="one-bracket"
        ),
        pytest.param('jurnal = "x"\n' + TOP + CAMERA, "8: jurnal: must be", "mean journal?", id="top-typo"),
        pytest.param(TOP + CAMERA + "uri = 1", "8: camera[0].uri: must be", "mean url?", id="camera-typo"),
        pytest.param(
            TOP + CAMERA + "zzz = 1", "8: camera[0].zzz: must be", "no_frames_after_s", id="unknown"
        ),
        pytest.param(CAMERA, "8: journal: must be given", "missing", id="no-journal"),
        pytest.param(
            TOP + '[[camera]]\nname = "a"', "8: camera[0].url: must be given", "missing", id="no-url"
        ),
        pytest.param(
            TOP + CAMERA + CAMERA.replace('"front"', "7"),
            "8: camera[1].name: must be a string, got a whole number",
            "",
            id="name-type",
        ),
        pytest.param("bundle = 3\n" + CAMERA, "8: bundle: must be a path, got 3", "", id="path-type"),
        pytest.param(
            TOP.replace("alerts.journal", "") + CAMERA, "8: journal: must be a path", "", id="path-empty"
        ),
        pytest.param(
            TOP + CAMERA + 'no_frames_after_s = "3"', "8: camera[0].no_frames_after_s: must be a number", "",
            id="time-type",
        ),
        pytest.param(TOP + CAMERA + "open_timeout_s = 0", "8: camera[0].open_timeout_s: must be > 0", "", id="zero"),
        pytest.param(TOP + CAMERA + "read_timeout_s = inf", "8: camera[0].read_timeout_s: must be <=", "", id="inf"),
        pytest.param(TOP + CAMERA + "read_timeout_s = nan", "8: camera[0].read_timeout_s: must be >", "", id="nan"),
        pytest.param(TOP + CAMERA + 'decode = "gpu"', "8: camera[0].decode: must be cpu, auto, cuda, resident", "gpu", id="decode"),
        pytest.param("batch_wait_ms = -1\n" + TOP + CAMERA, "8: batch_wait_ms: must be >= 0 milli", "", id="wait-below"),
        pytest.param("batch_wait_ms = 2000\n" + TOP + CAMERA, "8: batch_wait_ms: must be <= 1000 mi", "", id="wait-above"),
        pytest.param(
            TOP + CAMERA + 'rtsp_transport = "ftp"', "8: camera[0].rtsp_transport: must be tcp,", "ftp", id="transport"
        ),
        pytest.param(
            TOP + CAMERA + "options = { fps = 3 }", "8: camera[0].options: must be a string", "", id="option-type"
        ),
        pytest.param(
            TOP + CAMERA + CAMERA, "8: camera[1].name: must be unique, 'front'", "camera[0]", id="same-name"
        ),
        pytest.param(
            TOP + CAMERA.replace("front", "../x"), "8: camera[0].name: must be up to 64", "../x", id="name-path"
        ),
        pytest.param(
            TOP + CAMERA.replace("front", "a\\u001b[31m"), "8: camera[0].name: must", r"\x1b", id="name-escape"
        ),
        pytest.param(
            TOP + CAMERA.replace("rtsp:", "ftp:"), "8: camera[0].url: its URL must begin", "rtsp://", id="scheme"
        ),
        pytest.param(
            TOP + CAMERA.replace("192.0.2.1/a", "me:pw@:99999/"), "8: camera[0].url: must name a host", "***@", id="host"
        ),
        pytest.param(
            TOP + CAMERA.replace("rtsp://192.0.2.1/a", "loop:none.mp4"),
            "8: camera[0].url: must be a video file", "none.mp4", id="loop-file",
        ),
        pytest.param(
            'journal = "j"\n' + CAMERA, "8: camera[0].bundle: must be given, here or at the top", "", id="no-bundle"
        ),
        pytest.param(
            TOP.replace("highway", "none") + CAMERA, "4: bundle: ", "none.bundle: must be a bundle", id="bundle-absent"
        ),
        pytest.param(
            TOP + CAMERA + 'bundle = "own"', "4: camera[0].bundle: ", "own: must be a bundle", id="own-bundle-absent"
        ),
        pytest.param(
            TOP + 'publish = "tcp://0.0.0.0:5556"\n' + CAMERA, "8: publish: must be a loopback", "0.0.0.0", id="open-door"
        ),
        pytest.param(
            TOP + 'publish = "localhost:5556"\n' + CAMERA, "8: publish: must be tcp://HOST:PORT", "", id="endpoint"
        ),
        pytest.param(
            TOP + 'publish = "tcp://127.0.0.1:65535"\n' + CAMERA, "8: publish: must have a port", "", id="last-port"
        ),
        pytest.param(TOP + CAMERA + "ignore = [0, 0.85, 1, 1]", "8: camera[0].ignore[0]: must be a list", "[[0, 0.85", id="one-region"),
        pytest.param(TOP + CAMERA + 'ignore = [["a"]]', "8: camera[0].ignore[0][0]: must be a number, got a string", "", id="region-type"),
        pytest.param(
            TOP + CAMERA + "ignore = [[0, 612, 1280, 720]]", "8: camera[0].ignore[0]: must lie in the picture",
            "612; divide pixels", id="region-outside",
        ),
        pytest.param(
            TOP + CAMERA + "ignore = [[0, 0, 1, 0.5], [0, 0.4, 1, 1]]", "8: camera[0].ignore: must leave something to watch",
            "100 %", id="region-all",
        ),
        pytest.param('mute = "Sun"\n' + TOP + CAMERA, "8: mute: must be a list", '["Mon-Fri', id="mute-type"),
        pytest.param('mute = ["Sun", "Som"]\n' + TOP + CAMERA, "8: mute[1]: must name days", "'Som'", id="mute-top"),
        pytest.param(TOP + CAMERA + 'mute = ["9-17"]', "8: camera[0].mute[0]: must be days, times or both", "9-17", id="mute"),
        pytest.param('timezone = "Mars"\n' + TOP + CAMERA, "8: timezone: must be a time zone", "'Mars'", id="zone"),
        pytest.param(
            TOP + CAMERA + "false_alarms_per_hour = 0", "8: camera[0].false_alarms_per_hour: must be > 0 an hour", "", id="no-budget",
        ),
        pytest.param(
            TOP + CAMERA + "false_alarms_per_hour = 0.001", "6: camera[0].false_alarms_per_hour: a budget of 0.001", "support", id="budget",
        ),
        pytest.param(
            TOP + CAMERA + "[camera.left_domain]\nhold_s = 0.5", "6: camera[0].left_domain.hold_s: must be 2 s or more, got 0.5",
            "promised", id="hold",
        ),
        pytest.param(
            TOP + CAMERA + "[camera.left_domain]\nhold = 3", "8: camera[0].left_domain.hold: must be a known key",
            "mean hold_s?", id="hold-typo",
        ),
        pytest.param(
            TOP + CAMERA + '[camera.camera_fault]\nignore_modes = ["blurr"]',
            "8: camera[0].camera_fault.ignore_modes[0]: must be a fault", "mean blur", id="mode-typo",
        ),
        pytest.param(
            TOP + '[camera_fault]\nignore_modes = ["no_frames"]\n' + CAMERA,
            "8: camera_fault.ignore_modes[0]: must be a fault of pictures; no_frames is always told", "no_frames_after_s", id="mode-always",
        ),
        pytest.param(
            TOP.replace("alerts.journal", "highway.bundle") + CAMERA, "7: journal: must be a file", "", id="journal-folder"
        ),
        pytest.param(
            TOP.replace("alerts.journal", "cameras.toml") + CAMERA, "7: journal: ", "journal of alerts", id="journal-other"
        ),
        pytest.param(
            TOP + 'snapshots = "a"\nevidence = "b"\n' + CAMERA, "8: snapshots: must not be given beside evidence", "", id="both"
        ),
        pytest.param(
            TOP + 'evidence = "cameras.toml/kept"\n' + CAMERA, "7: evidence: must be in a folder", "", id="evidence"
        ),
        pytest.param(TOP + "pre_roll_s = -1\n" + CAMERA, "8: pre_roll_s: must be >= 0 seconds", "", id="pre-roll"),
        pytest.param(TOP + "evidence_mb = 1\n" + CAMERA, "8: evidence_mb: must be >= 100 megabytes", "", id="room"),
        pytest.param(
            TOP + 'snapshots = "cameras.toml/shots"\n' + CAMERA, "7: snapshots: must be in a folder", "", id="snapshots"
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_key(folder: Path, text: str | bytes, begins: str, says: str) -> None:
    line = check(folder, text)
    code, _, rest = line.partition(" ")
    assert (code + rest).startswith(begins)
    assert says in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused(folder: Path) -> None:
    (folder / "locked").mkdir(mode=0o500)
    assert "writable" in check(folder, TOP.replace("alerts", "locked/alerts") + CAMERA)


def test_paths_are_relative_to_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "drive.mp4").touch()
    (folder / "cameras.toml").write_text(
        TOP + 'snapshots = "/var/shots"\n[[camera]]\nname = "a"\nurl = "loop:drive.mp4"\nbundle = "../b"'
    )
    monkeypatch.chdir("/")
    config = load_config(folder / "cameras.toml")
    assert config.journal == folder / "alerts.journal"
    assert config.snapshots == Path("/var/shots")
    assert config.camera[0].url == f"loop:{folder}/drive.mp4"
    assert config.camera[0].bundle == folder / "../b"


def test_a_camera_takes_from_the_top_what_it_does_not_say_itself(folder: Path) -> None:
    (folder / "cameras.toml").write_text(
        TOP + 'false_alarms_per_hour = 90\nmute = ["Sun"]\n[left_domain]\nhold_s = 5\nenabled = false\n'
        '[camera_fault]\nignore_modes = ["blur"]\nhold_s = 1\n'
        + CAMERA
        + CAMERA.replace("front", "rear")
        + "mute = []\nfalse_alarms_per_hour = 80\n[camera.left_domain]\nenabled = true\n"
        "[camera.camera_fault]\nignore_modes = []\n"
    )
    front, rear = load_config(folder / "cameras.toml").camera
    assert rules("", front) == Rules(
        false_alarms_per_hour=90.0, domain_hold_s=5.0, domain_told=False, fault_hold_s=1.0, silenced=frozenset({Fault.BLUR})
    )  # fmt: skip
    assert rules("", rear) == Rules(false_alarms_per_hour=80.0, domain_hold_s=5.0, fault_hold_s=1.0)
    assert (front.mute, rear.mute) == (("Sun",), ())


def test_a_missing_config_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: must be a readable file: No such file"):
        load_config(tmp_path / "none.toml")


def test_the_example_that_ships_passes_the_check_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "cameras.toml").write_text((ROOT / "configs" / "cameras.toml").read_text())
    run(folder / "cameras.toml", check=True)
    out = capsys.readouterr().out
    assert "password" not in out
    for word in ("front", "rtsp://***@192.0.2.10/stream1", "rear", "usb:0", "2 s", "tcp://127.0.0.1:5556"):
        assert word in out
    written = {"highway.bundle.cache"}  # that the engine was verified is remembered
    assert {path.name for path in folder.iterdir()} - written == {"cameras.toml", "highway.bundle"}


def test_a_damaged_bundle_keeps_its_exit_code(folder: Path) -> None:
    (folder / "hurt").mkdir()
    (folder / "hurt" / "bundle.json").write_text("{}")
    (folder / "cameras.toml").write_text(TOP.replace("highway.bundle", "hurt") + CAMERA)
    with pytest.raises(BundleError, match=r"cameras\.toml: bundle: .*hurt"):
        run(folder / "cameras.toml", check=True)


def test_the_journal_must_be_one_before_a_camera_is_opened(folder: Path) -> None:
    (folder / "alerts.journal").write_text("not a database, but long enough to look at" * 40)
    (folder / "cameras.toml").write_text(TOP + CAMERA)
    with pytest.raises(OutputError, match="journal of alerts"):
        run(folder / "cameras.toml")


def test_the_command_ends_with_one_line_and_exit_code_8(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(TOP + CAMERA + "nam = 1")
    command = [sys.executable, "-m", "sightline", "run", str(tmp_path / "c.toml"), "--check"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (8, "")
    assert ended.stderr.count("\n") == 1
    assert "camera[0].nam: must be a known key, is not; did you mean name?" in ended.stderr
