"""The report as a file: what it says, what it escapes, what it refuses, that it needs no network."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import OutputError
from monitor.events import Event, Phase, Verdict
from monitor.report.chart import DAY_MS, decimated, figure, ticks_ms
from monitor.report.recordings import (
    Band,
    ChannelTrace,
    EventView,
    Recording,
    Report,
    headline,
    render,
    write_report,
)
from monitor.report.words import clock, label, quantity, span

NASTY = "</script><img src=http://bad.example/x onerror=alert(1)>\"'&amp;%{y}"


def jpeg(level: int = 120) -> bytes:
    picture = np.full((36, 64, 3), level, np.uint8)
    cv2.circle(picture, (32, 18), 9, (40, 90, 200), -1)
    done, data = cv2.imencode(".jpg", picture)
    assert done
    return data.tobytes()


def event(number: int = 1, **changes: object) -> Event:
    told = Event(
        stream="drive",
        number=number,
        phase=Phase.END,
        kind=Verdict.LEFT_DOMAIN,
        mode="",
        onset_s=72.04,
        detected_s=73.32,
        time_s=96.8,
        end_s=96.8,
        channel="surprise",
        value=18.42,
        threshold=11.3,
        peak=9.1,
        peak_s=80.2,
    )
    return replace(told, **changes)  # type: ignore[arg-type]


BLACK = event(2, kind=Verdict.CAMERA_FAULT, mode="black", onset_s=123.0, detected_s=123.2, end_s=None)


def recording(frames: int = 2000, fps: float = 10.0, **changes: object) -> Recording:
    time_s = np.arange(frames) / fps
    values = np.random.default_rng(0).normal(5, 1, frames)
    trace = ChannelTrace("surprise", "nats", values, values, 11.3, "How strange the scene is.")
    made = Recording("drive.mp4", frames, frames / fps, (1280, 720), fps, time_s, (trace,))
    return replace(made, **changes)  # type: ignore[arg-type]


def report(*recordings: Recording, **facts: str) -> Report:
    return Report("A drive", facts, recordings, "sightline replay drive.mp4 --report a.html", "1.2.3")


class Page(HTMLParser):
    """A page as a browser's parser would see it: its elements, and its text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.scripts: dict[str, str] = {}
        self._inside = ""
        self.feed(page)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        self.elements.append((tag, known))
        self._inside = (known.get("id") or tag) if tag in {"script", "style"} else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[self._inside] = self.scripts.get(self._inside, "") + data
        else:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(recording(), "nothing to report in 3 min 20 s", id="quiet"),
        pytest.param(recording(0), "no frame could be read", id="no frames"),
        pytest.param(recording(1), "nothing to report in 1 frame", id="one frame"),
        pytest.param(
            recording(events=(EventView(event(), b"", None, ""), EventView(BLACK, b"", None, ""))),
            "2 events in 3 min 20 s: left its domain at 01:12, camera fault (black) at 02:03",
            id="two events",
        ),
        pytest.param(
            recording(events=tuple(EventView(event(i), b"", None, "") for i in range(1, 10))),
            "9 events in 3 min 20 s: " + ", ".join(["left its domain at 01:12"] * 4) + " and 5 more",
            id="many events",
        ),
        pytest.param(
            recording(
                0,
                events=(
                    EventView(
                        replace(BLACK, kind=Verdict.NO_SIGNAL, mode="no_frames", onset_s=0), b"", None, ""
                    ),
                ),
            ),
            "1 event in 0 s: no signal at 00:00",
            id="an event without a frame",
        ),
    ],
)
def test_headline(made: Recording, expected: str) -> None:
    assert headline(made) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param(clock(3723.9), "1:02:03", id="clock with hours"),
        pytest.param(clock(59.996, exact=True), "01:00.00", id="exact clock carries over"),
        pytest.param(clock(float("nan")), "–", id="clock of nothing"),
        pytest.param(span(0.04), "0.04 s", id="span of one frame"),
        pytest.param(span(59.7), "1 min 0 s", id="span carries over"),
        pytest.param(span(7500), "2 h 5 min", id="span with hours"),
        pytest.param(quantity(float("nan"), "nats"), "–", id="no value"),
        pytest.param(quantity(1.23456, ""), "1.235", id="no unit"),
        pytest.param(label(Verdict.CAMERA_FAULT, "dead_pixels"), "camera fault (dead pixels)", id="label"),
        pytest.param(label(Verdict.STALE, "no_frames"), "stale", id="label of a silence"),
    ],
)
def test_words(said: str, expected: str) -> None:
    assert said == expected


