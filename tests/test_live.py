"""Live cameras against real servers: what they do when all is well, and in every way it can go wrong."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import av
import cv2
import numpy as np
import pytest

from engines.frames import Frame
from monitor.live.camera import LiveCamera, Status

SIZE = (90, 160)
BITS = 32


class Prompt(random.Random):
    """Draws the low end of every range, so that reconnections come soon."""

    def random(self) -> float:
        return 0.05


def until(condition: Callable[[], Any], within_s: float = 15.0) -> Any:
    """Return the first true value of ``condition``; fail if there is none in time."""
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        pause.wait(0.01)
    return value


def collect(camera: LiveCamera, count: int, within_s: float = 15.0) -> list[Frame]:
    frames: list[Frame] = []
    deadline = time.monotonic() + within_s
    while len(frames) < count:
        assert time.monotonic() < deadline, f"{len(frames)} of {count} frames; {camera.state}"
        frame = camera.read(0.1)
        frames += [frame] if frame else []
    return frames


def becomes(camera: LiveCamera, status: Status, within_s: float = 15.0) -> None:
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while camera.state.status != status:
        assert time.monotonic() < deadline, f"must become {status} within {within_s:g} s, is {camera.state}"
        pause.wait(0.01)


def more_are_decoded(camera: LiveCamera, count: int) -> int:
    """Wait, not reading, until ``count`` more pictures are decoded; return how many are by then, at least."""
    goal = camera.state.decoded + count
    until(lambda: camera.state.decoded >= goal)
    return goal


def drawn_ms(frame: Frame) -> int:
    """Read the barcode of tests/rtsp_server.py: when the picture was drawn, on the monotonic clock."""
    cell = frame.luma.shape[1] // BITS
    bits = frame.luma[8, cell // 2 :: cell][:BITS] > 128
    return int("".join("1" if bit else "0" for bit in bits), 2)


def increasing(frames: list[Frame]) -> bool:
    return all(a.time_s < b.time_s and a.index < b.index for a, b in pairwise(frames))


@contextmanager
def silent_listener() -> Iterator[str]:
    """A host that accepts connections and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield f"rtsp://127.0.0.1:{listener.getsockname()[1]}/camera"


def closed_port() -> str:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return f"rtsp://127.0.0.1:{listener.getsockname()[1]}/camera"


Server = TypeVar("Server", bound=ThreadingHTTPServer)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5.0)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "nv12", "gray", "yuv420p10le", "yuyv422", "rgb24"])
def test_any_pixel_format_gives_rgb_and_luma(pixels: str) -> None:
    """322 columns: rows in memory are longer than rows of the picture."""
    source = f"lavfi:color=c=gray:size=322x242:rate=30,drawbox=w=161:color=white:t=fill,format={pixels}"
    with LiveCamera("front", source, SIZE) as camera:
        frame = collect(camera, 1)[0]
    assert (frame.image.shape, frame.luma.shape) == ((*SIZE, 3), (242, 322))
    assert frame.image.dtype == frame.luma.dtype == np.uint8
    for picture in (frame.luma, frame.image):
        left, right = np.array_split(picture.astype(float), 2, axis=1)
        assert left[4:-4, 4:-4].min() > 225
        assert np.abs(right[4:-4, 4:-4] - 127).max() < 6


