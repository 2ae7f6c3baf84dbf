"""What a replay keeps and shows of each event: in a folder, in the report, and in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engines.normal import Neighbour
from engines.rendered import Segment, render, write_video
from monitor.alerts import Evidence, Model, alert, decode, encode
from monitor.events import Event, Phase, RunnerUp, Verdict
from monitor.evidence.clips import Clip
from monitor.replay import Trace
from monitor.report.cards import ClipView, EventView, card
from monitor.report.replay import Room
from monitor.watch_command import reason

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = Path("/usr/bin/chromium")
EVENT = Event(
    "drive", 1, Phase.END, Verdict.LEFT_DOMAIN, "", 7.0, 8.5, 14.0, 12.0, "domain", 4.0, 3.0, 6.0, 9.0,
    unit="nats", p_value=0.0123, budget_per_hour=0.5,
    runner_up=RunnerUp(Verdict.CAMERA_FAULT, "blur", "sharpness_fall", 0.82),
)  # fmt: skip


def jpeg(hue: int) -> bytes:
    done, data = cv2.imencode(".jpg", np.full((90, 160, 3), (hue, 140, 120), np.uint8))
    assert done
    return data.tobytes()


def view(**changes: object) -> EventView:
    nearest = tuple(Neighbour(f"000_{i}.jpg", "<i>d", 60.0 * i, 2.5 + i, jpeg(40 * i)) for i in range(3))
    made = EventView(
        EVENT, jpeg(10), jpeg(90), "Why.", jpeg(200), nearest, 1.5, ClipView(2.0, 4, "h264", b"mp4!")
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def drawn(shown: EventView) -> str:
    return card(shown, "drive.mp4", 30.0, "", anchor="r1e1", chart="c1")


def test_a_card_says_what_spoke_how_surely_and_what_else_it_might_have_been() -> None:
    text = re.sub(r"<[^>]+>", " ", re.sub(r"</?d[td]>", "|", drawn(view())))
    for words in (
        "|P-value||0.0123|", "|Budget||0.5 false alarms per hour|", "|Value||4 nats|",
        "|Runner-up||camera fault (blur): sharpness fall at 82 % of its threshold|",
        "&lt;i&gt;d at 01:00, distance 3.5", "1.5 from one moment to the next is usual", "clip from 00:02",
    ):  # fmt: skip
        assert words in text
    bare = drawn(EventView(replace(EVENT, p_value=None, budget_per_hour=None, runner_up=None), b"", None, ""))
    for words in ("P-value", "Budget", "Runner-up", "Most like it", "<video", "strange here"):
        assert words not in bare


@pytest.mark.parametrize(
    ("clip", "words", "link"),
    [
        pytest.param(
            ClipView(2.0, 9_000_000, "hevc", b"", "../e/clip.mp4"),
            "lies beside this report",
            True,
            id="beside",
        ),
        pytest.param(
            ClipView(2.0, 9_000_000, "h264"), "keep it with --evidence FOLDER", False, id="left out"
        ),
    ],
)
def test_a_clip_that_is_not_in_the_page_is_said_to_be_elsewhere(
    clip: ClipView, words: str, link: bool
) -> None:
    page = drawn(view(clip=clip))
    assert words in page
    assert ('<a href="../e/clip.mp4">' in page) == link
    assert "<video" not in page
    assert "before" in page, "without the clip, a picture shows what was before"


def test_clips_are_embedded_as_long_as_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.report.replay.MOST_EMBEDDED", 25)
    trace = Trace("drive")
    for number, (name, codec) in enumerate(
        [("a.mp4", "h264"), ("b.mkv", "vp8"), ("c.mp4", "hevc"), ("d.mp4", "h264"), ("e.mp4", "h264")], 1
    ):
        (tmp_path / name).write_bytes(bytes(10))
        trace.clips[number] = Clip(tmp_path / name, 1.0, codec)
    room = Room(tmp_path, linked=True)
    clips = [room.clip(trace, number) for number in range(1, 7)]
    assert [clip and bool(clip.data) for clip in clips] == [True, False, False, True, False, None]
    assert [clip and clip.href for clip in clips] == ["a.mp4", "b.mkv", "c.mp4", "d.mp4", "e.mp4", None]
    left = Room(tmp_path, linked=False).clip(trace, 2)
    assert left is not None
    assert left.href == ""


def test_watch_says_why_in_a_line() -> None:
    kept = Evidence(folder="/e", snapshot="x/snapshot.jpg", clip="x/clip.mp4")
    start = replace(EVENT, phase=Phase.START, end_s=None)
    told = [
        alert(event, source="s", session="1", model=Model("m", "0"), evidence=kept).data
        for event in (start, EVENT)
    ]
    assert reason(told[0]) == "domain 4 over 3 (p 0.012), else camera fault blur; see x/snapshot.jpg"
    assert reason(told[1]) == "domain 4 (p 0.012), else camera fault blur; see x/clip.mp4"


def test_evidence_survives_the_wire_and_says_nothing_of_what_is_absent() -> None:
    made = alert(
        EVENT,
        source="s",
        session="1",
        model=Model("m", "0"),
        evidence=Evidence(folder="/e", notes=("no clip",)),
    )
    assert decode(encode(made)) == made
    assert b'"evidence":{"folder":"/e","notes":["no clip"]}' in encode(made)


@pytest.fixture(scope="module")
def replayed(rendered_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a replay's report.html, alone.html and evidence, of a drive that goes black, and the drive."""
    folder = tmp_path_factory.mktemp("replayed")
    script = (Segment("highway", 8.0), Segment("highway", 3.0, "black"), Segment("highway", 3.0))
    write_video(folder / "dark.mp4", (image for _, _, image in render(script, 31, (320, 180), 10.0)), 10.0)
    for options in (["--report", "report.html", "--evidence", "kept"], ["--report", "alone.html"]):
        command = [
            sys.executable,
            str(ROOT / "sightline.py"),
            "replay",
            "dark.mp4",
            "--bundle",
            str(rendered_bundle),
            *options,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder, check=False)
        assert done.returncode == 0, done.stderr
    return folder


