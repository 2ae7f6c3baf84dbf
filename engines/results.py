"""What a command leaves for scripts: JSON, whole or absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from engines.whole_file import write_whole


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write ``result`` where a path was given; OutputError where that cannot be done."""
    if path is not None:
        write_whole(path, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
