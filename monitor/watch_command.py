"""``sightline watch``: follows the alerts of an endpoint until told to stop."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from monitor.alerts import DRIFT, Alert, Data, encode
from monitor.cursor import Notice
from monitor.events import Level, Phase, Verdict
from monitor.signals import stop_on_signal
from monitor.subscriber import Subscriber
from monitor.wire import Curve

POLL_S = 0.2
KINDS = (*(verdict.value for verdict in Verdict if verdict is not Verdict.OK), DRIFT)
STYLES = {
    Level.OK: "green",
    Level.INFO: "cyan",
    Level.WARN: "yellow",
    Level.ERROR: "bold red",
    Level.STALE: "magenta",
}


def watch(
    endpoint: Annotated[str, typer.Argument(help="tcp://HOST:PORT or ipc://PATH of a publisher.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    since: Annotated[
        int | None,
        typer.Option(min=0, help="Begin after this number, 0 for all that is kept; without it from now on."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help=f"Show this kind alone: {' or '.join(KINDS)}.")] = None,
    camera: Annotated[str | None, typer.Option(help="Show this camera alone.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many alerts.")] = None,
    key: Annotated[Path | None, typer.Option(help="Own CURVE certificate (*.key_secret).")] = None,
    server_key: Annotated[
        Path | None, typer.Option(help="The publisher's public certificate (*.key).")
    ] = None,
) -> None:
    """Follow the alerts of an endpoint; none is lost, and what could not be had is said on standard error.

    Ends with exit code 0 on Ctrl-C, on SIGTERM and after --count alerts.

    Example: sightline watch tcp://127.0.0.1:5556 --since 0 --kind camera_fault
    """
    if kind is not None and kind not in KINDS:
        raise typer.BadParameter(f"must be {' or '.join(KINDS)}, got {kind!r}", param_hint="--kind")
    if (key is None) != (server_key is None):
        raise typer.BadParameter("must be given together", param_hint="--key and --server-key")
    curve = None if key is None or server_key is None else Curve(key, server_key)
    out = Console(soft_wrap=True, highlight=False)
    with stop_on_signal() as stop:
        subscriber = Subscriber(endpoint, since, camera, kind, curve=curve, notify=_tell)
        try:
            with subscriber:
                _follow(subscriber, stop, out, json=json, count=count)
        except BrokenPipeError:
            # The reader of our output has left; keep the interpreter from failing again when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _follow(
    subscriber: Subscriber, stop: threading.Event, out: Console, *, json: bool, count: int | None
) -> None:
    shown = 0
    while not stop.is_set() and shown != count:
        alert = subscriber.receive(POLL_S)
        if alert is None:
            continue
        if json:
            sys.stdout.buffer.write(encode(alert) + b"\n")
            sys.stdout.buffer.flush()
        else:
            out.print(line(alert))
        shown += 1


def line(alert: Alert) -> Text:
    """Return the alert as one coloured line: when, who, what, since when, how bad, why."""
    data = alert.data
    style = STYLES.get(Level(data.level), "") if data.level in set(Level) else ""
    what = _printable(f"{data.kind} {data.mode}".strip().replace("_", " "))
    text = Text(no_wrap=True)
    text.append(f"{alert.number:>6}  ", "dim")
    text.append(f"{_printable(alert.time or '-'):<27}  ")
    text.append(f"{_printable(data.camera)}  ", "bold")
    text.append(what, style)
    text.append(f"  {_printable(data.phase)}  onset {data.t_onset:.2f} s  detected {data.t_detect:.2f} s")
    text.append("" if data.t_end is None else f"  ended {data.t_end:.2f} s")
    text.append(f"  {_printable(data.level)}", style)
    text.append(f"  {_printable(reason(data))}", "dim")
    text.append("  muted" if data.muted else "", "dim")
    text.append(f"  {_printable(data.advice)}" if data.advice else "")
    return text


def reason(data: Data) -> str:
    """Return why, in a few words: what spoke, how clearly, what else it might have been, and what there is to see."""
    words = data.channel.replace("_", " ")
    if data.score is not None and data.threshold is not None:
        words += (
            f" {data.score:.3g} over {data.threshold:.3g}"
            if data.phase == Phase.START
            else f" {data.score:.3g}"
        )
    words += "" if data.p_value is None else f" (p {data.p_value:.2g})"
    other = data.runner_up
    if other is not None:
        words += f", else {f'{other.kind} {other.mode}'.strip().replace('_', ' ')}"
    seen = data.evidence
    shown = None if seen is None else (seen.clip if data.phase == Phase.END else seen.snapshot)
    return words if shown is None else f"{words}; see {shown}"


def _printable(text: str) -> str:
    """A name from the network must not reach the terminal as an escape sequence."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _tell(notice: Notice) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text(_printable(notice.text), "yellow"))