def write_video(path: Path, pictures: int, fps: int, first: int = 0) -> None:
    """Write ``pictures`` pictures, the first with time stamp ``first`` / ``fps``."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.time_base = 64, 48, Fraction(1, fps)
        for i in range(pictures):
            level = np.full((48, 64, 3), 10 * i, np.uint8)
            picture = av.VideoFrame.from_ndarray(level, "rgb24")
            picture.pts, picture.time_base = first + i, Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def test_a_looped_file_plays_in_real_time_without_a_seam(tmp_path: Path) -> None:
    write_video(tmp_path / "drive.mp4", pictures=10, fps=25)
    with LiveCamera("front", f"loop:{tmp_path}/drive.mp4", SIZE) as camera:
        frames = collect(camera, 30)
        state = camera.state
    assert [f.time_s for f in frames] == pytest.approx([f.index / 25 for f in frames], abs=1e-6)
    assert frames[-1].arrival_s - frames[0].arrival_s == pytest.approx(
        frames[-1].time_s - frames[0].time_s, abs=0.3
    )
    assert frames[-1].index > 20
    assert (state.status, state.reconnects, state.last_error) == (Status.STREAMING, 0, "")


def test_a_stream_that_ends_is_opened_again_and_time_goes_on() -> None:
    with LiveCamera("front", "lavfi:testsrc2=size=64x48:rate=30:duration=0.3", SIZE, rng=Prompt()) as camera:
        frames = collect(camera, 25)
        state = camera.state
    assert increasing(frames)
    assert state.reconnects >= 2
    assert "the stream ended" in state.last_error


def test_time_stamps_of_one_connection_mean_nothing_in_the_next(tmp_path: Path) -> None:
    """The camera's clock leaps by 5 s between two connections that are a fraction of a second apart."""
    videos = []
    for number, first in enumerate((0, 150)):
        path = tmp_path / f"{number}.mkv"
        write_video(path, pictures=25, fps=25, first=first)
        videos.append(path.read_bytes())

    class OneAfterAnother(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if videos else 404)
            self.end_headers()
            self.wfile.write(videos.pop(0) if videos else b"")

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), OneAfterAnother)) as server:
        url = f"http://127.0.0.1:{server.server_port}/camera.mkv"
        with LiveCamera("front", url, SIZE, rng=Prompt()) as camera:
            first_frame = collect(camera, 1)[0]
            until(lambda: "404" in camera.state.last_error)
            last_frame = collect(camera, 1)[0]
    assert last_frame.index > 30
    real_s = last_frame.arrival_s - first_frame.arrival_s
    assert last_frame.time_s - first_frame.time_s == pytest.approx(real_s, abs=0.5)


def test_every_decoded_frame_is_read_or_counted_as_dropped() -> None:
    arrived = threading.Event()
    camera = LiveCamera("front", "lavfi:testsrc2=size=64x48:rate=60", SIZE, arrived=arrived)
    with camera:
        assert arrived.wait(10.0)
        read = 0
        for _ in range(5):
            decoded = more_are_decoded(camera, 5)
            frame = camera.read(0.0)
            assert frame is not None
            read += 1
            assert frame.index >= decoded - 1
            assert time.monotonic() - frame.arrival_s < 0.2
    state = camera.state
    assert state.decoded - read - 1 <= state.dropped <= state.decoded - read
    assert state.dropped >= 20
    assert camera.read(0.0) is None


class MjpegCamera(ThreadingHTTPServer):
    """Sends the parts that ``part(i)`` gives, ``fps`` a second, until closed."""

    daemon_threads = True

    def __init__(self, part: Callable[[int], bytes], fps: float) -> None:
        super().__init__(("127.0.0.1", 0), MjpegHandler)
        self.part, self.period_s, self.closing = part, 1.0 / fps, threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, *_: object) -> None:
        """Clients hang up whenever they like."""


class MjpegHandler(BaseHTTPRequestHandler):
    server: MjpegCamera

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
        self.end_headers()
        index = 0
        while not self.server.closing.wait(self.server.period_s):
            body = self.server.part(index)
            head = f"--part\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body + b"\r\n")
            index += 1

    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


@contextmanager
def mjpeg(part: Callable[[int], bytes], fps: float = 20.0) -> Iterator[str]:
    with serving(MjpegCamera(part, fps)) as server:
        try:
            yield server.url
        finally:
            server.closing.set()


