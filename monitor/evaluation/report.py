"""The report of an evaluation: one HTML file that opens anywhere, with no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import plotly.graph_objects as go

from monitor.evaluation import charts
from monitor.evaluation.evaluate import Evaluated
from monitor.evaluation.gallery import false_alarms, misses
from monitor.evaluation.result import Evaluation, FaultResult, Interval, Pairs, Recall
from monitor.evaluation.tell import event_words
from monitor.evaluation.watch import Outcome
from monitor.report.cards import facts
from monitor.report.page import MARK, page, write_page
from monitor.report.words import count, grouped, span


def write_report(path: Path | str, evaluated: Evaluated) -> None:
    """Write the report as one HTML file; it appears whole or not at all. Raises OutputError."""
    result = evaluated.result
    write_page(
        path, page(f"Sightline evaluation of {result.bundle['name']}", result.version, body(evaluated))
    )


def body(evaluated: Evaluated) -> str:
    """Return the page's content."""
    result, outcomes = evaluated.result, evaluated.outcomes
    sections = (
        _beware(result),
        _section(
            "What it must beat",
            _BEATEN,
            _chart(charts.beaten(result), "beaten", "AUROC of the bundle and baselines"),
        ),
        _section(
            "Frame by frame",
            "Every drive weighs the same, however long it is.",
            '<div class="pair">'
            + _chart(charts.roc(result, outcomes), "roc", "ROC curve")
            + _chart(charts.histograms(outcomes), "scores", "Histograms of scores")
            + "</div>"
            + _frames(result),
        ),
        _events(result, outcomes),
        _drives(result),
        _section(*false_alarms(outcomes)),
        _section(*misses(outcomes)),
        _faults(result.faults),
        _section(
            "How to read this", "", _facts((k.replace("_", " "), v) for k, v in result.definitions.items())
        ),
        _section("What was judged", "", _facts(result.bundle.items())),
        _section(
            "How this report was made", "", f'<pre class="card"><code>{escape(result.command)}</code></pre>'
        ),
    )
    return (
        f'<header class="wide"><p class="mark">{MARK}Sightline</p>'
        f"<h1>How well {escape(result.bundle['name'])} tells normal from strange</h1>"
        f'<p class="lead">{escape(_lead(result))}</p>{_tiles(result)}</header>'
        f'<main class="wide">{"".join(sections)}</main>'
        f'<footer class="wide soft small">Written by sightline {escape(result.version)}. Intervals are 95 %. This page is '
        "complete in itself and asks nothing of any network."
        "<noscript> The charts need JavaScript; all else reads without.</noscript></footer>"
    )


_BEATEN = (
    "The chance that a frame of an anomalous drive scores above one of a normal drive. A bundle that is no better than "
    "the nearest raw picture, or than its own architecture without training, has learnt little that matters here."
)


def _lead(result: Evaluation) -> str:
    drives = (
        f"{count(result.normal_drives, 'normal drive')} and {count(result.anomalous_drives, 'anomalous drive')}, "
        f"{grouped(result.frames)} frames"
    )
    taught = len(result.taught_drives)
    unseen = (
        f" {count(taught, 'drive')} had been taught and {'was' if taught == 1 else 'were'} scored as though not."
        if taught
        else ""
    )
    return f"{drives}{', ' + span(result.seconds) + ' of footage' if result.seconds else ''}.{unseen}"


def _tiles(result: Evaluation) -> str:
    events, budget = result.events, result.budget
    tiles = [
        ("AUROC of frames", f"{result.auroc:.3f}", _words(result.intervals["auroc"])),
        ("F1, calibrated threshold", f"{result.f1:.3f}", f"all anomalous: {result.f1_all_positive:.3f}"),
    ]
    if events.recall is not None:
        found = events.spliced if events.measured == "spliced" else events.from_the_first_frame
        tiles.append(("events found", f"{events.recall:.0%}", f"{found.found} of {found.count}"))
    if events.delay_p50_s is not None and events.delay_p95_s is not None:
        tiles.append(
            ("median delay", f"{events.delay_p50_s:.1f} s", f"95 % within {events.delay_p95_s:.1f} s")
        )
    if events.false_alarms_per_hour is not None:
        tiles.append(
            ("false alarms per hour", f"{events.false_alarms_per_hour:.3g}", _rates(events.interval))
        )
        tiles.append(("budget", budget.verdict, f"{budget.claimed_per_hour:.3g} per hour promised"))
    cells = "".join(
        f'<div class="card"><dt>{escape(more)}</dt><dd>{escape(value)}</dd><dt>{escape(name)}</dt></div>'
        for name, value, more in tiles
    )
    return f'<dl class="tiles">{cells}</dl>'