def test_a_replay_keeps_its_evidence_and_embeds_it(replayed: Path) -> None:
    places = sorted((replayed / "kept").iterdir())
    assert [place.name for place in places] == [f"dark-{number:06d}" for number in range(1, len(places) + 1)]
    dark = {place: cv2.imread(str(place / "snapshot.jpg")) for place in places}
    (place,) = (place for place, shot in dark.items() if shot is not None and shot.mean() < 40)
    assert sorted(file.name for file in place.iterdir()) == [
        "clip.mp4", "heat_map.jpg", "normal_1.jpg", "normal_2.jpg", "normal_3.jpg", "snapshot.jpg",
    ]  # fmt: skip
    with av.open(str(replayed / "dark.mp4")) as container:
        theirs = {bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size}
    with av.open(str(place / "clip.mp4")) as container:
        mine = [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]
    assert len(mine) > 80
    assert set(mine) <= theirs
    report, alone = ((replayed / name).read_text() for name in ("report.html", "alone.html"))
    assert f'href="kept/{place.name}/clip.mp4"' in report
    for page in (report, alone):
        assert page.count("data:video/mp4;base64,") == len(places)
        assert "media-src data:" in page
    assert "Open the clip" not in alone


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_plays_the_clip_and_nothing_overlaps(replayed: Path, width: int) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"], timeout=60_000
        )
        page: Any = browser.new_page(viewport={"width": width, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((replayed / "alone.html").as_uri())
        page.wait_for_function("document.querySelector('video').readyState >= 2", timeout=20_000)
        assert page.evaluate("document.querySelector('video').duration") > 5.0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        boxes = page.eval_on_selector_all(
            ".event .pictures > figure, .event .nearest, .event .told > *",
            "all => all.map(e => e.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])",
        )
        browser.close()
    assert len(boxes) >= 8
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert right > left
        assert all(
            right <= x0 + 1 or x1 <= left + 1 or bottom <= y0 + 1 or y1 <= top + 1
            for x0, y0, x1, y1 in boxes[:i]
        )
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
