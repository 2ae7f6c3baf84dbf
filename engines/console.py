"""Progress and tables for people: a live bar on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY_S = 5.0

Advance = Callable[..., None]
"""``advance(n, note="")``: n more items are done; note is a short word on how fast."""


def console(*, errors: bool = False, file: TextIO | None = None) -> Console:
    """Console on standard output (or error, or ``file``) that wraps nothing where no terminal is."""
    terminal = (file or (sys.stderr if errors else sys.stdout)).isatty()
    return Console(file=file, stderr=errors, highlight=False, soft_wrap=not terminal)


def to_nowhere(descriptor: int) -> None:
    """Let what is written to an open file from now on go nowhere: nobody reads it, or there is no room."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


@contextmanager
def progress(what: str, total: int, unit: str = "frames") -> Iterator[Advance]:
    """Show the progress of ``total`` items (0: unknown) on standard error, so that results on standard output
    stay clean."""
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{unit} {{task.fields[note]}}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total or None, note="")
            yield lambda n=1, note="": bar.update(task, advance=n, note=note)
        return
    yield _plain(what, total, unit)


def _plain(what: str, total: int, unit: str) -> Advance:
    done, due_s = 0, time.monotonic() + LINE_EVERY_S

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, due_s
        done += n
        if time.monotonic() >= due_s:
            due_s = time.monotonic() + LINE_EVERY_S
            of = f" of {total}" if total else ""
            sys.stderr.write(f"{what}: {done}{of} {unit} {note}".rstrip() + "\n")
            sys.stderr.flush()

    return advance
