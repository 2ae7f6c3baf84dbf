"""The report of a replay: one HTML file that opens anywhere, with no network, and says what happened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.events import Verdict
from monitor.report.cards import EventView, card, facts, film
from monitor.report.chart import POINTS, Band, ChannelTrace, figure
from monitor.report.page import MARK, page, write_page
from monitor.report.words import LABELS, clock, count, grouped, label, sentence, span

__all__ = ["Band", "ChannelTrace", "EventView", "Recording", "Report", "headline", "render", "write_report"]

_NAMED = 4


USUAL = (Verdict.OK, Verdict.LEFT_DOMAIN, Verdict.CAMERA_FAULT)
"""Verdicts that a report names even where there are none of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """All that is known of one recording after its replay.

    size: width × height in pixels. time_s: float, one per frame; media seconds, rising.
    verdict: bands in order of time. thumbnails: (media seconds, JPEG) in order of time, at most 16 are shown.
    notes: plain sentences such as ``truncated after frame 123``.
    Raises ValueError when a channel has not one value per frame.
    """

    name: str
    frames: int
    duration_s: float
    size: tuple[int, int]
    fps: float
    time_s: NDArray[np.floating[Any]]
    channels: tuple[ChannelTrace, ...] = ()
    verdict: Sequence[Band] = ()
    events: tuple[EventView, ...] = ()
    thumbnails: tuple[tuple[float, bytes], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for channel in self.channels:
            for values in (channel.values, channel.smoothed):
                if values is not None and len(values) != len(self.time_s):
                    raise ValueError(
                        f"{self.name}, {channel.name}: must have one value per frame "
                        f"({len(self.time_s)}), got {len(values)}"
                    )


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The whole page. bundle: short facts in the order to be shown, such as name, encoder, budget, sha256."""

    title: str
    bundle: Mapping[str, str]
    recordings: tuple[Recording, ...]
    command: str
    version: str


def write_report(path: Path | str, report: Report) -> None:
    """Write ``report`` as one HTML file; the file appears whole or not at all. Raises OutputError."""
    write_page(path, render(report))


def render(report: Report) -> str:
    """Return the page."""
    return page(report.title, report.version, _body(report))


def headline(recording: Recording) -> str:
    """Return the recording in one line, such as ``1 event in 40 s: camera fault (black) at 00:12``."""
    told = [view.event for view in recording.events]
    length = "1 frame" if recording.frames == 1 else span(recording.duration_s)
    if not told:
        return f"nothing to report in {length}" if recording.frames else "no frame could be read"
    named = [f"{label(event.kind, event.mode)} at {clock(event.onset_s)}" for event in told[:_NAMED]]
    more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return f"{count(len(told), 'event')} in {length}: {', '.join(named)}{more}"


def _body(report: Report) -> str:
    # The headline of a recording that is alone is the page's.
    alone = len(report.recordings) == 1
    recordings = "".join(_recording(i, one, alone) for i, one in enumerate(report.recordings, 1))
    return (
        f'<header class="wide"><p class="mark">{MARK}Sightline</p><h1>{escape(report.title)}</h1>'
        f'<p class="lead">{escape(_lead(report.recordings))}</p>{_tiles(report.recordings)}</header>'
        f'<main class="wide">{_index(report.recordings)}{recordings}{_taught(report)}</main>'
        f'<footer class="wide soft small">Written by sightline {escape(report.version)}. Times are media '
        "time from the first frame. This page is complete in itself and asks nothing of any network."
        "<noscript> The score traces need JavaScript; all else reads without.</noscript></footer>"
    )


def _lead(recordings: Sequence[Recording]) -> str:
    if len(recordings) == 1:
        return sentence(headline(recordings[0]))
    length = f"{count(len(recordings), 'recording')}, {span(sum(one.duration_s for one in recordings))}"
    total = sum(len(one.events) for one in recordings)
    if not total:
        return f"Nothing to report in {length}."
    return f"{count(total, 'event')} in {sum(bool(one.events) for one in recordings)} of {length}."


def _tiles(recordings: Sequence[Recording]) -> str:
    kinds = [view.event.kind for one in recordings for view in one.events]
    bands = [Band(*band) for one in recordings for band in one.verdict]
    told_s = sum(band.end_s - band.start_s for band in bands)
    fine_s = sum(band.end_s - band.start_s for band in bands if band.verdict == Verdict.OK)
    # Cut, not rounded: 100 % is said only of footage that was all right throughout.
    share = f"{int(1000 * fine_s / told_s) / 10:g} %" if told_s > 0 else "–"
    tiles = [
        ("", "watched", span(sum(one.duration_s for one in recordings))),
        ("", "frames", grouped(sum(one.frames for one in recordings))),
        (Verdict.OK.value, LABELS[Verdict.OK], share),
        *(
            (kind.value, LABELS[kind], str(kinds.count(kind)))
            for kind in list(Verdict)[1:]
            if kind in USUAL or kind in kinds
        ),
    ]
    cells = "".join(
        '<div class="card"><dt>' + (f'<i class="swatch {kind}"></i>' if kind else "") + f"{name}</dt>"
        f"<dd>{value}</dd></div>"
        for kind, name, value in tiles
    )
    return f'<dl class="tiles">{cells}</dl>'


def _index(recordings: Sequence[Recording]) -> str:
    if len(recordings) < 2:
        return ""
    rows = "".join(
        f'<li{" class=quiet" if not one.events else ""}><a href="#r{number}">{escape(one.name)}</a>'
        f"<span>{escape(headline(one))}</span></li>"
        for number, one in enumerate(recordings, 1)
    )
    return f'<section><h2>Recordings</h2><ol class="index card">{rows}</ol></section>'


def _recording(number: int, recording: Recording, alone: bool) -> str:
    width, height = recording.size
    known = [count(recording.frames, "frame"), span(recording.duration_s)]
    known += [f"{width} × {height}"] * (width > 0) + [f"{recording.fps:.4g} frames/s"] * (recording.fps > 0)
    told = "" if alone else f'<p class="headline">{escape(sentence(headline(recording)))}</p>'
    notes = "".join(f"<li>{escape(note)}</li>" for note in recording.notes)
    units = {channel.name: channel.unit for channel in recording.channels}
    cards = "".join(
        card(
            view,
            recording.name,
            recording.duration_s,
            units.get(view.event.channel, ""),
            anchor=f"r{number}e{view.event.number}",
            chart=f"c{number}" if recording.frames else "",
        )
        for view in recording.events
    )
    return (
        f'<section class="recording" id="r{number}"><h2>{escape(recording.name)}</h2>{told}'
        f'<p class="soft small">{" · ".join(known)}</p>'
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
        + (_panel(number, recording) if recording.frames else "")
        + (f'<div class="events">{cards}</div>' if cards else "")
        + "</section>"
    )


def _panel(number: int, recording: Recording) -> str:
    chart = figure(
        recording.duration_s,
        recording.time_s,
        recording.channels,
        recording.verdict,
        [(view.event, f"r{number}e{view.event.number}") for view in recording.events],
    )
    span_s = max(recording.duration_s, 1.0)
    names = ", ".join(channel.name for channel in recording.channels) or "no channel"
    spoken = f"Verdicts and scores ({names}) over time. {sentence(headline(recording))}"
    # plotly writes < and / of its JSON as escapes, so that no name can close the element.
    return (
        '<figure class="panel card">'
        + film(recording.name, recording.size, recording.thumbnails, span_s)
        + f'<script type="application/json" id="f{number}">{chart.to_json()}</script>'
        f'<div class="chart" id="c{number}" data-figure="f{number}" data-span="{span_s * 1000:.0f}" '
        f'role="img" aria-label="{escape(spoken)}" style="height:{chart.layout.height}px"></div>'
        f'<figcaption class="key">{_key(number, recording)}</figcaption>{_meanings(recording.channels)}</figure>'
    )


def _key(number: int, recording: Recording) -> str:
    seen = {*USUAL, *(Band(*band).verdict for band in recording.verdict)}
    swatches = [(kind.value, text) for kind, text in LABELS.items() if kind in seen]
    swatches += [("stroke", "smoothed"), ("stroke each", "each frame"), ("stroke bar", "threshold")]
    return (
        "".join(f'<span><i class="swatch {name}"></i>{text}</span>' for name, text in swatches)
        + '<span class="hint">Drag across to zoom in.</span>'
        + f'<button type="button" class="whole" data-chart="c{number}" hidden>Whole recording</button>'
    )


def _meanings(channels: Iterable[ChannelTrace]) -> str:
    drawn = (
        f"A trace of more than {grouped(POINTS)} frames is thinned to the lowest and the highest of each "
        "stretch of frames, so that no peak is lost. A gap is a stretch without a score. An event is shaded "
        "from its onset to its end and bears the number of its card."
    )
    told = facts([(one.name, one.description) for one in channels if one.description] + [("Drawing", drawn)])
    return f"<details><summary>What the lines mean</summary><dl>{told}</dl></details>"


def _taught(report: Report) -> str:
    taught = facts((name, str(value)) for name, value in report.bundle.items())
    command = f'<pre class="card"><code>{escape(report.command)}</code></pre>'
    return (
        f'<section><h2>What it was taught</h2><dl class="taught card facts">{taught}</dl></section>'
        * bool(taught)
    ) + f"<section><h2>How this report was made</h2>{command}</section>"
