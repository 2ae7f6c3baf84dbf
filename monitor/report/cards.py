"""The pictures of a report: the filmstrip of a recording, and a card for each event."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np

from engines.normal import Neighbour
from monitor.events import Event, Verdict
from monitor.report.words import clock, label, quantity, sentence, span

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
class ClipView:
    """A clip of an event. begins_s: media time of its first picture. size: in bytes. data: the MP4 itself where it is to
    be played in the page, else empty. href: where it lies, relative to the page; empty where it does not stay."""

    begins_s: float
    size: int
    codec: str
    data: bytes = b""
    href: str = ""


@dataclass(frozen=True, slots=True)
class EventView:
    """An event at its last phase, with what it looked like.

    snapshot: JPEG of the frame at which it was believed; before: JPEG of a normal frame just ahead of the
    onset; heat_map: the snapshot with what is strange in it. Empty bytes or None where there is no picture. why: one
    plain sentence. nearest: of normal footage, the nearest first; usual: the median distance of such pictures to each
    other's nearest. notes: what is missing, and why.
    """

    event: Event
    snapshot: bytes
    before: bytes | None
    why: str
    heat_map: bytes = b""
    nearest: tuple[Neighbour, ...] = ()
    usual: float = float("nan")
    clip: ClipView | None = None
    notes: tuple[str, ...] = ()


def card(view: EventView, recording: str, duration_s: float, unit: str, *, anchor: str, chart: str) -> str:
    """Return the card of one event of the recording whose name and duration are given.

    unit: of the event's channel. anchor: the card's id. chart: id of the chart that the card's button moves
    to the event; empty where there is none.
    """
    event = view.event
    end_s = duration_s if event.end_s is None else event.end_s
    name = f"{label(event.kind, event.mode)}, {recording}"
    video = _video(view, name)
    pictures = ""
    if view.before is not None and not video:  # the clip shows it
        pictures = _picture(view.before, f"Before: {name}", "before")
    pictures += _picture(view.snapshot, f"At the alert: {name}", f"at {clock(event.detected_s)}")
    if view.heat_map:
        pictures += _picture(view.heat_map, f"What is strange in it: {name}", "strange here")
    pictures += video
    notes = "".join(f"<li>{escape(sentence(note))}</li>" for note in _notes(view))
    button = (
        f'<button type="button" data-chart="{chart}" data-start="{event.onset_s * 1000:.0f}" '
        f'data-end="{end_s * 1000:.0f}">Show in the chart</button>'
    )
    return (
        f'<article class="event card" id="{anchor}"><div class="pictures">{pictures}</div>{_nearest(view, name)}'
        f'<div class="told"><h3>{_badge(event)}<span class="number">event {event.number}</span></h3>'
        f'<p>{escape(view.why)}</p><dl class="facts small">{facts(_told(event, end_s, event.unit or unit))}</dl>'
        + (f'<ul class="lacks small soft">{notes}</ul>' if notes else "")
        + '<p class="actions">'
        + (button if chart else "")
        + (f'<a href="{escape(view.clip.href)}">Open the clip</a>' if view.clip and view.clip.href else "")
        + "</p>"
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
        *_believed(event),
    ]


def _believed(event: Event) -> list[tuple[str, str]]:
    """How sure that is, and what else it might have been."""
    told = []
    if event.p_value is not None:
        told.append(("P-value", f"{event.p_value:.3g}"))
    if event.budget_per_hour is not None:
        told.append(("Budget", f"{event.budget_per_hour:.3g} false alarms per hour"))
    other = event.runner_up
    if other is not None:
        closeness = f"{other.channel.replace('_', ' ')} at {100 * other.closeness:.0f} % of its threshold"
        told.append(("Runner-up", f"{label(other.kind, other.mode)}: {closeness}"))
    return told


def _nearest(view: EventView, name: str) -> str:
    """The strip of normal frames."""
    if not view.nearest:
        return ""
    cells = "".join(
        _picture(
            one.jpeg,
            f"Normal: {one.drive} at {clock(one.time_s)}; nearest to {name}",
            f"{one.drive} at {clock(one.time_s)}, distance {one.distance:.2g}",
        )
        for one in view.nearest
    )
    usual = (
        f", where {view.usual:.2g} from one moment to the next is usual" if np.isfinite(view.usual) else ""
    )
    return (
        f'<div class="nearest"><p class="small soft">Most like it in normal footage{usual}</p>'
        f'<div class="three">{cells}</div></div>'
    )


def _video(view: EventView, name: str) -> str:
    clip = view.clip
    if clip is None or not clip.data:
        return ""
    data = base64.b64encode(clip.data).decode()
    return (
        f'<figure><video controls muted playsinline preload="metadata" aria-label="{escape(f"Clip: {name}")}" '
        f'src="data:video/mp4;base64,{data}"></video>'
        f"<figcaption>clip from {clock(clip.begins_s)}</figcaption></figure>"
    )


def _notes(view: EventView) -> Iterable[str]:
    clip = view.clip
    if clip is not None and not clip.data:
        kept = "it lies beside this report" if clip.href else "keep it with --evidence FOLDER"
        yield f"the clip ({clip.codec}, {clip.size / 1e6:.1f} MB) is not in this page: {kept}"
    yield from view.notes


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
