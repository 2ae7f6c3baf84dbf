"""A real RTSP camera for tests: H.264 over RTSP, run by Debian's own /usr/bin/python3.

    /usr/bin/python3 tests/rtsp_server.py PORT MOUNT [--size 640x360] [--fps 30] [--login USER:PASSWORD]

Prints ``ready URL`` on one line once it answers. Each picture is moving noise with the time it was drawn,
in milliseconds of the monotonic clock (which all processes of a machine share), as a barcode in its top
rows: 32 equal cells, the highest bit first, white is 1. SIGSTOP is a camera that hangs, SIGKILL one that
loses power.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import gi
import numpy as np

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

BITS = 32
BARCODE_ROWS = 16
PIPELINE = (
    "( appsrc name=pictures is-live=true do-timestamp=true format=time max-buffers=1"
    " caps=video/x-raw,format=I420,width={width},height={height},framerate={fps}/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} bitrate=4000 threads=1"
    " ! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


class Pictures:
    """Draws I420 pictures at a steady rate, one whenever the encoder asks for more."""

    def __init__(self, width: int, height: int, fps: int) -> None:
        coarse = np.random.default_rng(0).integers(40, 216, (height // 8 + 1, width // 8 + 1), np.uint8)
        self._noise = np.kron(coarse, np.ones((8, 8), np.uint8))[:height, :width]
        self._chroma = np.full(width * height // 2, 128, np.uint8)
        self._width, self._period_s, self._due, self._count = width, 1.0 / fps, time.monotonic(), 0

    def push(self, source: Any, _length: int) -> None:
        now = time.monotonic()
        time.sleep(max(0.0, self._due - now))
        self._due = max(self._due, now) + self._period_s
        self._count += 1
        luma = np.roll(self._noise, 4 * self._count, axis=1)
        stamp_ms = int(time.monotonic() * 1000) % 2**BITS
        bits = np.array([stamp_ms >> (BITS - 1 - i) & 1 for i in range(BITS)])
        luma[:BARCODE_ROWS] = 16
        cells = 16 + 219 * np.repeat(bits, self._width // BITS)
        luma[:BARCODE_ROWS, : cells.size] = cells
        picture = luma.tobytes() + self._chroma.tobytes()
        source.emit("push-buffer", Gst.Buffer.new_wrapped(picture))


def serve(port: int, mount: str, size: tuple[int, int], fps: int, login: str) -> None:
    """Serve until a signal ends the process."""
    width, height = size
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE.format(width=width, height=height, fps=fps))
    factory.set_shared(True)

    def configure(_factory: Any, media: Any) -> None:
        source = media.get_element().get_child_by_name("pictures")
        source.connect("need-data", Pictures(width, height, fps).push)

    factory.connect("media-configure", configure)
    if login:
        require(server, factory, *login.split(":", 1))
    server.get_mount_points().add_factory(mount, factory)
    server.attach(None)
    print(f"ready rtsp://127.0.0.1:{server.get_bound_port()}{mount}", flush=True)
    GLib.MainLoop().run()


def require(server: Any, factory: Any, user: str, password: str) -> None:
    """Let in only ``user`` with ``password`` (RFC 2617 basic authentication)."""
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("port", type=int)
    parser.add_argument("mount")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--login", default="")
    parser.add_argument(
        "--check", action="store_true", help="only say whether all that is needed is installed"
    )
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    Gst.init(None)
    missing = [name for name in ("appsrc", "x264enc", "rtph264pay") if not Gst.ElementFactory.find(name)]
    if missing:
        sys.exit(f"GStreamer must have {' '.join(missing)}")
    if not options.check:
        serve(options.port, options.mount, (width, height), options.fps, options.login)


if __name__ == "__main__":
    main()
