"""The journal: numbers, pages, retention, and one line for every file that cannot be used."""

from __future__ import annotations

import os
import resource
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.errors import InputError, OutputError, SightlineError
from monitor.journal import PAGE_BYTES, SCHEMA_VERSION, Journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.journal"


def fill(journal: Journal, count: int) -> None:
    for _ in range(count):
        journal.append("alert/cam1/left_domain/", lambda sequence: b"%d" % sequence)


def test_numbers_begin_at_one_and_continue_after_reopening(path: Path) -> None:
    with Journal(path) as journal:
        assert (journal.oldest, journal.head) == (0, 0)
        first = journal.append("a/", lambda sequence: b"<%d>" % sequence)
        assert (first.sequence, first.topic, first.payload) == (1, "a/", b"<1>")
        epoch = journal.epoch
    with Journal(path) as journal:
        assert journal.append("b/", lambda sequence: b"").sequence == 2
        assert (journal.epoch, journal.oldest, journal.head) == (epoch, 1, 2)
        assert [entry.topic for entry in journal.since(0).entries] == ["a/", "b/"]


def test_each_journal_has_an_epoch_of_its_own(tmp_path: Path) -> None:
    with Journal(tmp_path / "a") as a, Journal(tmp_path / "b") as b:
        assert len(a.epoch) == len(b.epoch) == 16
        assert a.epoch != b.epoch


@pytest.mark.parametrize(
    ("since", "limit", "expected"),
    [
        pytest.param(0, 3, [1, 2, 3], id="first page"),
        pytest.param(3, 3, [4, 5, 6], id="next page"),
        pytest.param(6, 9, [7], id="last page"),
        pytest.param(7, 9, [], id="nothing newer"),
        pytest.param(99, 9, [], id="beyond the end"),
    ],
)
def test_pages(path: Path, since: int, limit: int, expected: list[int]) -> None:
    with Journal(path) as journal:
        fill(journal, 7)
        page = journal.since(since, limit)
        assert [entry.sequence for entry in page.entries] == expected
        assert [entry.payload for entry in page.entries] == [b"%d" % n for n in expected]
        assert (page.epoch, page.oldest, page.head) == (journal.epoch, 1, 7)


def test_page_is_cut_at_a_mebibyte_but_never_empty(path: Path) -> None:
    with Journal(path) as journal:
        for size in (PAGE_BYTES * 2, PAGE_BYTES // 2, PAGE_BYTES // 2, 1):
            journal.append("a/", lambda sequence, size=size: b"x" * size)  # type: ignore[misc]
        assert [entry.sequence for entry in journal.since(0).entries] == [1]
        assert [entry.sequence for entry in journal.since(1).entries] == [2, 3]


def test_retention_keeps_the_newest_and_says_what_is_oldest(path: Path) -> None:
    with Journal(path, keep=5) as journal:
        fill(journal, 12)
        page = journal.since(2)
        assert (page.oldest, page.head) == (8, 12)
        assert [entry.sequence for entry in page.entries] == [8, 9, 10, 11, 12]
    with Journal(path, keep=2) as journal:
        fill(journal, 1)
        assert (journal.oldest, journal.head) == (12, 13)


def test_failing_payload_leaves_no_trace(path: Path) -> None:
    with Journal(path) as journal:
        fill(journal, 1)
        with pytest.raises(ZeroDivisionError):
            journal.append("a/", lambda sequence: b"%d" % (sequence // 0))
        assert journal.append("a/", lambda sequence: b"").sequence == 2


def test_reader_sees_what_is_written_later_and_cannot_write(path: Path) -> None:
    with Journal(path) as journal, journal.reader() as reader:
        fill(journal, 3)
        assert (reader.epoch, reader.head, len(reader.since(1).entries)) == (journal.epoch, 3, 2)
        with pytest.raises(InputError, match="attempt to write a readonly database"):
            fill(reader, 1)


def test_threads_share_a_journal_without_holes(path: Path) -> None:
    with Journal(path) as journal, Journal(path) as other:
        writers = [threading.Thread(target=fill, args=(opened, 25)) for opened in (journal, journal, other)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(20)
        assert [entry.sequence for entry in journal.since(0).entries] == list(range(1, 76))


def directory(path: Path) -> None:
    path.mkdir()


def text(path: Path) -> None:
    path.write_text("just a diary, no journal at all\n" * 100)


def other_database(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE cats (name TEXT)")
    database.close()


def newer(path: Path) -> None:
    Journal(path).close()
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()


def torn(path: Path) -> None:
    with Journal(path) as journal:
        fill(journal, 300)
    content = path.read_bytes()
    path.write_bytes(content[:1024] + os.urandom(len(content) - 1024))


def absent_folder(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere" / "journal")


@pytest.mark.parametrize("read_only", [False, True], ids=["writer", "reader"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (directory, "check that the folder exists"),
        (absent_folder, "unable to open database file"),
        (text, "file is not a database; move the file away"),
        (other_database, "must be a journal of alerts, is some other database"),
        (newer, f"must have schema {SCHEMA_VERSION} or older, has {SCHEMA_VERSION + 1}; update"),
        (torn, "must be a journal of alerts, got: "),
    ],
)
def test_unusable_file_is_one_line(
    path: Path, spoil: Callable[[Path], None], message: str, read_only: bool
) -> None:
    spoil(path)
    with pytest.raises(SightlineError) as caught, Journal(path, read_only=read_only) as journal:
        journal.since(0)
    assert isinstance(caught.value, InputError if read_only else OutputError)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reader_of_an_absent_journal_does_not_create_it(path: Path) -> None:
    with pytest.raises(InputError):
        Journal(path, read_only=True)
    assert not path.exists()


def test_some_other_database_is_left_as_it_was(path: Path) -> None:
    other_database(path)
    before = path.read_bytes()
    with pytest.raises(OutputError):
        Journal(path)
    assert path.read_bytes() == before


def test_full_disk_is_one_line_and_leaves_the_journal_usable(path: Path) -> None:
    """The kernel's limit on the size of a file stands for the end of the disk."""
    with Journal(path) as journal:
        fill(journal, 3)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(OutputError, match=r"must be writable, got: .*the free space"):
                journal.append("a/", lambda sequence: b"x" * 200_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert journal.append("a/", lambda sequence: b"").sequence == 4
        assert [entry.sequence for entry in journal.since(0).entries] == [1, 2, 3, 4]


def test_keep_must_be_positive(path: Path) -> None:
    with pytest.raises(ValueError, match="keep: must be at least 1, got 0"):
        Journal(path, keep=0)
