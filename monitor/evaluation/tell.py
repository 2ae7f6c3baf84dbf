"""An evaluation in the terminal: the few figures that matter, each beside what it must beat."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitor.evaluation.result import DriveResult, Evaluation, FaultResult, Interval, Recall
from monitor.report.words import count, grouped, span

BASELINE_WORDS = {
    "untrained_encoder": "the same encoder, untrained",
    "raw_nearest_neighbour": "nearest raw picture",
    "frame_difference": "frame difference",
    "mean_brightness": "mean brightness",
}
WEAKEST = 3


def tell(say: Console, result: Evaluation) -> None:
    """Print the result."""
    footage = f", {span(result.seconds)} of footage" if result.seconds else ""
    say.print(
        f"[bold]judged[/]    {count(result.normal_drives, 'normal drive')} and {count(result.anomalous_drives, 'anomalous drive')}: "
        f"{grouped(result.frames)} frames{footage}"
    )
    if result.taught_drives:
        say.print(
            f"[bold]unseen[/]    {count(len(result.taught_drives), 'drive')} of these were taught; each was scored as though it "
            f"had not been: {escape(_listed(result.taught_drives))}"
        )
    say.print(_telling(result))
    say.print(
        f"[bold]F1[/]        {result.f1:.3f}{_bracket(result.intervals['f1'])} at the calibrated threshold; "
        f"at best {result.best_f1:.3f}; calling everything anomalous {result.f1_all_positive:.3f}"
    )
    _datasets(say, result)
    _events(say, result)
    if result.faults:
        say.print(_faults(result))
    say.print(_weakest(result))
    for warning in result.warnings:
        say.print(f"[yellow]beware[/]    {escape(warning)}")
    for note in result.notes:
        say.print(f"[yellow]note[/]      {escape(note)}")


def _telling(result: Evaluation) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("over frames, drives weigh the same", no_wrap=True)
    for heading in ("AUROC", "95 %", "AUPRC", "FPR95", "best F1"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row(
        f"[bold]{escape(result.bundle['name'])}[/]",
        f"[bold]{result.auroc:.3f}[/]",
        _range(result.intervals["auroc"]),
        f"{result.auprc:.3f}",
        f"{result.fpr95:.3f}",
        f"{result.best_f1:.3f}",
    )
    for name, words in BASELINE_WORDS.items():
        if name not in result.baselines:
            continue
        told = result.baselines[name]
        said = f"{words} ({told.direction} is stranger)" if told.direction else words
        table.add_row(
            said,
            f"{told.auroc:.3f}",
            _range(told.auroc_interval),
            f"{told.auprc:.3f}",
            f"{told.fpr95:.3f}",
            f"{told.best_f1:.3f}",
        )
    table.add_row("everything is anomalous", "0.500", "", "", "1.000", f"{result.f1_all_positive:.3f}")
    return table


def _datasets(say: Console, result: Evaluation) -> None:
    parts = []
    if result.within_datasets is not None:
        each = ", ".join(f"{escape(name)} {pairs.auroc:.3f}" for name, pairs in result.within_dataset.items())
        parts.append(f"AUROC within one dataset {result.within_datasets.auroc:.3f} ({each})")
    if result.across_datasets is not None:
        across = result.across_datasets
        parts.append(f"across datasets {across.auroc:.3f}, worst normal drive {across.worst:.3f}")
    say.print(f"[bold]datasets[/]  {'; '.join(parts)}")


def _events(say: Console, result: Evaluation) -> None:
    events, budget = result.events, result.budget
    if events.measured == "nothing":
        say.print("[bold]events[/]    none can be expected of single pictures, or of drives this short")
    if events.spliced.count:
        say.print(f"[bold]events[/]    behind a normal drive: {recall_words(events.spliced)}")
        if events.spliced_within_dataset.count:
            say.print(f"          of one dataset alone: {recall_words(events.spliced_within_dataset)}")
    if events.from_the_first_frame.count:
        head = "          " if events.spliced.count else "[bold]events[/]    "
        say.print(f"{head}from the first frame: {recall_words(events.from_the_first_frame)}")
    if events.control.count:
        say.print(
            f"          control: {events.control.found} of {events.control.count} normal drives behind another normal one "
            "raised an event too"
        )
    if events.false_alarms_per_hour is not None:
        total = sum(events.false_alarms.values())
        kinds = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in events.false_alarms.items() if n)
        say.print(
            f"[bold]alarms[/]    {count(total, 'false alarm')} in {events.hours:.3g} h of normal driving"
            f"{f' ({kinds})' if kinds else ''}: {events.false_alarms_per_hour:.3g} per hour{_bracket(events.interval)}"
        )
    observed = (
        ""
        if budget.observed_per_hour is None
        else f", {budget.observed_per_hour:.3g}{_bracket(budget.interval)} came"
    )
    colour = {"broken": "bold red", "kept": "green"}.get(budget.verdict, "yellow")
    say.print(
        f"[bold]budget[/]    {budget.claimed_per_hour:.3g} left-domain alarms per hour are promised{observed}: "
        f"[{colour}]{budget.verdict}[/]"
    )


def recall_words(recall: Recall) -> str:
    """Found, of how many, and how soon."""
    text = f"{recall.found} of {recall.count} found"
    if recall.recall is not None:
        text += f" ({recall.recall:.0%}{_bracket(recall.interval)})"
    if recall.delay_p50_s is not None and recall.delay_p95_s is not None:
        text += f", after {recall.delay_p50_s:.1f} s (median), {recall.delay_p95_s:.1f} s (95 %)"
    if recall.cant_tell:
        text += f"; {recall.cant_tell} more told as cant_tell"
    if recall.faults:
        text += f"; {recall.faults} with a camera fault"
    return text


def _faults(result: Evaluation) -> Table:
    severities = sorted({f.severity for f in result.faults})
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("camera faults, made to order", no_wrap=True)
    for severity in severities:
        for heading in (f"severity {severity}: told", "mode", "delay"):
            table.add_column(heading, justify="right")
    for mode, rows in groupby(result.faults, key=lambda f: f.mode):
        by_severity = {f.severity: f for f in rows}
        cells = [cell for s in severities for cell in _fault_cells(by_severity.get(s))]
        table.add_row(mode.replace("_", " "), *cells)
    return table


def _fault_cells(fault: FaultResult | None) -> tuple[str, str, str]:
    if fault is None:
        return "", "", ""
    colour = "green" if fault.recall_fault >= 0.99 else "yellow" if fault.recall_fault > 0 else "red"
    delay = "" if fault.delay_p50_s is None else f"{fault.delay_p50_s:.1f} s"
    return f"[{colour}]{fault.recall_fault:.0%}[/]", f"{fault.recall_mode:.0%}", delay


def _weakest(result: Evaluation) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("hardest drives", no_wrap=True)
    for heading in ("side", "AUROC", "score", "events"):
        table.add_column(heading, justify="left" if heading in {"side", "events"} else "right")
    for side in ("normal", "anomalous"):
        rows = [d for d in result.per_drive if d.side == side]
        for drive in sorted(rows, key=lambda d: d.auroc)[:WEAKEST]:
            table.add_row(
                escape(drive.name),
                drive.side,
                f"{drive.auroc:.3f}",
                f"{drive.score[1]:.1f}",
                event_words(drive),
            )
    return table


def event_words(drive: DriveResult) -> str:
    """The events of one drive, and how many splices in front of it were noticed."""
    parts = [f"{n} {mode.replace('_', ' ')}" for mode, n in drive.events.items()]
    if drive.splices and drive.side == "anomalous":
        parts.append(f"{drive.splices_found} of {drive.splices} splices")
    return ", ".join(parts)


def _listed(names: Iterable[str], most: int = 6) -> str:
    named = list(names)
    return ", ".join(named[:most]) + (f" and {len(named) - most} more" if len(named) > most else "")


def _range(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval[0]:.2f}-{interval[1]:.2f}"


def _bracket(interval: Interval | None) -> str:
    return "" if interval is None else f" \\[{interval[0]:.3g}, {interval[1]:.3g}]"
