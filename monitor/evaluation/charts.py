"""The charts of an evaluation: interactive, in the light colours of the reports' palette, which the page swaps at night."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engines.density import Floats
from engines.metrics import Curve, drive_shares
from monitor.evaluation.result import DriveResult, Evaluation
from monitor.evaluation.summary import Frames, domain_frames
from monitor.evaluation.tell import BASELINE_WORDS, event_words
from monitor.evaluation.watch import SPLICE_S, Outcome, Splice
from monitor.report.chart import PALETTE, decimated

INK, SOFT, LINE, FRAME, CARD = (PALETTE[name][0] for name in ("ink", "soft", "line", "frame", "card"))
NORMAL, ANOMALOUS, THRESHOLD = (PALETTE[name][0] for name in ("frame", "left_domain", "threshold"))
BINS = 60
MOST_ROWS = 40
_CURVE_POINTS = 1500
_ROW_PX = 19


def beaten(result: Evaluation) -> go.Figure:
    """AUROC of the bundle above that of every baseline, with intervals."""
    rows = [(f"<b>{escape(result.bundle['name'])}</b>", result.auroc, result.intervals["auroc"])]
    rows += [
        (BASELINE_WORDS[name], told.auroc, told.auroc_interval)
        for name, told in result.baselines.items()
        if name in BASELINE_WORDS
    ]
    rows.sort(key=lambda row: row[1])
    lows = [value if interval is None else interval[0] for _, value, interval in rows]
    chart = go.Figure()
    for name, value, interval in rows:
        mine = name.startswith("<b>")
        colour = ANOMALOUS if mine else FRAME
        low, high = interval if interval is not None else (value, value)
        chart.add_scatter(
            x=[low, high],
            y=[name, name],
            mode="lines",
            line={"color": colour, "width": 6 if mine else 4},
            opacity=0.45,
            hoverinfo="skip",
        )
        chart.add_scatter(
            x=[value],
            y=[name],
            mode="markers+text",
            text=[f"{value:.3f}"],
            textposition="top center",
            textfont={"color": INK if mine else SOFT, "size": 13 if mine else 12},
            marker={"color": colour, "size": 13 if mine else 10},
            hovertemplate=f"{value:.3f}, 95 % interval {low:.3f} to {high:.3f}<extra></extra>",
        )
    _style(chart, 54 * len(rows) + 50, left=200)
    chart.update_xaxes(
        range=[max(0.0, min(0.45, *(low - 0.03 for low in lows))), 1.02],
        title="AUROC; 0.5 is a coin's",
        tickformat=".1f",
    )
    chart.update_yaxes(
        type="category", tickfont={"color": INK, "size": 13}, showgrid=False, range=[-0.5, len(rows) - 0.3]
    )
    chart.add_vline(x=0.5, line={"color": FRAME, "width": 1, "dash": "dot"})
    return chart


def roc(result: Evaluation, outcomes: Sequence[Outcome]) -> go.Figure:
    """Found against false alarms for every threshold, and where the calibrated one stands."""
    chart = go.Figure()
    chart.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": LINE, "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    readings: dict[str, Callable[[Outcome], list[float]]] = {
        "raw_nearest_neighbour": lambda o: o.baselines.nearest,
        "untrained_encoder": lambda o: o.baselines.untrained,
    }
    for (name, values), dash in zip(readings.items(), ("dot", "dash"), strict=True):
        if name in result.baselines:
            curve = Frames.of(outcomes, values).curve()
            _add_curve(chart, curve, BASELINE_WORDS[name], {"color": FRAME, "width": 1.6, "dash": dash})
    frames = domain_frames(outcomes)
    _add_curve(chart, frames.curve(), result.bundle["name"], {"color": ANOMALOUS, "width": 2.6})
    false, found = _calibrated(outcomes)
    chart.add_scatter(
        x=[false],
        y=[found],
        mode="markers",
        name="calibrated threshold",
        marker={"color": THRESHOLD, "size": 12, "symbol": "diamond", "line": {"color": CARD, "width": 1.5}},
        hovertemplate=f"calibrated threshold: {found:.1%} found, {false:.1%} false<extra></extra>",
    )
    _style(chart, 380, legend=True)
    chart.update_xaxes(range=[-0.01, 1.01], title="share of normal frames above", tickformat=".0%")
    chart.update_yaxes(range=[-0.01, 1.02], title="share of anomalous frames above", tickformat=".0%")
    return chart


def _add_curve(chart: go.Figure, curve: Curve, name: str, line: dict[str, Any]) -> None:
    false = np.concatenate([[0.0], curve.false / curve.negative])
    found = np.concatenate([[0.0], curve.found / curve.positive])
    kept = np.unique(np.linspace(0, len(false) - 1, _CURVE_POINTS).astype(int))
    chart.add_scatter(
        x=false[kept].round(4),
        y=found[kept].round(4),
        mode="lines",
        name=escape(name),
        line=line,
        hovertemplate="%{y:.1%} found at %{x:.1%} false<extra>" + escape(name) + "</extra>",
    )


def _calibrated(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """Shares of normal and of anomalous frames above their thresholds, drives weighing the same."""
    shares = {
        strange: float(
            np.mean([np.mean(o.domain > o.threshold) for o in outcomes if o.case.anomalous == strange])
        )
        for strange in (False, True)
    }
    return shares[False], shares[True]


def histograms(outcomes: Sequence[Outcome]) -> go.Figure:
    """How the scores of both kinds lie, drives weighing the same."""
    frames = domain_frames(outcomes)
    low, high = np.percentile(frames.scores, (0.2, 99.8))
    threshold = float(np.median([o.threshold for o in outcomes]))
    edges = np.linspace(min(low, threshold), max(high, threshold) + 1e-9, BINS + 1)
    clipped = np.clip(frames.scores, edges[0], edges[-1])
    weights = drive_shares(frames.drives)
    chart = go.Figure()
    for strange, name, colour in ((False, "normal drives", NORMAL), (True, "anomalous drives", ANOMALOUS)):
        mine = frames.positive == strange
        heights, _ = np.histogram(clipped[mine], edges, weights=weights[mine] / weights[mine].sum())
        chart.add_scatter(
            x=np.repeat(edges, 2).round(3),
            y=np.concatenate([[0.0], np.repeat(heights, 2), [0.0]]).round(5),
            mode="lines",
            name=name,
            fill="tozeroy",
            line={"color": colour, "width": 1.8},
            hovertemplate="%{y:.1%} near %{x:.4~g} nats<extra>" + name + "</extra>",
        )
    _style(chart, 380, legend=True)
    chart.add_vline(
        x=threshold,
        line={"color": THRESHOLD, "width": 1.4, "dash": "5px,4px"},
        annotation={"text": "threshold", "font": {"color": THRESHOLD, "size": 12}},
        annotation_position="top",
    )
    chart.update_xaxes(title="score of a frame, nats; higher is stranger")
    chart.update_yaxes(title="share of the side's frames", tickformat=".0%", rangemode="tozero")
    return chart


def drives(result: Evaluation) -> tuple[go.Figure, int]:
    """Each drive's scores from the 5th to the 95th percentile, normal ones below; and how many drives are not
    shown."""
    rows = [*_hardest(result, "normal"), *_hardest(result, "anomalous")]
    chart = go.Figure()
    for side, colour in (("normal", NORMAL), ("anomalous", ANOMALOUS)):
        mine = [d for d in rows if d.side == side]
        names = [escape(d.name) for d in mine]
        gaps = [v for d in mine for v in (d.score[0], d.score[2], None)]
        chart.add_scatter(
            x=gaps,
            y=[n for name in names for n in (name, name, name)],
            mode="lines",
            line={"color": colour, "width": 5},
            opacity=0.45,
            hoverinfo="skip",
            showlegend=False,
        )
        chart.add_scatter(
            x=[d.score[1] for d in mine],
            y=names,
            mode="markers",
            name=f"{side} drives",
            marker={"color": colour, "size": 9},
            customdata=[[d.auroc, d.above, event_words(d) or "no event"] for d in mine],
            hovertemplate="<b>%{y}</b><br>median %{x:.4~g} nats<br>AUROC %{customdata[0]:.3f} against the other side<br>"
            "%{customdata[1]:.0%} of frames above its threshold<br>%{customdata[2]}<extra></extra>",
        )
    chart.add_scatter(
        x=[d.threshold for d in rows],
        y=[escape(d.name) for d in rows],
        mode="markers",
        name="threshold",
        marker={"color": THRESHOLD, "symbol": "line-ns-open", "size": 12, "line": {"width": 1.6}},
        hovertemplate="threshold %{x:.4~g} nats<extra></extra>",
    )
    _style(chart, _ROW_PX * len(rows) + 96, legend=True, left=190)
    chart.update_xaxes(title="score, nats")
    chart.update_yaxes(
        type="category",  # drives may be called 0338
        categoryorder="array",
        categoryarray=[escape(d.name) for d in rows],
        tickfont={"size": 11},
        dtick=1,
    )
    return chart, len(result.per_drive) - len(rows)


def _hardest(result: Evaluation, side: str) -> list[DriveResult]:
    """The drives of one side that are told apart least, lowest score first."""
    mine = sorted((d for d in result.per_drive if d.side == side), key=lambda d: d.auroc)[: MOST_ROWS // 2]
    return sorted(mine, key=lambda d: d.score[1])


def delays(splices: Sequence[Splice]) -> go.Figure:
    """The share of splices noticed by each moment after the splice, and that of normal drives behind normal ones."""
    kinds = (
        (
            "a normal drive leads into an anomalous one",
            [s for s in splices if s.after.anomalous],
            ANOMALOUS,
            "solid",
        ),
        (
            "the same, of one dataset",
            [s for s in splices if s.after.anomalous and s.before.dataset == s.after.dataset],
            ANOMALOUS,
            "dot",
        ),
        (
            "a normal drive leads into a normal one",
            [s for s in splices if not s.after.anomalous],
            NORMAL,
            "solid",
        ),
    )
    chart = go.Figure()
    for name, mine, colour, dash in kinds:
        if not mine:
            continue
        found = np.sort([s.detected_s for s in mine if s.detected_s is not None])
        times, shares = _steps(found, len(mine))
        chart.add_scatter(
            x=times,
            y=shares,
            mode="lines",
            name=f"{name} ({len(mine)})",
            line={"color": colour, "width": 2.6, "dash": dash},
            hovertemplate="%{y:.0%} within %{x:.1f} s<extra></extra>",
        )
    _style(chart, 340, legend=True)
    last_s = max((s.detected_s or 0.0 for s in splices), default=0.0)
    chart.update_xaxes(range=[0, min(SPLICE_S, max(10.0, last_s + 1.0))], title="seconds after the splice")
    chart.update_yaxes(range=[0, 1.04], title="share with a left-domain event", tickformat=".0%")
    return chart


def _steps(found: Floats, count: int) -> tuple[Floats, Floats]:
    times = np.concatenate([[0.0], np.repeat(found, 2), [SPLICE_S]])
    shares = (
        np.concatenate([[0.0], np.repeat(np.arange(len(found) + 1), 2)[1:-1], [float(len(found))]]) / count
    )
    times, shares = decimated(times, shares)
    return times, shares


def _style(chart: go.Figure, height: int, *, legend: bool = False, left: int = 56) -> None:
    chart.update_layout(
        template="none",
        height=height,
        margin={"l": left, "r": 16, "t": 22, "b": 48},
        showlegend=legend,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"color": INK}},
        dragmode=False,
        hovermode="closest",
        font={"family": "system-ui, sans-serif", "size": 12, "color": SOFT},
        paper_bgcolor=CARD,
        plot_bgcolor=CARD,
        hoverlabel={"bgcolor": CARD, "bordercolor": LINE, "font": {"color": INK}},
    )
    axis = {
        "gridcolor": LINE,
        "zeroline": False,
        "linecolor": FRAME,
        "fixedrange": True,
        "title_font": {"size": 12},
    }
    chart.update_xaxes(**axis)
    chart.update_yaxes(**axis)
