"""The chart of one recording in a report: verdict bands above the score traces, on one axis of media time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from monitor.events import Event, Verdict
from monitor.report.words import label

POINTS = 4000
DAY_MS = 86_400_000
_FEW = 200
_TOP_PX, _BAND_PX, _ROW_PX, _GAP_PX, _FOOT_PX = 22, 30, 128, 38, 40

# Light and dark value of each colour. The frequent verdicts stay apart for every common colour blindness (grey,
# blue, vermilion of differing lightness) and each has its own hatching besides.
PALETTE = {
    "page": ("#f6f7f5", "#121619"),
    "card": ("#fffffe", "#1a2024"),
    "ink": ("#1d262b", "#e8ecec"),
    "soft": ("#566268", "#a2adb1"),
    "line": ("#dde1de", "#2e373c"),
    "frame": ("#93a2a8", "#64737a"),
    "trace": ("#22323a", "#d3dcdd"),
    "threshold": ("#8e3b76", "#dd9fcb"),
    "ok": ("#c9d6d0", "#3c4b47"),
    "left_domain": ("#3f66c4", "#84a5f5"),
    "camera_fault": ("#cc4a0c", "#f58a4e"),
    "cant_tell": ("#7a5aa6", "#b79be0"),
    "no_signal": ("#4a5257", "#aab4b9"),
    "stale": ("#6b7378", "#8b959a"),
    "on_ok": ("#2c3f38", "#d5e2dc"),
    "on_event": ("#fefefe", "#11171a"),
}
_HATCH = {
    Verdict.OK: "", Verdict.LEFT_DOMAIN: "/", Verdict.CAMERA_FAULT: "x", Verdict.CANT_TELL: ".",
    Verdict.NO_SIGNAL: "|", Verdict.STALE: "-",
}  # fmt: skip


class Band(NamedTuple):
    """What was believed of the stream from ``start_s`` to ``end_s`` (media seconds)."""

    start_s: float
    end_s: float
    verdict: Verdict
    mode: str


@dataclass(frozen=True, slots=True, eq=False)
class ChannelTrace:
    """One statistic, a value per frame.

    values, smoothed: float, one per frame of the recording; NaN or infinite where there is none.
    threshold: where the smoothed value speaks, in ``unit``; None for a channel that never speaks.
    """

    name: str
    unit: str
    values: NDArray[np.floating[Any]]
    smoothed: NDArray[np.floating[Any]] | None = None
    threshold: float | None = None
    description: str = ""


def decimated(
    time_s: NDArray[np.floating[Any]], values: NDArray[np.floating[Any]], points: int = POINTS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times and values of at most ``points`` frames, lowest and highest of each bin of frames.

    No extreme is lost. Infinite values become NaN; a bin of NaN alone stays one NaN, so that gaps stay gaps.
    """
    time = np.asarray(time_s, np.float64)
    value = np.asarray(values, np.float64)
    value = np.where(np.isfinite(value), value, np.nan)
    if len(value) <= points:
        return time, value
    width = -(-len(value) // max(points // 2, 1))
    rows = -(-len(value) // width)
    padded = np.full(rows * width, np.nan)
    padded[: len(value)] = value
    table = padded.reshape(rows, width)
    gap = np.isnan(table)
    first = np.arange(rows) * width
    low = first + np.where(gap, np.inf, table).argmin(axis=1)
    high = first + np.where(gap, -np.inf, table).argmax(axis=1)
    kept = np.unique(np.concatenate([low, high]))
    return time[kept], value[kept]


def ticks_ms(time_s: NDArray[np.floating[Any]] | float) -> NDArray[np.int64]:
    """Return media seconds as milliseconds of a date axis, whose labels read as a clock up to 24 h.

    Counted from the second day of 1970, for plotly takes numbers below 10,000 for years.
    """
    return DAY_MS + np.rint(np.asarray(time_s, np.float64) * 1000).astype(np.int64)


def figure(
    duration_s: float,
    time_s: NDArray[np.floating[Any]],
    channels: Sequence[ChannelTrace],
    verdict: Sequence[Band],
    events: Sequence[tuple[Event, str]],
) -> go.Figure:
    """Return the chart, in the light colours of ``PALETTE``: verdicts first, then one row per channel.

    events: each with the id of its card.
    """
    body = _BAND_PX + len(channels) * (_GAP_PX + _ROW_PX)
    chart = go.Figure()
    _draw_verdict(chart, verdict, [1 - _BAND_PX / body, 1])
    for row, channel in enumerate(channels):
        top = 1 - (_BAND_PX + _GAP_PX + row * (_GAP_PX + _ROW_PX)) / body
        _draw_channel(chart, row + 2, channel, time_s, [max(top - _ROW_PX / body, 0), top])
    for event, card in events:
        _shade(chart, event, card, duration_s)
    chart.update_layout(
        template="none",
        height=_TOP_PX + body + _FOOT_PX,
        margin={"l": 52, "r": 14, "t": _TOP_PX, "b": _FOOT_PX},
        barmode="overlay",
        bargap=0,
        showlegend=False,
        hovermode="x unified",
        hoversubplots="axis",
        dragmode="zoom",
        font={"family": "system-ui, sans-serif", "size": 12, "color": PALETTE["soft"][0]},
        paper_bgcolor=PALETTE["card"][0],
        plot_bgcolor=PALETTE["card"][0],
        hoverlabel={
            "bgcolor": PALETTE["card"][0],
            "bordercolor": PALETTE["line"][0],
            "font": {"color": PALETTE["ink"][0]},
        },
        uniformtext={"minsize": 12, "mode": "hide"},
        uirevision="kept",
    )
    _set_time_axis(chart, duration_s, f"y{len(channels) + 1}" if channels else "y")
    return chart


def _set_time_axis(chart: go.Figure, duration_s: float, anchor: str) -> None:
    chart.update_layout(
        xaxis={
            "type": "date",
            "range": ticks_ms(np.array([0.0, max(duration_s, 1.0)])).tolist(),
            "anchor": anchor,
            "tickformat": "%H:%M:%S" if duration_s >= 3600 else "%M:%S",
            "tickformatstops": [
                {"dtickrange": [None, 99], "value": "%M:%S.%3f"},
                {"dtickrange": [100, 999], "value": "%M:%S.%1f"},
            ],
            "hoverformat": "%H:%M:%S.%L",
            "gridcolor": PALETTE["line"][0],
            "zeroline": False,
            "linecolor": PALETTE["frame"][0],
            "ticks": "outside",
            "tickcolor": PALETTE["frame"][0],
            "tickangle": 0,
            "showspikes": True,
            "spikemode": "across",
            "spikethickness": 1,
            "spikedash": "solid",
            "spikecolor": PALETTE["frame"][0],
        }
    )


def _draw_verdict(chart: go.Figure, verdict: Sequence[Band], domain: list[float]) -> None:
    for kind in Verdict:
        bands = [Band(*band) for band in verdict if band[2] == kind]
        if not bands:
            continue
        chart.add_bar(
            orientation="h",
            base=ticks_ms(np.array([band.start_s for band in bands])),
            x=[1000 * (band.end_s - band.start_s) for band in bands],
            y=["verdict"] * len(bands),
            width=1,
            text=[escape(band.mode.replace("_", " ") or label(kind)) for band in bands],
            hovertext=[escape(label(kind, band.mode)) for band in bands],
            textposition="inside",
            insidetextanchor="middle",
            insidetextfont={"color": PALETTE["on_ok" if kind is Verdict.OK else "on_event"][0]},
            textangle=0,
            marker={
                "color": PALETTE[kind.value][0],
                "line": {"width": 0},
                "pattern": {
                    "shape": _HATCH[kind],
                    "size": 9,
                    "solidity": 0.12,
                    "fgopacity": 0.5,
                    "bgcolor": PALETTE[kind.value][0],
                    "fgcolor": PALETTE["card"][0],
                },
            },
            hovertemplate="%{hovertext}<extra></extra>",
        )
    chart.update_layout(yaxis={"domain": domain, "visible": False, "fixedrange": True, "range": [-0.5, 0.5]})


def _draw_channel(
    chart: go.Figure, row: int, channel: ChannelTrace, time_s: NDArray[np.floating[Any]], domain: list[float]
) -> None:
    name, unit, axis = escape(channel.name), escape(channel.unit).replace("%{", "% {"), f"y{row}"
    lines = [("smoothed", channel.smoothed, "trace", 1.6), ("each frame", channel.values, "frame", 1.0)]
    for what, values, colour, width in reversed(lines):
        if values is None:
            continue
        time, value = decimated(time_s, values)
        chart.add_scatter(
            x=ticks_ms(time),
            y=value.astype(np.float32),
            yaxis=axis,
            name=f"{name}, {what}",
            mode="lines+markers" if len(time) <= _FEW else "lines",
            marker={"size": 4},
            cliponaxis=len(time) > 1,
            line={"color": PALETTE[colour][0], "width": width},
            hovertemplate="%{y:.4~g} " + unit,
        )
    if channel.threshold is not None and np.isfinite(channel.threshold):
        _draw_threshold(chart, row, channel.threshold)
    _name_row(chart, row, f"<b>{name}</b>" + (f" · {unit}" if unit else ""), domain)


def _draw_threshold(chart: go.Figure, row: int, threshold: float) -> None:
    chart.add_shape(
        type="line",
        xref="x domain",
        yref=f"y{row}",
        x0=0,
        x1=1,
        y0=threshold,
        y1=threshold,
        line={"color": PALETTE["threshold"][0], "width": 1.3, "dash": "5px,4px"},
        label={
            "text": f"threshold {threshold:.4g}",
            "textposition": "end",
            "font": {"size": 11, "color": PALETTE["threshold"][0]},
        },
    )


def _name_row(chart: go.Figure, row: int, title: str, domain: list[float]) -> None:
    chart.update_layout(
        {
            f"yaxis{row}": {
                "domain": domain,
                "fixedrange": True,
                "gridcolor": PALETTE["line"][0],
                "zeroline": False,
                "nticks": 5,
                "anchor": "x",
            }
        }
    )
    chart.add_annotation(
        xref="paper",
        yref="paper",
        x=0,
        y=domain[1],
        xanchor="left",
        yanchor="bottom",
        yshift=3,
        showarrow=False,
        text=title,
        font={"color": PALETTE["ink"][0]},
    )


def _shade(chart: go.Figure, event: Event, card: str, duration_s: float) -> None:
    """Shade an event over all channels, with its number above, which leads to the card of that id."""
    end_s = duration_s if event.end_s is None else event.end_s
    chart.add_shape(
        type="rect",
        layer="below",
        xref="x",
        yref="paper",
        x0=int(ticks_ms(event.onset_s)),
        x1=int(ticks_ms(max(end_s, event.onset_s))),
        y0=0,
        y1=1,
        fillcolor=PALETTE[event.kind.value][0],
        opacity=0.16,
        line={"width": 0},
    )
    chart.add_annotation(
        xref="x",
        yref="paper",
        x=int(ticks_ms(event.onset_s)),
        y=1,
        xanchor="left",
        yanchor="bottom",
        showarrow=False,
        text=f"<b>{event.number}</b>",
        name=card,
        captureevents=True,
        font={"color": PALETTE[event.kind.value][0]},
    )
