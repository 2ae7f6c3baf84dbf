"""The journal: every alert, numbered and on disk before anybody hears of it (SQLite in WAL mode).

The epoch is drawn when the file is created and never again: an epoch that changed means the journal was lost.
Numbers begin at 1 and have no holes; only the newest ``keep`` entries are kept, and a page says which entry
is the oldest.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from engines.errors import InputError, OutputError, SightlineError

APPLICATION_ID = 0x534C4A31
SCHEMA_VERSION = 1
KEEP = 1_000_000
LOCK_TIMEOUT_S = 5.0
PAGE_BYTES = 1 << 20

_SCHEMA = f"""
CREATE TABLE journal (epoch TEXT NOT NULL) STRICT;
CREATE TABLE entries (sequence INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL) STRICT;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""
_MOVE_AWAY = "move the file away to begin a new journal (subscribers will be told)"


@dataclass(frozen=True, slots=True)
class Entry:
    """One alert as it was journalled; ``sequence`` counts from 1."""

    sequence: int
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Consecutive entries, with the journal's extent at the same moment.

    oldest, head: the first and last number still kept, both 0 in an empty journal. Entries older than
    ``oldest`` were
    pruned: who asked for them has lost them.
    """

    epoch: str
    oldest: int
    head: int
    entries: tuple[Entry, ...]


class Journal:
    """An open journal; safe to use from any thread.

    path: the file, created when absent unless ``read_only``. keep: how many of the newest entries are kept,
    at least 1. Raises OutputError (InputError when ``read_only``) where the file cannot be used.
    """

    def __init__(self, path: Path | str, *, keep: int = KEEP, read_only: bool = False) -> None:
        if keep < 1:
            raise ValueError(f"keep: must be at least 1, got {keep}")
        self.path = Path(path)
        self._keep = keep
        self._read_only = read_only
        self._lock = threading.Lock()
        address = f"file:{quote(str(self.path.absolute()))}?mode={'ro' if read_only else 'rwc'}"
        with self._one_line():
            self._db = sqlite3.connect(
                address, uri=True, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        try:
            self.epoch = self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> str:
        with self._one_line():
            if not self._read_only:
                self._create_if_empty()
            application, version = self._number("PRAGMA application_id"), self._number("PRAGMA user_version")
        if application != APPLICATION_ID:
            raise self._error("must be a journal of alerts, is some other database", "choose another path")
        if version > SCHEMA_VERSION:
            raise self._error(
                f"must have schema {SCHEMA_VERSION} or older, has {version}", "update sightline to read it"
            )
        with self._one_line():
            if not self._read_only:
                self._write_ahead()
            (epoch,) = self._db.execute("SELECT epoch FROM journal").fetchone()
        return str(epoch)

    def _create_if_empty(self) -> None:
        if self._number("SELECT count(*) FROM sqlite_schema") or self._number("PRAGMA application_id"):
            return
        self._write_ahead()
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            if self._number("SELECT count(*) FROM sqlite_schema"):
                return
            for statement in filter(str.strip, _SCHEMA.split(";")):
                self._db.execute(statement)
            self._db.execute("INSERT INTO journal VALUES (?)", (secrets.token_hex(8),))

    def _write_ahead(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        # An alert is rare and must survive a power cut: wait for the disk at every commit.
        self._db.execute("PRAGMA synchronous = FULL")

    def append(self, topic: str, compose: Callable[[int], bytes]) -> Entry:
        """Write one entry and return it once it is on disk; ``compose`` makes the payload for the number it
        is given.

        Raises OutputError when it cannot be written; then nothing was.
        """
        with self._lock, self._one_line(), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            sequence = self._number("SELECT max(sequence) FROM entries") + 1
            entry = Entry(sequence, topic, compose(sequence))
            self._db.execute("INSERT INTO entries VALUES (?, ?, ?)", (sequence, topic, entry.payload))
            self._db.execute("DELETE FROM entries WHERE sequence <= ?", (sequence - self._keep,))
        return entry

    def since(self, sequence: int, limit: int = 256) -> Page:
        """Return up to ``limit`` entries after ``sequence``, fewer when they exceed a mebibyte, in order."""
        with self._lock, self._one_line(), self._db:
            self._db.execute("BEGIN")
            oldest, head = self._db.execute("SELECT min(sequence), max(sequence) FROM entries").fetchone()
            rows = self._db.execute(
                "SELECT sequence, topic, payload FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (sequence, limit),
            )
            return Page(self.epoch, oldest or 0, head or 0, tuple(_within(rows, PAGE_BYTES)))

    @property
    def head(self) -> int:
        """The newest number, 0 when empty."""
        with self._lock, self._one_line():
            return self._number("SELECT max(sequence) FROM entries")

    @property
    def oldest(self) -> int:
        """The oldest number still kept, 0 when empty."""
        with self._lock, self._one_line():
            return self._number("SELECT min(sequence) FROM entries")

    def reader(self) -> Journal:
        """Return a second, read-only opening of the same file."""
        return Journal(self.path, keep=self._keep, read_only=True)

    def close(self) -> None:
        """Close the file; harmless twice."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _number(self, query: str) -> int:
        (value,) = self._db.execute(query).fetchone()
        return int(value or 0)

    def _error(self, problem: str, remedy: str) -> SightlineError:
        return (InputError if self._read_only else OutputError)(self.path, problem, remedy)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            wanted = "be a journal that can be read" if self._read_only else "be writable"
            remedy = "check that the folder exists, its permissions and the free space"
            raise self._error(f"must {wanted}, got: {error}", remedy) from error
        except sqlite3.Error as error:
            raise self._error(f"must be a journal of alerts, got: {error}", _MOVE_AWAY) from error


def _within(rows: Iterator[tuple[int, str, bytes]], size: int) -> Iterator[Entry]:
    """Yield entries until their payloads exceed ``size`` bytes, at least one."""
    for row in rows:
        entry = Entry(*row)
        yield entry
        size -= len(entry.payload)
        if size <= 0:
            return