def _rates(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval[0]:.3g} to {interval[1]:.3g}"


def _words(interval: Interval | None) -> str:
    return "no interval" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"


def _beware(result: Evaluation) -> str:
    lines = [
        *(f"<b>Beware:</b> {escape(w)}." for w in result.warnings),
        *(f"{escape(n)}." for n in result.notes),
    ]
    return f'<ul class="notes">{"".join(f"<li>{line}</li>" for line in lines)}</ul>' if lines else ""


def _facts(named: Iterable[tuple[str, str]]) -> str:
    return f'<dl class="taught card facts">{facts(named)}</dl>'


def _section(title: str, told: str, content: str) -> str:
    words = f'<p class="soft told-wide">{escape(told)}</p>' if told else ""
    return f"<section><h2>{escape(title)}</h2>{words}{content}</section>"


def _chart(figure: go.Figure, name: str, spoken: str) -> str:
    # plotly writes < and / of its JSON as escapes, so that no name can close the element.
    return (
        f'<figure class="panel card"><script type="application/json" id="f-{name}">{figure.to_json()}</script>'
        f'<div class="chart" id="c-{name}" data-figure="f-{name}" role="img" aria-label="{escape(spoken)}" '
        f'style="height:{figure.layout.height}px"></div></figure>'
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], classes: str = "") -> str:
    """A table whose cells are HTML already; the first column is text, the others are figures."""
    return _rows(f"<tr>{''.join(f'<th>{escape(h)}</th>' for h in headings)}</tr>", rows, classes)


def _rows(head: str, rows: Iterable[Sequence[str]], classes: str) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="card scroll"><table class="{classes}"><thead>{head}</thead><tbody>{lines}</tbody></table></div>'


def _frames(result: Evaluation) -> str:
    rows = [
        (name, f"{value:.3f}", _words(result.intervals[key]))
        for name, key, value in (
            ("AUROC", "auroc", result.auroc),
            ("AUPRC (average precision)", "auprc", result.auprc),
            ("false positives at 95 % recall", "fpr95", result.fpr95),
            ("F1 at the calibrated threshold", "f1", result.f1),
            ("best F1, chosen on these frames", "best_f1", result.best_f1),
        )
    ]
    rows.append(("F1 of calling everything anomalous", f"{result.f1_all_positive:.3f}", ""))
    tables = _table(("over frames", "value", "95 % interval"), rows)
    pairs = [(f"within {escape(name)}", pairs) for name, pairs in result.within_dataset.items()]
    pairs += [
        (name, pairs)
        for name, pairs in (("within one dataset", result.within_datasets),)
        if pairs is not None
    ]
    pairs += [
        (name, pairs) for name, pairs in (("across datasets", result.across_datasets),) if pairs is not None
    ]
    return f'<div class="pair">{tables}{_pairs(pairs)}</div>'


def _pairs(pairs: Sequence[tuple[str, Pairs]]) -> str:
    rows = [
        (name, f"{p.auroc:.3f}", f"{p.worst:.3f}", f"{p.normal_drives} × {p.anomalous_drives}")
        for name, p in pairs
    ]
    return _table(("pairs of drives", "mean AUROC", "worst normal drive", "drives"), rows)