def jpeg(height: int, width: int, seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    return cv2.imencode(".jpg", coarse.repeat(8, 0).repeat(8, 1))[1].tobytes()


def test_mjpeg_survives_truncated_pictures_and_a_change_of_size() -> None:
    def part(index: int) -> bytes:
        whole = jpeg(*((240, 320) if index < 20 else (480, 640)), index)
        return whole[:150] if index % 10 == 5 else whole

    with mjpeg(part) as url, LiveCamera("front", url, SIZE) as camera:
        frames = collect(camera, 35)
        state = camera.state
    assert {f.luma.shape for f in frames} == {(240, 320), (480, 640)}
    assert {f.image.shape for f in frames} == {(*SIZE, 3)}
    assert increasing(frames)
    assert (state.status, state.reconnects) == (Status.STREAMING, 0)
    assert state.decode_errors >= 3


def test_media_time_of_a_stream_without_time_stamps_is_its_time_of_arrival() -> None:
    """libav assumes 25 fps for MJPEG; at 10 fps media time would run at two fifths of real time."""
    picture = jpeg(240, 320, 0)
    with mjpeg(lambda _: picture, fps=10.0) as url, LiveCamera("front", url, SIZE) as camera:
        frames = collect(camera, 12)
    media_s = frames[-1].time_s - frames[0].time_s
    assert media_s == pytest.approx(frames[-1].arrival_s - frames[0].arrival_s, abs=0.1)
    assert media_s > 0.9


def test_a_link_that_carries_no_picture_is_built_anew() -> None:
    picture = jpeg(240, 320, 0)
    with (
        mjpeg(lambda index: picture if index < 3 else picture[:150]) as url,
        LiveCamera("front", url, SIZE, picture_timeout_s=0.5, rng=Prompt()) as camera,
    ):
        until(lambda: camera.state.reconnects >= 2)
        assert "no picture" in camera.state.last_error


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("rtsp://me:secret@{port}", "Connection refused", id="refused"),
        pytest.param("loop:/nowhere/drive.mp4", "No such file", id="no-file"),
        pytest.param("usb:97", "No such file", id="no-device"),
        pytest.param("lavfi:sine", "no video", id="no-video"),
    ],
)
def test_a_camera_that_cannot_be_opened_is_a_state(url: str, said: str) -> None:
    url = url.replace("{port}", closed_port().removeprefix("rtsp://"))
    with LiveCamera("front", url, SIZE, startup_grace_s=0.4, rng=Prompt()) as camera:
        assert camera.state.status == Status.CONNECTING
        assert camera.read(0.05) is None
        becomes(camera, Status.LOST, 5.0)
        state = until(lambda: camera.state.reconnects >= 2 and camera.state)
    assert said in state.last_error
    assert state.last_error.startswith("camera front: ")
    assert "secret" not in state.last_error
    assert "\n" not in state.last_error
    assert (state.decoded, state.fps) == (0, 0.0)


def test_reconnection_waits_for_the_drawn_delay() -> None:
    class Patient(random.Random):
        def random(self) -> float:
            return 1.0

    begun = time.monotonic()
    with LiveCamera("front", closed_port(), SIZE, rng=Patient()) as camera:
        until(lambda: camera.state.reconnects >= 2)
    assert 0.75 <= time.monotonic() - begun < 5.0


def test_a_host_that_never_answers_is_given_up_after_the_open_timeout() -> None:
    with silent_listener() as url, LiveCamera("front", url, SIZE, open_timeout_s=0.5, rng=Prompt()) as camera:
        state = until(lambda: camera.state.reconnects >= 1 and camera.state, 8.0)
    assert "must open within 0.5 s" in state.last_error


@pytest.mark.rtsp
@pytest.mark.parametrize(
    ("login", "mount", "said"),
    [
        pytest.param("me:wrong-secret@", "/camera", "401 Unauthorized", id="wrong-password"),
        pytest.param("", "/camera", "401 Unauthorized", id="no-password"),
        pytest.param("me:right-secret@", "/nowhere", "404 Not Found", id="wrong-path"),
    ],
)
def test_why_a_camera_refuses_is_said_without_its_password(
    rtsp_server: Callable[..., Any], login: str, mount: str, said: str
) -> None:
    server = rtsp_server("--login", "me:right-secret")
    url = f"rtsp://{login}127.0.0.1:{server.port}{mount}"
    with LiveCamera("front", url, SIZE, rng=Prompt()) as camera:
        error = until(lambda: camera.state.last_error)
    assert said in error
    assert "secret" not in error
    assert ("***@" in error) == bool(login)


@pytest.mark.rtsp
def test_rtsp_gives_every_picture_at_the_cameras_rate(rtsp_server: Callable[..., Any]) -> None:
    server = rtsp_server("--login", "me:secret", "--size", "1280x720", "--fps", "15")
    with LiveCamera("front", server.url.replace("//", "//me:secret@"), SIZE) as camera:
        frames = collect(camera, 30)
        state = camera.state
    assert {(f.stream, f.image.shape, f.luma.shape) for f in frames} == {("front", (*SIZE, 3), (720, 1280))}
    assert frames[0].time_s == 0.0
    assert increasing(frames)
    assert np.median(np.diff([f.time_s for f in frames])) == pytest.approx(1 / 15, rel=0.1)
    assert 12 < state.fps < 18
    assert (state.status, state.reconnects, state.last_error) == (Status.STREAMING, 0, "")
    assert any(f.key for f in frames)


