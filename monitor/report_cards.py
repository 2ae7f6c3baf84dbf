"""The pictures of a report: the filmstrip of a recording, and a card for each event."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np

from monitor.events import Event, Verdict
from monitor.report_words import clock, label, quantity, span

_FILM = 16
_LONG = 60
_ICONS = {
    Verdict.OK: '<path d="M3 8.5l3.2 3.2L13 5"/>',
    Verdict.LEFT_DOMAIN: '<path d="M4 12L12 4M6 4h6v6"/>',
    Verdict.CAMERA_FAULT: '<path d="M4 4l8 8M12 4l-8 8"/>',
    Verdict.CANT_TELL: '<path d="M5 6a3 3 0 1 1 4 2.8c-.7.3-1 .8-1 1.4M8 12.6v.6"/>',
    Verdict.NO_SIGNAL: '<path d="M3 13L13 3M4 9v3M8 6v6M12 6v6"/>',
    Verdict.STALE: '<path d="M8 3v5l3 2M8 2.6a5.4 5.4 0 1 0 .1 0"/>',
}


@dataclass(frozen=True, slots=True)
class EventView:
    """An event at its last phase, with what it looked like.

    snapshot: JPEG of the frame at which it was believed; before: JPEG of a normal frame just ahead of the
    onset. Empty bytes or None where there is no picture. why: one plain sentence.
    """

    event: Event
    snapshot: bytes
    before: bytes | None
    why: str


def card(view: EventView, recording: str, duration_s: float, unit: str, *, anchor: str, chart: str) -> str:
    """Return the card of one event of the recording whose name and duration are given.

    unit: of the event's channel. anchor: the card's id. chart: id of the chart that the card's button moves
    to the event; empty where there is none.
    """
    event = view.event
    end_s = duration_s if event.end_s is None else event.end_s
    name = f"{label(event.kind, event.mode)}, {recording}"
    pictures = "" if view.before is None else _picture(view.before, f"Before: {name}", "before")
    pictures += _picture(view.snapshot, f"At the alert: {name}", f"at {clock(event.detected_s)}")
    button = (
        f'<button type="button" data-chart="{chart}" data-start="{event.onset_s * 1000:.0f}" '
        f'data-end="{end_s * 1000:.0f}">Show in the chart</button>'
    )
    return (
        f'<article class="event card" id="{anchor}"><div class="pictures">{pictures}</div>'
        f'<div class="told"><h3>{_badge(event)}<span class="number">event {event.number}</span></h3>'
        f'<p>{escape(view.why)}</p><dl class="facts small">{facts(_told(event, end_s, unit))}</dl>'
        + (button if chart else "")
        + "</div></article>"
    )


def _told(event: Event, end_s: float, unit: str) -> list[tuple[str, str]]:
    detected = f"{clock(event.detected_s, exact=True)} (+{event.detected_s - event.onset_s:.2f} s)"
    return [
        ("Onset", clock(event.onset_s, exact=True)),
        ("Detected", detected),
        ("End", "still on at the end" if event.end_s is None else clock(event.end_s, exact=True)),
        ("Duration", span(end_s - event.onset_s)),
        ("Channel", event.channel.replace("_", " ")),
        ("Value", quantity(event.value, unit)),
        ("Threshold", quantity(event.threshold, unit)),
        ("Largest excess", f"{quantity(event.peak, unit)} at {clock(event.peak_s)}"),
    ]


def facts(named: Iterable[tuple[str, str]]) -> str:
    """Return names and values, as plain text, as the rows of a definition list."""
    return "".join(
        f"<div{' class=long' * (len(value) > _LONG)}><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in named
    )


def film(
    recording: str, size: tuple[int, int], thumbnails: Sequence[tuple[float, bytes]], span_s: float
) -> str:
    """Return the filmstrip: each picture over the stretch of time it stands for, on the chart's own axis."""
    pictures = [(time_s, jpeg) for time_s, jpeg in thumbnails if jpeg]
    if not pictures:
        return ""
    # A narrow window shows one in four, hence a multiple of four.
    shown = len(pictures) if len(pictures) < 8 else min(_FILM, len(pictures) // 4 * 4)
    pictures = [pictures[i] for i in np.linspace(0, len(pictures) - 1, shown).round().astype(int)]
    middles = [(one + other) / 2 for (one, _), (other, _) in pairwise(pictures)]
    edges = [0.0, *middles, span_s]
    cells = []
    for i, (time_s, jpeg) in enumerate(pictures):
        start, end = edges[i], edges[i + 1]
        first, last = edges[i // 4 * 4], edges[min(i // 4 * 4 + 4, shown)]
        cells.append(
            f'<li data-start="{1000 * start:.0f}" data-end="{1000 * end:.0f}" style="'
            f"--left:{start / span_s:.3%};--width:{(end - start) / span_s:.3%};"
            f'--left4:{first / span_s:.3%};--width4:{(last - first) / span_s:.3%}">'
            + _image(jpeg, f"{recording} at {clock(time_s)}")
            + "</li>"
        )
    aspect = size[0] / size[1] if min(size) > 0 else 16 / 9
    many = " many" if shown >= 8 else ""
    return f'<div class="film{many}" style="--aspect:{aspect:.3f}"><ol>{"".join(cells)}</ol></div>'


def _badge(event: Event) -> str:
    return (
        f'<span class="badge is-{event.kind.value}"><svg viewBox="0 0 16 16" aria-hidden="true" fill="none" '
        'stroke="currentColor" stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round">'
        f"{_ICONS[event.kind]}</svg>{escape(label(event.kind, event.mode))}</span>"
    )


def _picture(jpeg: bytes, alt: str, caption: str) -> str:
    inner = _image(jpeg, alt) if jpeg else '<div class="blank">no picture</div>'
    return f"<figure>{inner}<figcaption>{escape(caption)}</figcaption></figure>"


def _image(jpeg: bytes, alt: str) -> str:
    data = base64.b64encode(jpeg).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(alt)}" decoding="async">'