def _events(result: Evaluation, outcomes: Sequence[Outcome]) -> str:
    events = result.events
    if events.measured == "nothing" and events.false_alarms_per_hour is None:
        return ""
    splices = [s for o in outcomes for s in o.splices]
    chart = _chart(charts.delays(splices), "delays", "Share of splices noticed over time") if splices else ""
    rows = [
        (name, *_recall(recall))
        for name, recall in (
            ("a normal drive leads into an anomalous one", events.spliced),
            ("the same, of one dataset", events.spliced_within_dataset),
            ("control: into another normal one", events.control),
            ("anomalous from the first frame", events.from_the_first_frame),
        )
        if recall.count
    ]
    table = _table(
        (
            "streams",
            "with a left-domain event",
            "share",
            "95 % interval",
            "median delay",
            "95 % delay",
            "told as cant_tell",
        ),
        rows,
    )
    told = (
        "Drives are spliced behind normal ones as though the camera had gone from one scene to the next. The control tells "
        "how much of that is the camera: there, the scene stays normal and only the camera changes. "
        f"{count(sum(events.false_alarms.values()), 'false alarm')} came in {events.hours:.3g} h of normal driving; the bundle "
        f"promises at most {result.budget.claimed_per_hour:.3g} left-domain alarms per hour: {result.budget.verdict}."
    )
    return _section("Events, as in life", told, chart + (table if rows else ""))


def _recall(recall: Recall) -> tuple[str, ...]:
    return (
        f"{recall.found} of {recall.count}",
        "" if recall.recall is None else f"{recall.recall:.0%}",
        "" if recall.interval is None else f"{recall.interval[0]:.0%} to {recall.interval[1]:.0%}",
        "" if recall.delay_p50_s is None else f"{recall.delay_p50_s:.1f} s",
        "" if recall.delay_p95_s is None else f"{recall.delay_p95_s:.1f} s",
        str(recall.cant_tell),
    )


def _drives(result: Evaluation) -> str:
    figure, hidden = charts.drives(result)
    told = "The middle 90 % of each drive's frames, their median, and the threshold that the drive had to stay below."
    told += f" The hardest are shown; {hidden} more are in the table." if hidden else ""
    rows = [
        (
            escape(d.name),
            d.side,
            escape(d.dataset),
            "yes" if d.taught else "",
            grouped(d.frames),
            f"{d.auroc:.3f}",
            f"{d.score[1]:.1f}",
            f"{d.threshold:.1f}",
            f"{d.above:.0%}",
            escape(event_words(d)),
        )
        for d in sorted(result.per_drive, key=lambda d: (d.side, d.auroc))
    ]
    headings = (
        "drive",
        "side",
        "dataset",
        "taught",
        "frames",
        "AUROC",
        "median",
        "threshold",
        "above",
        "events",
    )
    table = _table(headings, rows, "small")
    return _section(
        "Drive by drive",
        told,
        _chart(figure, "drives", "Scores of each drive")
        + f"<details><summary>Every drive</summary>{table}</details>",
    )


def _faults(faults: Sequence[FaultResult]) -> str:
    if not faults:
        return ""
    severities = sorted({f.severity for f in faults})
    above = "".join(f'<th colspan="4">severity {severity}</th>' for severity in severities)
    below = "<th>camera fault</th><th>right mode</th><th>any event</th><th>delay</th>" * len(severities)
    head = f'<tr><th rowspan="2">mode</th><th rowspan="2">told as</th>{above}</tr><tr>{below}</tr>'
    rows = []
    for mode, mine in groupby(faults, key=lambda f: f.mode):
        by_severity = {f.severity: f for f in mine}
        cells = [cell for s in severities for cell in _fault_cells(by_severity.get(s))]
        told_as = next(iter(by_severity.values())).told_as
        rows.append([escape(mode.replace("_", " ")), escape(told_as.replace("_", " ")), *cells])
    told = (
        f"Each fault was put on {count(max(f.trials for f in faults), 'normal drive')} for 8 s, behind 10 s of the drive as it is. "
        "Share of drives with an event, and the median delay to the camera fault."
    )
    return _section("Camera faults, made to order", told, _rows(head, rows, "heat small"))


def _fault_cells(fault: FaultResult | None) -> list[str]:
    if fault is None:
        return ["", "", "", ""]
    shares = [
        f'<span style="--share:{share:.2f}">{share:.0%}</span>'
        for share in (fault.recall_fault, fault.recall_mode, fault.recall)
    ]
    return [*shares, "" if fault.delay_p50_s is None else f"{fault.delay_p50_s:.1f} s"]