@pytest.mark.rtsp
def test_a_camera_of_two_pictures_a_second_opens_soon_and_is_not_stale(
    rtsp_server: Callable[..., Any],
) -> None:
    """Left to itself, libav would analyse so slow a stream for over 5 s before the first picture."""
    with LiveCamera("front", rtsp_server("--fps", "2").url, SIZE) as camera:
        frames = collect(camera, 1, within_s=4.5)
        frames += collect(camera, 1)
        assert (camera.state.status, camera.state.reconnects) == (Status.STREAMING, 0)
    assert frames[1].time_s == pytest.approx(0.5, abs=0.2)


@pytest.mark.rtsp
def test_a_slow_consumer_gets_fresh_frames(rtsp_server: Callable[..., Any]) -> None:
    with LiveCamera("front", rtsp_server().url, SIZE) as camera:
        collect(camera, 1)
        ages_ms = []
        for _ in range(6):
            more_are_decoded(camera, 10)
            frame = camera.read(0.0)
            assert frame is not None
            ages_ms.append(time.monotonic() * 1000 - drawn_ms(frame))
        assert camera.state.dropped >= 50
    assert min(ages_ms) > 0
    assert float(np.median(ages_ms)) < 300
    assert ages_ms[-1] < 600


@pytest.mark.rtsp
def test_a_short_hang_is_stale_and_heals_on_the_same_link(rtsp_server: Callable[..., Any]) -> None:
    server = rtsp_server()
    with LiveCamera("front", server.url, SIZE, stale_after_s=0.5, read_timeout_s=10.0) as camera:
        before = collect(camera, 10)[-1]
        server.hang()
        hung_s = time.monotonic()
        becomes(camera, Status.STALE, 3.0)
        assert 0.4 < time.monotonic() - hung_s < 1.5
        assert camera.state.age_s > 0.5
        server.resume()
        becomes(camera, Status.STREAMING, 5.0)
        after = collect(camera, 5)[-1]
        assert camera.state.reconnects == 0
    assert after.time_s - before.time_s == pytest.approx(after.arrival_s - before.arrival_s, abs=0.3)


@pytest.mark.rtsp
def test_a_hang_a_crash_and_a_restart(rtsp_server: Callable[..., Any]) -> None:
    """A stalled stream gives up its last picture when the read times out: that is no sign of life."""
    server = rtsp_server()
    camera = LiveCamera(
        "front", server.url, SIZE, stale_after_s=0.5, open_timeout_s=1.5, read_timeout_s=1.5, rng=Prompt()
    )
    with camera:
        frames = collect(camera, 10)
        server.hang()
        becomes(camera, Status.STALE, 3.0)
        until(lambda: camera.state.status != Status.STALE, 6.0)
        assert camera.state.status == Status.LOST
        assert "within 1.5 s" in camera.state.last_error
        server.resume()
        becomes(camera, Status.STREAMING)
        frames += collect(camera, 10)

        server.kill()
        becomes(camera, Status.LOST, 3.0)
        rtsp_server("--size", "320x240", port=server.port)
        becomes(camera, Status.STREAMING)
        frames += collect(camera, 10)
        assert camera.state.reconnects >= 2
    assert increasing(frames)
    assert (frames[0].luma.shape, frames[-1].luma.shape) == ((360, 640), (240, 320))
    media_s = frames[-1].time_s - frames[0].time_s
    assert media_s == pytest.approx(frames[-1].arrival_s - frames[0].arrival_s, abs=0.5)


@pytest.mark.parametrize("status", ["streaming", "opening", "waiting-to-reconnect"])
def test_close_is_prompt(status: str) -> None:
    with silent_listener() as silent:
        urls = {
            "streaming": "lavfi:testsrc2=rate=30",
            "opening": silent,
            "waiting-to-reconnect": closed_port(),
        }
        camera = LiveCamera("front", urls[status], SIZE, open_timeout_s=4.0)
        until(lambda: status == "opening" or camera.state.decoded or camera.state.last_error)
        assert closes_within(camera, 2.0)
        assert camera.state.status == Status.LOST


@pytest.mark.rtsp
def test_close_is_prompt_while_the_camera_hangs(rtsp_server: Callable[..., Any]) -> None:
    server = rtsp_server()
    camera = LiveCamera("front", server.url, SIZE, stale_after_s=0.3)
    collect(camera, 2)
    server.hang()
    becomes(camera, Status.STALE, 3.0)
    assert closes_within(camera, 2.0)
    assert camera.read(0.0) is None


def closes_within(camera: LiveCamera, limit_s: float) -> bool:
    begun = time.monotonic()
    camera.close()
    return time.monotonic() - begun < limit_s
