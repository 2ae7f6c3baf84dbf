"""Every error a user can meet, with the exit code that scripts may rely on.

SightlineError                 1   anything below, caught as one
├── InputError                 3   a path, video, image or folder cannot be used
├── BundleError                4   a bundle is missing, damaged or newer than this version
├── EngineError                5   a backend cannot load, or was given wrong arrays
├── CalibrationError           6   too little footage for what was asked
├── OutputError                7   a result cannot be written
├── ConfigError                8   a configuration file is wrong
└── EndpointError              9   a network endpoint cannot be opened or reached

Exit code 2 is a wrong command line, 130 an interruption from the keyboard. Messages read
``where: what must be, what was got, what to do`` on one line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# Greedy up to the last @ of the word: a password may hold @ and / itself.
_CREDENTIALS = re.compile(r"(?<=://)[^\s?#]+@")
_QUERY = re.compile(r"(?i)\b(password|passwd|pwd|token|secret)=[^&\s]+")


def masked(text: str) -> str:
    """Return ``text`` with the user and password of every URL in it, and secrets in its query, replaced by ``***``."""
    return _QUERY.sub(r"\1=***", _CREDENTIALS.sub("***@", text))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy for a word that is not known: the nearest of those that are, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"


def first_line(error: BaseException) -> str:
    """What another library's error says, on one line."""
    lines = str(error).splitlines()
    return lines[0][:100] if lines else type(error).__name__


class SightlineError(Exception):
    """Base of all errors that end a command with one line and ``exit_code``."""

    exit_code = 1

    def __init__(self, where: object, problem: str, remedy: str = "") -> None:
        self.where, self.problem, self.remedy = masked(str(where)), masked(problem), remedy
        super().__init__(f"{self.where}: {self.problem}" + (f"; {remedy}" if remedy else ""))


class InputError(SightlineError):
    """A path, video, image or folder cannot be used."""

    exit_code = 3


class BundleError(SightlineError):
    """A bundle is missing, damaged, or written by a newer version."""

    exit_code = 4


class EngineError(SightlineError):
    """A backend cannot load a graph, or was given arrays it must refuse."""

    exit_code = 5


class CalibrationError(SightlineError):
    """The footage is too little for what was asked of it."""

    exit_code = 6


class OutputError(SightlineError):
    """A result cannot be written."""

    exit_code = 7


class ConfigError(SightlineError):
    """A configuration file is wrong."""

    exit_code = 8


class EndpointError(SightlineError):
    """A network endpoint cannot be opened or reached."""

    exit_code = 9
