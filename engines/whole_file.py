"""Files that are whole or absent, whoever writes them at the same time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engines.errors import OutputError

_UMASK = os.umask(0o077)
"""Asked for once, while this thread is alone: it cannot be read without being set."""
os.umask(_UMASK)


def check_outputs(*wanted: Path | None, reads: Iterable[Path] = ()) -> None:
    """Raise OutputError now rather than after an hour's work. reads: files and whole folders that are read, none of which
    may be replaced."""
    paths = [path for path in wanted if path is not None]
    for path in paths:
        if not path.parent.is_dir():
            raise OutputError(
                path, f"must be in a folder that exists; {path.parent} does not", "make the folder first"
            )
        if path.is_dir():
            raise OutputError(path, "must be a file, is a folder", "name a file in it")
    places, kept = [path.resolve() for path in paths], {path.resolve() for path in reads}
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise OutputError(path, "must be the file of one output, is that of two", "name two files")
        if not kept.isdisjoint((place, *place.parents)):
            raise OutputError(path, "must not be, or lie in, what is read", "name another file")


@contextmanager
def partial_beside(path: Path) -> Iterator[Path]:
    """A new file beside ``path``, to be renamed to it; gone in the end if it was not. OSError where there can be none."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        partial.chmod(0o666 & ~_UMASK)
        yield partial
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes, remedy: str = "choose another place") -> None:
    """Write ``data`` under a temporary name beside ``path``, then rename; OutputError, which says ``remedy``, where that
    cannot be done, and what was there before stays."""
    try:
        with partial_beside(path) as partial:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                # Without this a power cut could leave the new name on an empty file.
                os.fsync(file.fileno())
            partial.replace(path)
    except OSError as error:
        raise OutputError(path, f"must be writable: {error.strerror}", remedy) from error