@pytest.mark.parametrize("frames", [0, 1, 4000, 4001, 12_345, 300_000])
def test_decimation_bounds_the_points_and_keeps_the_extremes(frames: int) -> None:
    values = np.random.default_rng(frames).normal(size=frames)
    time_s = np.arange(frames) / 30
    peaks = np.random.default_rng(1).integers(0, frames, 5) if frames else np.array([], int)
    for i, peak in enumerate(peaks):
        values[peak] = 50 + i
    time, value = decimated(time_s, values)
    assert len(time) == len(value) <= 4000
    assert len(time) >= min(frames, 2000)
    assert np.all(np.diff(time) > 0)
    if frames:
        assert value.max() == values.max()
        assert value.min() == values.min()
        assert set(zip(time, value, strict=True)) <= set(zip(time_s, values, strict=True))


def test_decimation_keeps_gaps_as_gaps() -> None:
    values = np.ones(40_000)
    values[10_000:20_000] = np.nan
    values[30_000] = np.inf
    time, value = decimated(np.arange(40_000.0), values)
    inside = (time >= 10_020) & (time < 19_980)
    assert inside.sum() > 400
    assert np.isnan(value[inside]).all()
    assert np.isfinite(value[~inside]).mean() > 0.99
    assert not np.isinf(value).any()


def test_a_channel_must_have_one_value_per_frame() -> None:
    trace = ChannelTrace("surprise", "nats", np.zeros(3))
    with pytest.raises(ValueError, match=r"surprise: must have one value per frame \(2000\), got 3"):
        recording(channels=(trace,))


def test_the_chart_holds_the_traces_the_threshold_and_the_events() -> None:
    values = np.array([1.0, np.nan, 3.0])
    time_s = np.array([0.0, 0.5, 1.0])
    traces = (
        ChannelTrace("surprise", "nats", values, values + 1, 2.5),
        ChannelTrace("sharp & clear", "levels", values),
    )
    bands = [Band(0, 0.5, Verdict.OK, ""), Band(0.5, 1.5, Verdict.CAMERA_FAULT, "black")]
    fault = replace(BLACK, onset_s=0.5)
    chart = figure(1.5, time_s, traces, bands, [(fault, "here")])
    lines = {trace.name: trace for trace in chart.data if trace.type == "scatter"}
    assert set(lines) == {"surprise, each frame", "surprise, smoothed", "sharp &amp; clear, each frame"}
    np.testing.assert_array_equal(lines["surprise, smoothed"].y, np.array([2, np.nan, 4]))
    np.testing.assert_array_equal(lines["surprise, smoothed"].x, DAY_MS + np.array([0, 500, 1000]))
    assert len({trace.xaxis for trace in chart.data}) == 1, "all rows zoom together"
    bars = [(list(bar.base - DAY_MS), list(bar.x), list(bar.text)) for bar in chart.data if bar.type == "bar"]
    assert bars == [([0], [500], ["all right"]), ([500], [1000], ["black"])]
    threshold, shade = chart.layout.shapes
    assert (threshold.y0, threshold.y1, threshold.yref) == (2.5, 2.5, "y2")
    assert (shade.x0 - DAY_MS, shade.x1 - DAY_MS) == (500, 1500), "an event without an end lasts to the end"


def test_ticks_are_never_taken_for_years() -> None:
    assert ticks_ms(0.0) == DAY_MS > 9999


def test_the_page_says_what_happened_and_why() -> None:
    views = (
        EventView(event(), jpeg(), jpeg(90), "Stranger than any normal drive for 1.3 s."),
        EventView(BLACK, b"", None, "Five frames in a row were black."),
    )
    bands = [
        Band(0, 73, Verdict.OK, ""),
        Band(73, 97, Verdict.LEFT_DOMAIN, ""),
        Band(97, 200, Verdict.OK, ""),
    ]
    made = recording(events=views, verdict=bands, notes=("truncated after frame 123",))
    page = Page(render(report(made, Budget="1 false alarm in 10 h", Encoder="tiny")))
    for said in (
        "2 events in 3 min 20 s: left its domain at 01:12, camera fault (black) at 02:03.",
        "all right 88 %",
        "truncated after frame 123",
        "01:12.04",
        "01:13.32 (+1.28 s)",
        "01:36.80",
        "still on at the end",
        "18.42 nats",
        "11.3 nats",
        "9.1 nats at 01:20",
        "Stranger than any normal drive for 1.3 s.",
        "no picture",
        "1 false alarm in 10 h",
        "sightline replay drive.mp4 --report a.html",
        "sightline 1.2.3",
        "the lowest and the highest of each stretch",
        "How strange the scene is.",
    ):
        assert said in page.text, said
    assert [one["class"] for one in page.all("article")] == ["event card"] * 2
    assert len(page.all("img")) == 2


