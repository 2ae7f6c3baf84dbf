"""Checkpoints that are whole or absent: written under a temporary name, on the disk, then renamed."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from engines.errors import InputError, OutputError, first_line


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers and text so that ``load`` brings them back; a full disk raises OutputError and leaves the
    checkpoint that was there."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(path, buffer.getvalue())


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Only plain data are read: a file that would run code raises InputError."""
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise InputError(
            path, "must be a checkpoint to go on from; there is none", "leave --resume out"
        ) from error
    except Exception as error:
        raise InputError(
            path, f"must be a checkpoint: {first_line(error)}", "delete its folder and begin anew"
        ) from error


def write_table(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write rows of equal keys as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.9g}" for k, v in row.items()} for row in rows)
    write_whole(path, text.getvalue().encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is whole or as it was before."""
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            # Without this a power cut could leave the new name on an empty file.
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise OutputError(
            path, f"must be writable: {error.strerror}", "free space; what was there before is kept"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
