"""Checkpoints that are whole or absent."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from engines.errors import InputError, first_line
from engines.whole_file import write_whole

FULL = "free space; what was there before is kept"
"""What to do about a checkpoint that cannot be written."""


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers and text so that ``load`` brings them back; a full disk raises OutputError and leaves the
    checkpoint that was there."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(path, buffer.getvalue(), FULL)


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
    write_whole(path, text.getvalue().encode(), FULL)
