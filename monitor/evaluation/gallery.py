"""The pictures of an evaluation: what alarmed though it was normal, and what passed though it was strange."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from monitor.evaluation.watch import Outcome
from monitor.report.words import clock, label

MOST_PICTURES = 8


@dataclass(frozen=True, slots=True)
class Picture:
    """badness: pictures are shown worst first. data: JPEG."""

    badness: float
    data: bytes
    name: str
    caption: str


def false_alarms(outcomes: Sequence[Outcome]) -> tuple[str, str, str]:
    """Title, explanation and pictures of the worst false alarms, or of what came nearest to one."""
    normal = [o for o in outcomes if not o.case.anomalous]
    alarmed = [
        Picture(
            float("inf"), o.told[e.number], o.case.name, f"{label(e.kind, e.mode)} at {clock(e.detected_s)}"
        )
        for o in normal
        for e in o.events
        if e.number in o.told
    ]
    quiet = sorted((p for o in normal if not o.events for p in _worst(o, 1.0)), key=_worst_first)
    title = "Worst false alarms" if alarmed else "Nearest to a false alarm"
    told = "The strangest frames of normal drives without an event."
    if alarmed:
        told = (
            "Frames of normal drives at which an event was believed, then the strangest frames of the others."
        )
    return title, told, _gallery([*alarmed, *quiet])


def misses(outcomes: Sequence[Outcome]) -> tuple[str, str, str]:
    """Title, explanation and pictures of the worst misses: drives that raised no event come first."""
    anomalous = [o for o in outcomes if o.case.anomalous]
    silent = sorted((p for o in anomalous if not o.events for p in _worst(o, -1.0)), key=_worst_first)
    others = sorted((p for o in anomalous if o.events for p in _worst(o, -1.0)), key=_worst_first)
    told = "The least strange frame of each anomalous drive, watched from its first frame; first those without an event."
    return "Worst misses", told, _gallery([*silent, *others])


def _worst_first(picture: Picture) -> float:
    return -picture.badness


def _worst(outcome: Outcome, sign: float) -> list[Picture]:
    """The one frame of a drive that was judged worst."""
    return [
        Picture(
            sign * (score - outcome.threshold),
            data,
            outcome.case.name,
            (f"{clock(time_s)}, " if outcome.case.ordered else "")
            + f"score {score:.1f}, threshold {outcome.threshold:.1f}",
        )
        for score, time_s, data in outcome.worst[:1]
    ]


def _gallery(pictures: Sequence[Picture]) -> str:
    shown = "".join(
        f'<figure class="card"><img src="data:image/jpeg;base64,{base64.b64encode(one.data).decode()}" '
        f'alt="{escape(one.name)}" decoding="async">'
        f"<figcaption><b>{escape(one.name)}</b>{escape(one.caption)}</figcaption></figure>"
        for one in pictures[:MOST_PICTURES]
    )
    return f'<div class="gallery">{shown}</div>'
