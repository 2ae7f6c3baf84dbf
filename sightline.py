"""The ``sightline`` command: finds each package's sub-commands and loads only the one that was asked for."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import typer

from engines import __version__
from engines.errors import OutputError, SightlineError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@dataclass(frozen=True, slots=True)
class Command:
    """A sub-command: its name, one line of help, where its function lives, and the extra that brings it."""

    name: str
    summary: str
    target: str
    panel: str
    extra: str = ""


COMMANDS = (
    Command(
        "fit", "Teach a bundle from footage of normal driving.", "training.fit_command:fit_command", "Teach"
    ),
    Command(
        "calibrate",
        "Move a bundle to a new camera from minutes of its footage.",
        "training.calibrate_command:calibrate_command",
        "Teach",
    ),
    Command("wrap", "Make a bundle of any ONNX network.", "training.wrap.command:wrap_command", "Teach"),
    Command(
        "train",
        "Train an encoder of your own and teach a bundle with it.",
        "training.train.command:train_command",
        "Teach",
        "train",
    ),
    Command(
        "evaluate",
        "Judge a bundle by drives it was not taught on.",
        "monitor.evaluation.command:evaluate_command",
        "Teach",
    ),
    Command(
        "compile",
        "Compile a bundle for a processor or a GPU.",
        "engines.compiling.compile_command:compile_command",
        "Teach",
    ),
    Command(
        "verify",
        "Prove a bundle whole and its engines equal to the reference.",
        "engines.proof.verify_command:verify",
        "Teach",
    ),
    Command(
        "bench", "Measure how fast a bundle's engines are.", "engines.proof.bench_command:bench", "Teach"
    ),
    Command(
        "replay",
        "Watch recordings: events, scores, a report.",
        "monitor.replay_command:replay_command",
        "Watch",
    ),
    Command("run", "Watch live cameras named in a config.", "monitor.run_command:run", "Watch"),
    Command(
        "watch", "Follow the alerts of an endpoint; none is lost.", "monitor.watch_command:watch", "Watch"
    ),
    Command(
        "faults", "Break the camera of any footage in one of 36 ways.", "engines.faults.command:faults", "Try"
    ),
    Command("render", "Render the synthetic drive as a video.", "monitor.render_command:render", "Try"),
)

os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
"""Before OpenCV is loaded. Its threads wait for work at full speed, and there is little to share: with two, cameras cost
15 to 28 % more processor time, at the same latency."""

MANY = frozenset({"--normal", "--other", "--anomalous"})
"""Options that take one or more values."""


def load(command: Command) -> Callable[..., Any]:
    """Import the function behind ``command``; a missing extra is named in one line."""
    module, _, function = command.target.partition(":")
    try:
        return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"monitor", "engines", "training", "configs"} or not command.extra:
            raise
        raise SightlineError(
            f"sightline {command.name}",
            f"needs the package {package}, which is not installed",
            f"pip install 'sightline[{command.extra}]'",
        ) from error


def _stub(summary: str) -> Callable[[], None]:
    def command() -> None: ...

    command.__doc__ = summary
    return command


def _version(value: bool) -> None:
    if value:
        typer.echo(f"sightline {__version__}")
        raise typer.Exit


def build(name: str | None) -> typer.Typer:
    """Return the command line with ``name`` loaded for real and every other sub-command as its one line."""
    app = typer.Typer(
        name="sightline",
        help="Knows the moment a camera can no longer be trusted, or the scene is no longer the one it was taught.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        version: bool = typer.Option(
            False, "--version", callback=_version, is_eager=True, help="Print the version."
        ),
        debug: bool = typer.Option(False, "--debug", help="Show the whole traceback of an error."),
    ) -> None: ...

    for command in COMMANDS:
        function = load(command) if command.name == name else _stub(command.summary)
        app.command(command.name, rich_help_panel=command.panel, short_help=command.summary)(function)
    return app


def repeated(arguments: list[str]) -> list[str]:
    """Write ``--normal A B`` as ``--normal A --normal B``: shells expand ``drives/*.mp4`` to many words
    behind one option."""
    result: list[str] = []
    option = ""
    for word in arguments:
        if word.startswith("-"):
            option = word if word in MANY else ""
            result.append(word)
        elif option and result[-1] != option:
            result += [option, word]
        else:
            result.append(word)
    return result


def main() -> None:
    """Run the command line; end with one line and a documented exit code on any foreseen error."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    name = next((a for a in arguments if not a.startswith("-")), None)
    _make_usable()
    try:
        try:
            build(name)(args=repeated(arguments), prog_name="sightline")
        finally:
            sys.stdout.flush()
    except SightlineError as error:
        if debug:
            raise
        _end(str(error), error.exit_code)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except BrokenPipeError:
        _give_up_output()
        sys.exit(1)
    except OSError as error:
        # Files are told of where they are written; what has no name is the output of the command.
        if debug or error.filename is not None or error.errno not in _NO_ROOM:
            raise
        _give_up_output()
        _end(
            f"standard output: must be writable: {error.strerror}; write it elsewhere", OutputError.exit_code
        )


def _make_usable() -> None:
    """Standard output and error that were closed swallow what comes, and characters that they do not know are replaced."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _give_up_output() -> None:
    """What is left in the buffer goes nowhere, or Python would fail on it once more at its end."""
    from engines.console import to_nowhere  # rich, which the other ways out need not load

    to_nowhere(sys.stdout.fileno())


def _end(line: str, code: int) -> NoReturn:
    with suppress(OSError):
        sys.stderr.write(f"sightline: {line}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
