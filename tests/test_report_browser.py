"""The report in a real browser: drawn, quiet on the network, readable at every width."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from monitor.events import Event, Phase, Verdict
from monitor.report.recordings import Band, ChannelTrace, EventView, Recording, Report, write_report

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = Path("/usr/bin/chromium")
QUIET = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
DEADLINE_MS = 20_000

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}: apt-get install chromium"),
]


def jpeg(hue: int) -> bytes:
    picture = np.full((90, 160, 3), (hue, 140, 120), np.uint8)
    cv2.line(picture, (80, 45), (20, 90), (240, 240, 240), 3)
    cv2.line(picture, (80, 45), (140, 90), (240, 240, 240), 3)
    done, data = cv2.imencode(".jpg", picture)
    assert done
    return data.tobytes()


def drive(name: str) -> Recording:
    fps, seconds = 25, 200
    time_s = np.arange(fps * seconds) / fps
    surprise = np.random.default_rng(0).normal(5, 1, len(time_s))
    surprise[(time_s > 72) & (time_s < 96)] += 15
    surprise[(time_s > 123) & (time_s < 141)] = np.nan
    away = Event("d", 1, Phase.END, Verdict.LEFT_DOMAIN, "", 72, 73.3, 97, 97, "surprise", 18, 11, 9, 80)
    black = Event(
        "d", 2, Phase.UPDATE, Verdict.CAMERA_FAULT, "black", 123, 123.2, 200, None, "luma", 2, 16, 14, 124
    )
    return Recording(
        name=name,
        frames=len(time_s),
        duration_s=float(seconds),
        size=(1280, 720),
        fps=float(fps),
        time_s=time_s,
        channels=(
            ChannelTrace("surprise", "nats", surprise, surprise, 11.0, "How strange the scene is."),
            ChannelTrace(
                "luma", "levels", 100 + 9 * np.sin(time_s), None, 16.0, "How bright the picture is."
            ),
        ),
        verdict=[
            Band(0, 73.3, Verdict.OK, ""),
            Band(73.3, 97, Verdict.LEFT_DOMAIN, ""),
            Band(97, 123.2, Verdict.OK, ""),
            Band(123.2, 200, Verdict.CAMERA_FAULT, "black"),
        ],
        events=(
            EventView(away, jpeg(20), jpeg(90), "Stranger than any normal drive."),
            EventView(black, jpeg(0), jpeg(90), "Five frames in a row were black."),
        ),
        thumbnails=tuple((200 * (i + 0.5) / 24, jpeg(i * 10)) for i in range(24)),
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(
            executable_path=str(CHROMIUM), args=[*QUIET.split(), "--no-first-run"], timeout=60_000
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    nasty = "a_long_name_" * 12 + "<img src=http://bad.example/x>.mp4"
    facts = {"Bundle": "highway", "Budget": "1 false alarm in 10 h", "SHA-256": "9f86d081" * 8}
    recordings = (drive("drive.mp4"), drive(nasty))
    write_report(path, Report("Two drives", facts, recordings, "sightline replay " + "x" * 300, "0.1.0"))
    return path.as_uri()


class Visit:
    """A page opened at one width and colour scheme, with everything it asked for and complained of."""

    def __init__(self, browser: object, address: str, width: int, scheme: str) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[attr-defined]
        self.page.set_default_timeout(DEADLINE_MS)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("#c1 .scatterlayer path.js-line")

    def colour(self, selector: str) -> str:
        return str(self.page.eval_on_selector(selector, "e => getComputedStyle(e).fill"))


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["wide, light", "narrow, dark"])
def visit(request: pytest.FixtureRequest, browser: object, address: str) -> Iterator[Visit]:
    opened = Visit(browser, address, *request.param)
    yield opened
    opened.page.close()


def test_all_is_drawn_and_fits(visit: Visit) -> None:
    page = visit.page
    for chart in ("#c1", "#c2"):
        page.locator(chart).scroll_into_view_if_needed()
        page.wait_for_selector(f"{chart} .scatterlayer path.js-line")
        assert page.locator(f"{chart} .scatterlayer g.trace").count() == 3
        assert page.locator(f"{chart} .barlayer .point path").count() == 4
        assert page.locator(f"{chart} .shapelayer path").count() == 4, "two thresholds, two events"
    assert page.locator("article.event").count() == 4
    assert page.locator("article.event .badge").first.inner_text() == "left its domain"
    loaded = page.eval_on_selector_all("img", "all => all.every(i => i.complete && i.naturalWidth > 0)")
    assert loaded
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"
    assert visit.complaints == []
    assert [url for url in visit.asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_hover_shows_the_values_and_the_verdict(visit: Visit) -> None:
    visit.page.locator("#c1").scroll_into_view_if_needed()
    box = visit.page.locator("#c1 .nsewdrag").first.bounding_box()
    assert box
    visit.page.mouse.move(box["x"] + box["width"] * 85 / 200, box["y"] + box["height"] * 0.5)
    visit.page.wait_for_selector("#c1 .hoverlayer .legendtext")
    shown = " ".join(visit.page.locator("#c1 .hoverlayer text").all_text_contents())
    assert re.search(r"01:2\d", shown)
    assert "left its domain" in shown
    assert re.search(r"surprise, smoothed : [12]\d(\.\d+)? nats", shown)
    assert (
        visit.page.locator("#c1").evaluate("c => c.closest('.panel').querySelectorAll('li.now').length") == 1
    )


def test_an_event_is_shown_in_the_chart_and_back(visit: Visit) -> None:
    page = visit.page
    page.locator("#r1e1 button").click()
    page.wait_for_function("document.getElementById('c1').layout.xaxis.range[0] > 86400000 + 40000")
    begin, end = page.evaluate("document.getElementById('c1').layout.xaxis.range.map(v => v - 86400000)")
    assert (begin, end) == (47_000, 122_000), "the event from 72 s to 97 s, and as much again on both sides"
    film = page.evaluate("getComputedStyle(document.querySelector('.film ol')).width")
    strip = page.evaluate("document.querySelector('.film').clientWidth")
    assert float(film.removesuffix("px")) / strip == pytest.approx(200 / 75, rel=0.01), (
        "pictures follow the zoom"
    )
    page.locator("#r1 .whole").click()
    page.wait_for_function("document.getElementById('c1').layout.xaxis.range[0] === 86400000")
    assert not page.locator("#r1 .whole").is_visible()


def test_the_chart_follows_the_colour_scheme(visit: Visit) -> None:
    page = visit.page
    before = visit.colour("#c1 .annotation text")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    page.emulate_media(color_scheme="light" if dark else "dark")
    page.wait_for_function(
        "was => getComputedStyle(document.querySelector('#c1 .annotation text')).fill !== was", arg=before
    )
    ink = page.evaluate("getComputedStyle(document.querySelector('#c1')).color")
    assert visit.colour("#c1 .annotation text") == ink
    assert visit.complaints == []


def test_the_number_of_an_event_leads_to_its_card(visit: Visit) -> None:
    visit.page.locator("#c1 .annotation", has_text=re.compile("^1$")).click()
    visit.page.wait_for_function("location.hash === '#r1e1'")
    assert visit.page.locator("#r1e1:target").count() == 1


def test_print_draws_every_chart(visit: Visit) -> None:
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    visit.page.wait_for_selector("#c2 .scatterlayer path.js-line", state="attached")
    assert visit.page.locator(".chart .scatterlayer g.trace").count() == 6