def test_every_picture_has_words() -> None:
    made = recording(
        events=(EventView(event(), jpeg(), jpeg(), "why"),),
        thumbnails=tuple((float(i), jpeg(i)) for i in range(40)),
    )
    page = Page(render(report(made)))
    pictures = page.all("img")
    assert len(pictures) == 16 + 2
    assert all(picture["alt"] for picture in pictures)
    assert all(
        base64.b64decode(p["src"].removeprefix("data:image/jpeg;base64,"))[:2] == b"\xff\xd8"
        for p in pictures
    )
    (chart,) = [one for one in page.all("div") if one.get("role") == "img"]
    assert "left its domain at 01:12" in chart["aria-label"]


@pytest.mark.parametrize("shown", [1, 2, 7, 8, 11, 16, 40])
def test_the_film_covers_the_recording_without_holes(shown: int) -> None:
    pictures = tuple((200 * (i + 0.5) / shown, jpeg()) for i in range(shown))
    page = Page(render(report(recording(thumbnails=pictures))))
    cells = [one for one in page.all("li") if "data-start" in one]
    edges = [(float(cell["data-start"]), float(cell["data-end"])) for cell in cells]
    assert edges[0][0] == 0
    assert edges[-1][1] == 200_000
    assert all(one[1] == other[0] for one, other in pairwise(edges))


def test_the_page_asks_nothing_of_a_network() -> None:
    made = recording(events=(EventView(event(), jpeg(), jpeg(), "why"),), thumbnails=((1.0, jpeg()),))
    text = render(report(made))
    page = Page(text)
    links = [
        a[k]
        for _, a in page.elements
        for k in ("src", "href", "srcset", "action", "data", "poster")
        if k in a
    ]
    assert len(links) > 3
    assert [link for link in links if not link.startswith(("data:", "#"))] == []
    assert not re.search(r"@import|url\(", page.scripts["style"])
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_markup_in_names_is_text() -> None:
    trace = ChannelTrace(NASTY, NASTY, np.arange(5.0), None, 3.0, NASTY)
    told = replace(event(), channel=NASTY)
    made = recording(
        5,
        name=NASTY,
        channels=(trace,),
        notes=(NASTY,),
        events=(EventView(told, jpeg(), jpeg(), NASTY),),
        verdict=[Band(0, 0.5, Verdict.CAMERA_FAULT, NASTY)],
        thumbnails=((0.0, jpeg()),),
    )
    shown = Report(NASTY, {NASTY: NASTY}, (made, made), NASTY, NASTY)
    page = Page(render(shown))
    assert all(picture["src"].startswith("data:") for picture in page.all("img"))
    assert not [a for _, a in page.elements if "onerror" in a]
    assert len(page.all("script")) == 2 + 1 + 2, "one chart a recording, the dark colours, and two that run"
    assert page.text.count(NASTY) >= 8
    drawn = json.loads(page.scripts["f1"])
    titles = [unescape(note["text"]) for note in drawn["layout"]["annotations"]]
    assert f"<b>{NASTY}</b> · {NASTY.replace('%{', '% {')}" in titles
    assert not any("<img" in note["text"] for note in drawn["layout"]["annotations"])


@pytest.mark.parametrize(
    "made",
    [
        pytest.param((), id="no recording"),
        pytest.param((replace(recording(0), size=(0, 0), fps=0.0),), id="no frame"),
        pytest.param(
            (recording(0, events=(EventView(BLACK, b"", None, ""),)),), id="an event without a frame"
        ),
        pytest.param((recording(1),), id="one frame"),
        pytest.param((recording(3, channels=()),), id="no channel"),
        pytest.param(
            (
                recording(
                    3, channels=(ChannelTrace("s", "", np.full(3, np.nan), np.full(3, np.inf), np.nan),)
                ),
            ),
            id="nothing finite",
        ),
        pytest.param((recording(9), recording(0), recording(1)), id="mixed"),
    ],
)
def test_poor_input_still_makes_a_page(made: tuple[Recording, ...], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, report(*made))
    page = Page(path.read_text("utf-8"))
    charts = [one["id"] for one in page.all("div") if one.get("class") == "chart"]
    assert len(charts) == sum(one.frames > 0 for one in made)
    assert {one["data-chart"] for one in page.all("button")} <= set(charts), "every button has its chart"
    assert len(page.all("section")) == len(made) + 1 + (len(made) > 1)


def test_a_name_that_is_no_utf8_is_written(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, report(recording(3, name=b"caf\xe9.mp4".decode("utf-8", "surrogateescape"))))
    assert "caf?.mp4" in path.read_text("utf-8")


def test_an_older_report_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("older")
    write_report(path, report(recording(3)))
    assert path.read_text("utf-8").startswith("<!doctype html>")
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("where", ["missing/report.html", "file/report.html", "folder"])
def test_what_cannot_be_written_is_one_line(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="must be a file that can be written") as caught:
        write_report(tmp_path / where, report())
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 7
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder"]
