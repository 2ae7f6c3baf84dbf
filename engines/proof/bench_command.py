"""``sightline bench``: how fast are a bundle's engines."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.box import SIMPLE
from rich.table import Table

from engines.backends import BACKENDS
from engines.bundle import Bundle, open_bundle
from engines.compiling.compile import Say
from engines.console import console, progress
from engines.engine import Engine, Precision
from engines.errors import EngineError
from engines.frames import Image
from engines.graph import load_graph
from engines.machine import identity
from engines.opening import Wanted, load, ready, wanted
from engines.proof.bench import Speed, flops_per_frame, measure, sgemm_peak, used_mb
from engines.results import write_json
from engines.whole_file import check_outputs


def bench(
    bundle: Annotated[Path, typer.Argument(help="The bundle to time.")],
    backend: Annotated[str | None, typer.Option(help="Time this backend alone.")] = None,
    precision: Annotated[Precision | None, typer.Option(help="Time this precision alone.")] = None,
    every: Annotated[
        bool, typer.Option("--every", help="Also compile what has not been compiled yet: minutes for int8.")
    ] = False,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Batch size; may be repeated.")] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="How long to time each engine and batch size.")
    ] = 3.0,
    json: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Measure frames/s and latency per engine and batch size, and what Engine.score adds to the library's own call.

    All engines take turns in one run. The share is that of the machine's own float32 matrix product (the better of ONNX
    Runtime's and numpy's): a rough figure of what a better engine could still gain; lower precisions may exceed it. Example:

        sightline bench highway.bundle --batch 1 --batch 16
    """
    check_outputs(json, reads=[bundle])
    opened, say = open_bundle(bundle), console()
    sizes = batch or [1, 4, 16]
    frames = opened.probes().frames
    try:
        pictures = np.resize(frames, (max(sizes), *frames.shape[1:]))
    except MemoryError:
        raise EngineError(
            "--batch", f"must fit in memory, {max(sizes)} frames do not", "take fewer"
        ) from None
    engines, loads = [], []
    for one in wanted(opened, backend, precision, every=every):
        try:
            engine, cost = _loaded(opened, one, pictures, say.print)
        except EngineError as error:
            if backend is not None and not every:
                raise
            say.print(f"[yellow]left out[/] {one.backend.name} {one.precision}: {error}")
            continue
        engines.append(engine)
        loads.append(cost)
    flops = flops_per_frame(load_graph(opened.model_path))
    speeds, peak = _timed(engines, pictures, sizes, seconds, flops)
    for engine in engines:
        engine.close()
    say.print(_speeds(opened.manifest.name, speeds))
    say.print(_loads(loads))
    say.print(
        f"{flops / 1e9:.2f} GFLOP a frame; this machine's matrix product reaches {peak / 1e9:.0f} GFLOP/s"
    )
    figures = {"machine": identity(), "gflop_per_frame": flops / 1e9, "matmul_gflop_per_s": peak / 1e9}
    write_json(json, {"bundle": opened.sha256, "batches": speeds, "engines": loads, **figures})


def _timed(
    engines: list[Engine], pictures: Image, sizes: list[int], seconds: float, flops: float
) -> tuple[list[Speed], float]:
    """Every engine at every batch size, and the machine's peak, which is looked for between them: it may be busy."""
    gpus = {known.name for known in BACKENDS.values() if known.gpu}
    speeds, peak = [], sgemm_peak()
    with progress("timing", len(sizes), "batch sizes") as advance:
        for size in sizes:
            speeds += measure(engines, pictures[:size], seconds)
            peak = max(peak, sgemm_peak())
            advance(1, f"batch {size}")
    return [
        s if s.backend in gpus else replace(s, share=s.best_frames_per_s * flops / peak) for s in speeds
    ], peak


@dataclass(frozen=True, slots=True)
class Load:
    """What it costs to have an engine: seconds from its file (or the bundle's graph) to the first scores, and memory that
    the process holds more from then on (of the GPU, where it runs on one), in MB."""

    backend: str
    precision: str
    version: str
    load_s: float
    memory_mb: float | None


def _loaded(bundle: Bundle, one: Wanted, largest: Image, say: Say) -> tuple[Engine, Load]:
    ready(bundle, one, say)
    before = used_mb(one.backend)
    started_s = time.perf_counter()
    opened = load(bundle, one.backend, one.precision, say)
    opened.engine.score(largest[:1])
    load_s = time.perf_counter() - started_s
    opened.engine.score(largest)
    after = used_mb(one.backend)
    memory_mb = None if before is None or after is None else after - before
    return opened.engine, Load(one.backend.name, one.precision.value, opened.key.library, load_s, memory_mb)


def _speeds(name: str, speeds: list[Speed]) -> Table:
    table = Table(title=name, box=SIMPLE, pad_edge=False)
    table.add_column("engine", no_wrap=True)
    for heading in ("batch", "frames/s", "best", "p50 ms", "p99 ms", "added ms", "share"):
        table.add_column(heading, justify="right")
    for s in speeds:
        table.add_row(
            f"{s.backend} {s.precision}", f"{s.batch}", f"{s.frames_per_s:.0f}", f"{s.best_frames_per_s:.0f}",
            f"{s.p50_ms:.2f}", f"{s.p99_ms:.2f}", f"{s.overhead_ms:+.3f}", "" if s.share is None else f"{s.share:.0%}",
        )  # fmt: skip
    return table


def _loads(loads: list[Load]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("engine")
    for heading in ("version", "load s", "memory MB"):
        table.add_column(heading, justify="right")
    for one in loads:
        memory = "" if one.memory_mb is None else f"{one.memory_mb:.0f}"
        table.add_row(f"{one.backend} {one.precision}", one.version, f"{one.load_s:.2f}", memory)
    return table
