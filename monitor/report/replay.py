"""The report of a replay, made of what the replay left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from engines import __version__
from engines.bundle import Bundle
from engines.decision import units
from monitor.events import Event
from monitor.evidence.explain import Explanation
from monitor.replay import Trace, as_array
from monitor.report.cards import ClipView, EventView

DESCRIPTIONS = {
    "departure": "how far the scene has moved from the stream's own past, away from normal",
    "domain": "surprise, smoothed",
    "surprise": "-log density of each frame under the taught footage",
    "blur": "fall of the sharpest edges below the stream's past",
    "covered": "share of textured patches that went flat, still and dark",
    "corruption": "how far damage rose above the stream's own past",
    "damage": "-log density of the early-layer statistics",
}
MOST_EMBEDDED = 12 << 20
"""Bytes of clips inside one report; further ones are beside it, or left out."""
PLAYABLE = frozenset({"h264", "vp9", "av1", "libdav1d"})
"""Decoders of what browsers play in MP4."""


def why(event: Event) -> str:
    """One sentence on what spoke."""
    what = DESCRIPTIONS.get(event.channel, "the check of the camera itself")
    return f"{event.channel} ({what}) reached {event.peak:.2f}; the limit is {event.threshold:.2f}."


def write_replay_report(path: Path, bundle: Bundle, traces: Sequence[Trace], *, linked: bool) -> None:
    """Write the report; linked: whether clips stay where they are, so that the report can lead to them."""
    from monitor.report import recordings as report  # plotly takes a third of a second to load

    calibration = bundle.calibration
    in_units = units(bundle.density.normal)
    thresholds = {channel.name: channel.threshold for channel in calibration.channels}
    recordings = []
    room = Room(path.absolute().parent, linked)
    for trace in traces:
        duration_s = trace.times_s[-1] if trace.times_s else 0.0
        channels = tuple(
            report.ChannelTrace(
                name,
                in_units.get(name, ""),
                as_array(values),
                None,
                thresholds.get(name),
                DESCRIPTIONS.get(name, ""),
            )
            for name, values in trace.channels.items()
        )
        views = tuple(_view(trace, event, room) for event in trace.events.values())
        recordings.append(
            report.Recording(
                trace.name, len(trace.times_s), duration_s, trace.size, (len(trace.times_s) - 1) / duration_s if duration_s else 0.0,
                as_array(trace.times_s), channels, [report.Band(*band) for band in trace.bands], views, trace.album.strip(), trace.notes,
            )
        )  # fmt: skip
    manifest = bundle.manifest
    facts = {
        "bundle": manifest.name,
        "encoder": manifest.encoder.name,
        "created": manifest.created,
        "taught on": f"{len(manifest.drives)} drives, {sum(d.seconds for d in manifest.drives) / 60:.1f} min",
        "calibrated on": f"{calibration.units} held-out {calibration.unit}s",
        "budget": f"{calibration.false_alarms_per_hour:.3g} false alarms per hour",
        "sha256": bundle.sha256[:16],
    }
    command = " ".join(["sightline", *sys.argv[1:]])
    report.write_report(
        path, report.Report("Sightline replay", facts, tuple(recordings), command, __version__)
    )


class Room:
    """Puts clips into the report as long as they fit, and else leads to where they lie, if they stay there."""

    def __init__(self, folder: Path, linked: bool) -> None:
        self._folder, self._linked, self._left = folder, linked, MOST_EMBEDDED

    def clip(self, trace: Trace, number: int) -> ClipView | None:
        """The clip of an event; None where there is none."""
        clip = trace.clips.get(number)
        if clip is None:
            return None
        size = clip.path.stat().st_size
        embedded = size <= self._left and clip.path.suffix == ".mp4" and clip.codec in PLAYABLE
        self._left -= size if embedded else 0
        href = quote(os.path.relpath(clip.path, self._folder)) if self._linked else ""
        return ClipView(clip.begins_s, size, clip.codec, clip.path.read_bytes() if embedded else b"", href)


def _view(trace: Trace, event: Event, room: Room) -> EventView:
    shown = trace.shown.get(event.number, Explanation())
    return EventView(
        event,
        shown.snapshot,
        trace.before.get(event.number),
        why(event),
        heat_map=shown.heat_map,
        nearest=shown.nearest,
        usual=shown.usual,
        clip=room.clip(trace, event.number),
        notes=trace.lacks.get(event.number, shown.notes),
    )
