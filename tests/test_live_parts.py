"""What a live camera is made of: its clock, its mailbox, its waits and its URL."""

from __future__ import annotations

import random
import threading

import pytest

from engines.errors import ConfigError
from monitor.live.camera import BACKOFF_CAP_S, BACKOFF_FIRST_S, LiveCamera, backoff_s
from monitor.live.mailbox import Mailbox
from monitor.live.media_clock import MediaClock
from monitor.live.source import parse

SIZE = (90, 160)


@pytest.mark.parametrize(
    ("arrivals", "expected_s", "late_s"),
    [
        pytest.param(
            [(5.0, 10.0), (5.1, 10.3), (5.2, 10.31)], [0.0, 0.1, 0.2], 0.0, id="stamps-not-arrivals"
        ),
        pytest.param([(5.0, 10.0), None, (0.0, 14.0), (0.1, 14.1)], [0.0, 4.0, 4.1], 0.0, id="outage-lasts"),
        pytest.param([(5.0, 10.0), (4.0, 10.2), (4.1, 10.3)], [0.0, 0.2, 0.3], 0.0, id="backwards"),
        pytest.param([(5.0, 10.0), (900.0, 10.2), (900.1, 10.3)], [0.0, 0.2, 0.3], 0.0, id="leap"),
        pytest.param([(5.0, 10.0), (5.0, 10.04)], [0.0, 0.04], 0.0, id="repeated"),
        pytest.param([(None, 10.0), (None, 10.5), (3.0, 10.6)], [0.0, 0.5, 0.6], 0.0, id="absent"),
        pytest.param([(5.0, 10.0), (5.1, 12.1)], [0.0, 0.1], 2.0, id="held-up"),
        pytest.param(
            [(5.0, 10.0), (5.1, 12.1), None, (0.0, 14.0)], [0.0, 0.1, 4.0], 0.0, id="held-up-then-outage"
        ),
    ],
)
def test_media_clock(
    arrivals: list[tuple[float | None, float] | None], expected_s: list[float], late_s: float
) -> None:
    clock = MediaClock()
    times = []
    for arrival in arrivals:
        if arrival is None:
            clock.interrupt()
        else:
            times.append(clock.at(*arrival))
    assert times == pytest.approx(expected_s)
    assert clock.late_s == pytest.approx(late_s)


def test_two_pictures_at_one_moment_still_differ_in_time() -> None:
    clock = MediaClock()
    assert clock.at(None, 10.0) < clock.at(None, 10.0) < clock.at(None, 10.0)


@pytest.mark.parametrize(
    ("attempt", "ceiling_s"),
    [(0, BACKOFF_FIRST_S), (1, 0.5), (4, 4.0), (6, 16.0), (7, BACKOFF_CAP_S), (10_000, BACKOFF_CAP_S)],
)
def test_backoff_draws_from_the_whole_of_a_growing_capped_range(attempt: int, ceiling_s: float) -> None:
    rng = random.Random(7)
    delays = [backoff_s(attempt, rng) for _ in range(500)]
    assert 0.0 <= min(delays) < 0.05 * ceiling_s
    assert 0.95 * ceiling_s < max(delays) <= ceiling_s


def test_mailbox_keeps_the_newest_and_counts_the_rest() -> None:
    box: Mailbox[int] = Mailbox()
    for item in range(5):
        box.put(item)
    assert (box.take(0.0), box.take(0.0), box.dropped) == (4, None, 4)


def test_closing_a_mailbox_wakes_who_waits_and_ends_deliveries() -> None:
    box: Mailbox[int] = Mailbox()
    taken: list[int | None] = []
    waiter = threading.Thread(target=lambda: taken.append(box.take(30.0)))
    waiter.start()
    box.close()
    waiter.join(5.0)
    box.put(1)
    assert taken == [None]
    assert box.take(0.0) is None


@pytest.mark.parametrize(
    ("url", "address", "demuxer"),
    [
        ("rtsp://host/a", "rtsp://host/a", None),
        ("https://host/a.m3u8", "https://host/a.m3u8", None),
        ("usb:2", "/dev/video2", "v4l2"),
        ("/dev/video0", "/dev/video0", "v4l2"),
        ("lavfi:testsrc2=size=64x48", "testsrc2=size=64x48", "lavfi"),
        ("loop:drives/a:b.mp4", "drives/a:b.mp4", None),
    ],
)
def test_url(url: str, address: str, demuxer: str | None) -> None:
    source = parse("camera", url, "udp", {"video_size": "640x480"})
    assert (source.address, source.demuxer) == (address, demuxer)
    assert source.options["video_size"] == "640x480"
    assert source.options.get("rtsp_transport") == ("udp" if url.startswith("rtsp") else None)


@pytest.mark.parametrize(
    "url", ["", "usb:front", "rtsp:host", "loop:", "drive.mp4", "ftp://me:secret@host/a"]
)
def test_a_url_that_can_never_work_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="must begin with") as caught:
        LiveCamera("front", url, SIZE)
    assert "secret" not in str(caught.value)
