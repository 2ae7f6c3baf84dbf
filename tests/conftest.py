"""Fixtures shared by test files."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from engines.footage import Drive, find_drives
from engines.rendered import Segment, render, write_video
from monitor.journal import Journal
from training.fit_command import fit_command

SYSTEM_PYTHON = "/usr/bin/python3"
HERE = Path(__file__).parent
CRASH = HERE.parent / ".pytest_cache" / "crash.txt"


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Where the process was when a library ended it goes to a file, which ``make test`` prints at the end: pytest's own
    report of that is followed by a page of module names."""
    CRASH.parent.mkdir(exist_ok=True)
    faulthandler.enable(CRASH.open("w"))


class RtspServer:
    """A camera in a process of its own; see rtsp_server.py for its options and its pictures."""

    def __init__(self, *options: str, port: int = 0) -> None:
        command = [SYSTEM_PYTHON, str(HERE / "rtsp_server.py"), str(port), "/camera", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], 20.0)
        line = self._process.stdout.readline() if readable else ""
        if not line.startswith("ready "):
            self.kill()
            raise RuntimeError(f"rtsp_server.py {options}: must print its URL within 20 s, got {line!r}")
        self.url = line.split()[1]
        self.port = int(self.url.rpartition(":")[2].partition("/")[0])

    def hang(self) -> None:
        """The link stays up, but nothing is sent any more."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """The power goes. Idempotent."""
        self._process.kill()
        self._process.communicate(timeout=10)


@pytest.fixture(scope="session")
def rendered_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle taught on six rendered highway drives of 11 s; do not change it, copy it."""
    folder = tmp_path_factory.mktemp("rendered")
    (folder / "drives").mkdir()
    for seed in range(6):
        pictures = (image for _, _, image in render((Segment("highway", 11.0),), seed, (320, 180), 10.0))
        write_video(folder / "drives" / f"highway{seed}.mp4", pictures, 10.0)
    fit_command(normal=[folder / "drives"], out=folder / "highway.bundle")
    return folder / "highway.bundle"


@pytest.fixture(scope="session")
def rendered_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function from segments, seed and size (width, height) to a rendered video of 10 frames/s."""

    def make(script: tuple[Segment, ...], seed: int, size: tuple[int, int]) -> Path:
        path = tmp_path_factory.mktemp("clip") / "drive.mp4"
        write_video(path, (image for _, _, image in render(script, seed, size, 10.0)), 10.0)
        return path

    return make


@pytest.fixture(scope="session")
def short_footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A highway of 30 s, and a city."""
    folder = tmp_path_factory.mktemp("short")
    for name, scene, seconds in (("highway", "highway", 30.0), ("city", "city", 5.0)):
        pictures = (image for _, _, image in render((Segment(scene, seconds),), 1, (160, 90), 5.0))
        write_video(folder / f"{name}.mp4", pictures, 5.0)
    return folder


@pytest.fixture(scope="session")
def drives(short_footage: Path) -> list[Drive]:
    """The highway of ``short_footage``."""
    return find_drives([short_footage / "highway.mp4"])


@pytest.fixture
def journal_path() -> Iterator[Path]:
    """Where the journal lies: in memory where there is such a folder, as each append waits for the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder) / "alerts.journal"


@pytest.fixture
def journal(journal_path: Path) -> Iterator[Journal]:
    with Journal(journal_path) as opened:
        yield opened


@pytest.fixture(params=["tcp", "ipc"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "tcp://127.0.0.1:*" if request.param == "tcp" else f"ipc://{tmp_path}/alerts"


@pytest.fixture(scope="session")
def rtsp_packages() -> None:
    """Skip, saying why, where the RTSP server's Debian packages are missing."""
    try:
        script = [SYSTEM_PYTHON, str(HERE / "rtsp_server.py"), "0", "/camera", "--check"]
        found = subprocess.run(script, capture_output=True, text=True, timeout=60)
        reason = found.stderr.strip().rpartition("\n")[2] if found.returncode else ""
    except FileNotFoundError as error:
        reason = str(error)
    if reason:
        pytest.skip(f"no RTSP server: {reason}; run tests/install-debian-packages.sh")


@pytest.fixture
def rtsp_server(rtsp_packages: None) -> Iterator[Callable[..., RtspServer]]:
    """Starts cameras: ``rtsp_server(*options, port=0)``, on a free port unless told. Ends what it started."""
    servers: list[RtspServer] = []

    def start(*options: str, port: int = 0) -> RtspServer:
        servers.append(RtspServer(*options, port=port))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def _small_encoder() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    weights = {
        "scale": np.float32(1 / 64), "shift": np.float32(2.0), "zero": np.float32(0.0), "six": np.float32(6.0),
        "cells": np.array([2, 3], np.int64),
    }  # fmt: skip
    for name, shape in {"w1": (16, 3, 3, 3), "w2": (32, 16, 3, 3), "w3": (8, 32, 1, 1)}.items():
        weights[name] = (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    node = onnx.helper.make_node
    nodes = [
        node("Cast", ["images"], ["float"], to=onnx.TensorProto.FLOAT),
        node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        node("Mul", ["planes", "scale"], ["scaled"]),
        node("Sub", ["scaled", "shift"], ["centred"]),
        node("Conv", ["centred", "w1"], ["c1"], name="first", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2"], ["c2"], name="second", strides=[4, 4], pads=[1, 1, 1, 1]),
        node("Clip", ["c2", "zero", "six"], ["r2"]),
        node("Conv", ["r2", "w3"], ["late"], name="third"),
        node("ReduceMean", ["r1", "cells"], ["early"], keepdims=0),
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "small",
        [value("images", onnx.TensorProto.UINT8, ["N", 48, 64, 3])],
        [
            value("late", onnx.TensorProto.FLOAT, ["N", 8, 6, 8]),
            value("early", onnx.TensorProto.FLOAT, ["N", 16]),
        ],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def small_encoder() -> onnx.ModelProto:
    """Three random convolutions: ``images`` uint8 N×48×64×3 -> ``late`` N×8×6×8, ``early`` N×16. The test's own."""
    return _small_encoder()


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory, rendered_bundle: Path) -> Path:
    """A bundle of the small encoder, taught on the drives of ``rendered_bundle``; do not change it, copy it."""
    folder = tmp_path_factory.mktemp("small")
    onnx.save(_small_encoder(), folder / "small.onnx")
    drives = rendered_bundle.parent / "drives"
    fit_command(normal=[drives], out=folder / "small.bundle", encoder=str(folder / "small.onnx"), rate=5.0)
    return folder / "small.bundle"
