"""Files that are whole or absent, and rows of scores."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from engines.errors import OutputError
from engines.health import CHECKS
from engines.whole_file import partial_beside
from monitor.pipeline import Watched

STATISTICS = tuple(
    dict.fromkeys(
        ("black", "white", "still_s", "sharpness", "blur", "covered", *(c.statistic for c in CHECKS))
    )
)
COLUMNS = (
    "source", "index", "time_s", "surprise", "verdict", "mode", "background", "residual", "damage", "domain", "departure", "corruption",
    "suspect", *STATISTICS,
)  # fmt: skip


@contextmanager
def whole_file(path: Path, newline: str | None = None) -> Iterator[IO[str]]:
    """Open a temporary file beside ``path`` and give it its name once everything in it has been written."""
    try:
        with partial_beside(path) as partial:
            with partial.open("w", encoding="utf-8", newline=newline) as file:
                yield file
            partial.replace(path)
    except OSError as error:
        raise OutputError(path, f"must be writable: {error.strerror}", "choose another file") from error


def score_row(watched: Watched) -> tuple[Any, ...]:
    """One frame as a row of COLUMNS; 9 digits bring every float32 back exactly."""
    health, judged = watched.health, watched.judged
    numbers = (
        watched.background, watched.residual, watched.damage, judged.levels.domain, judged.levels.departure,
        judged.levels.corruption,
    )  # fmt: skip
    statistics = (health.statistics.get(name, math.nan) for name in STATISTICS)
    return (
        watched.frame.stream,
        watched.frame.index,
        f"{watched.frame.time_s:.6f}",
        f"{watched.surprise:.9g}",
        judged.verdict.value,
        judged.mode,
        *(f"{n:.9g}" for n in numbers),
        health.suspect.value if health.suspect is not None else "",
        *(f"{n:.6g}" for n in statistics),
    )


class ScoreFile:
    """``--scores``: CSV, or Parquet where pyarrow is installed; one row per frame, whole or absent."""

    def __init__(self, path: Path) -> None:
        if path.suffix not in {".csv", ".parquet"}:
            raise OutputError(
                path, f"must end in .csv or .parquet, got {path.suffix or 'nothing'}", "rename it"
            )
        if path.suffix == ".parquet":
            _pyarrow(path)
        self._path = path
        self._manager = whole_file(
            path.with_suffix(".csv") if path.suffix == ".csv" else path.with_suffix(".rows"), newline=""
        )

    def __enter__(self) -> ScoreFile:
        self._file = self._manager.__enter__()
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(COLUMNS)
        return self

    def write(self, watched: Watched) -> None:
        self._writer.writerow(score_row(watched))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.__exit__(kind, error, trace)
        if kind is None and self._path.suffix == ".parquet":
            rows = self._path.with_suffix(".rows")
            arrow_csv, parquet = _pyarrow(self._path)
            with partial_beside(self._path) as partial:
                parquet.write_table(arrow_csv.read_csv(rows), partial)
                partial.replace(self._path)
            rows.unlink()


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow.csv
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise OutputError(
            path, "needs the package pyarrow for Parquet", "pip install 'sightline[parquet]', or write .csv"
        ) from error
    return pyarrow.csv, pyarrow.parquet
