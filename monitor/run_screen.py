"""What ``sightline run`` shows: events on standard output; status as a table on a terminal, else as lines on
standard error.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from engines.console import console
from engines.errors import masked
from monitor.events import Event, Phase
from monitor.replay_command import event_line

PLAIN_EVERY_S = 10.0
TABLE_EVERY_S = 0.5
HEADINGS = ("camera", "status", "fps", "scored/s", "dropped", "reconnects", "verdict")


@dataclass(frozen=True, slots=True)
class Row:
    """The state of one camera. problem: what went wrong last, while it is not streaming."""

    camera: str
    status: str
    fps: float
    scored_per_s: float
    dropped: int
    reconnects: int
    verdict: str
    problem: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        rates = (f"{self.fps:.1f}", f"{self.scored_per_s:.1f}", str(self.dropped), str(self.reconnects))
        return (self.camera, self.status, *rates, self.verdict)


class Screen:
    """Shows events, log lines and status; ``log`` may be called from any thread.

    A reader that left is no error.
    """

    def __init__(self, live: Live | None = None) -> None:
        self._live = live
        self._out = live.console if live is not None else console()
        self._shown_s = time.monotonic()
        self.every_s = TABLE_EVERY_S if live is not None else PLAIN_EVERY_S

    def event(self, event: Event, *, muted: bool = False) -> None:
        if event.phase != Phase.UPDATE:
            mark = "  [dim]muted[/]" if muted else ""
            self._print(f"[bold]{escape(event.stream)}[/]  {event_line(event)}{mark}")

    def say(self, text: str) -> None:
        self._print(escape(text))

    def log(self, text: str) -> None:
        line = masked(" ".join(text.split()))
        if self._live is not None:
            self._print(f"[yellow]{escape(line)}[/]")
            return
        _write(f"sightline: {line}\n")

    def status(self, rows: Sequence[Row]) -> None:
        if self._live is not None:
            problems = [Text(row.problem, "dim") for row in rows if row.problem]
            self._live.update(Group(_table(rows), *problems), refresh=True)
            return
        for row in rows:
            rates = f"{row.fps:.1f} fps, {row.scored_per_s:.1f} scored/s, {row.dropped} dropped"
            problem = f"; {row.problem}" if row.problem else ""
            _write(
                f"{row.camera}: {row.status}, {rates}, {row.reconnects} reconnects, {row.verdict}{problem}\n"
            )

    def _print(self, markup: str) -> None:
        try:
            self._out.print(markup)
            sys.stdout.flush()
        except BrokenPipeError:
            # Nobody reads any more: the watch goes on, and alerts do too.
            _silence(sys.stdout.fileno())
        except OSError:
            pass  # the disk behind it is full, say: this line is lost, others may not be


@contextmanager
def screen() -> Iterator[Screen]:
    """A live table where standard output is a terminal, plain lines elsewhere."""
    if not sys.stdout.isatty():
        yield Screen()
        return
    with Live(console=console(), auto_refresh=False, transient=True) as live:
        yield Screen(live)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows`` as text in columns two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(*HEADINGS, box=None, header_style="dim")
    for row in rows:
        table.add_row(*map(escape, row.cells))
    return table


def _write(line: str) -> None:
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except BrokenPipeError:
        _silence(sys.stderr.fileno())
    except OSError:
        pass  # as above


def _silence(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
