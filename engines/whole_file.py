"""Files that are whole or absent, whoever writes them at the same time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from engines.errors import OutputError

_UMASK = os.umask(0o077)
"""Asked for once, while this thread is alone: it cannot be read without being set."""
os.umask(_UMASK)


def write_whole(path: Path, data: bytes, remedy: str = "choose another place") -> None:
    """Write ``data`` under a temporary name beside ``path``, then rename; OutputError, which says ``remedy``, where that
    cannot be done, and what was there before stays."""
    partial: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        partial = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            # Without this a power cut could leave the new name on an empty file.
            os.fsync(file.fileno())
        partial.chmod(0o666 & ~_UMASK)
        partial.replace(path)
    except OSError as error:
        raise OutputError(path, f"must be writable: {error.strerror}", remedy) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
