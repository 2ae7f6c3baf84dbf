"""What ``sightline run`` shows: events on standard output; status as a table on a terminal, else as lines on
standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TextIO, cast

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from engines.console import console
from engines.errors import masked
from monitor.events import Event, Phase
from monitor.outlet import Outlet
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
    """Shows events, log lines and status, a live table where standard output is a terminal; ``log`` may be called from any
    thread. Nothing here waits for a reader, and one that left is no error."""

    def __init__(self) -> None:
        self._stdout, self._stderr = Outlet(sys.stdout), Outlet(sys.stderr)
        self._out = console(file=cast(TextIO, self._stdout))
        terminal = self._stdout.isatty()
        self.live = Live(console=self._out, auto_refresh=False, transient=True) if terminal else None
        self.every_s = TABLE_EVERY_S if terminal else PLAIN_EVERY_S

    def close(self) -> None:
        """Write what waits, as long as somebody reads it."""
        self._stdout.end()
        self._stderr.end()

    def event(self, event: Event, *, muted: bool = False) -> None:
        if event.phase != Phase.UPDATE:
            mark = "  [dim]muted[/]" if muted else ""
            self._out.print(f"[bold]{escape(event.stream)}[/]  {event_line(event)}{mark}")

    def say(self, text: str) -> None:
        self._out.print(escape(text))

    def log(self, text: str) -> None:
        line = masked(" ".join(text.split()))
        if self.live is not None:
            self._out.print(f"[yellow]{escape(line)}[/]")
            return
        self._stderr.write(f"sightline: {line}\n")

    def status(self, rows: Sequence[Row]) -> None:
        if self.live is not None:
            problems = [Text(row.problem, "dim") for row in rows if row.problem]
            self.live.update(Group(_table(rows), *problems), refresh=True)
            return
        for row in rows:
            rates = f"{row.fps:.1f} fps, {row.scored_per_s:.1f} scored/s, {row.dropped} dropped"
            problem = f"; {row.problem}" if row.problem else ""
            self._stderr.write(
                f"{row.camera}: {row.status}, {rates}, {row.reconnects} reconnects, {row.verdict}{problem}\n"
            )


@contextmanager
def screen() -> Iterator[Screen]:
    """A screen, closed at the end."""
    shown = Screen()
    try:
        with nullcontext() if shown.live is None else shown.live:
            yield shown
    finally:
        shown.close()


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
