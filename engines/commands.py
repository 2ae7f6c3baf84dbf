"""``sightline verify`` and ``sightline bench``: is the engine right, and how fast is it."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer
from rich.table import Table

from engines.bench import flops_per_frame, measure, sgemm_peak
from engines.bundle import Bundle, open_bundle
from engines.console import console
from engines.errors import EngineError, OutputError
from engines.graph import load_graph
from engines.onnx_runtime import OnnxRuntimeEngine
from engines.verify import verify_engine

BACKENDS = {"onnxruntime": OnnxRuntimeEngine}


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle to check.")],
    backend: Annotated[str, typer.Option(help="The engine to check.")] = "onnxruntime",
    json: Annotated[Path | None, typer.Option(help="Write the comparisons as JSON.")] = None,
) -> None:
    """Prove a bundle whole and its engine equal to the float64 reference.

    Ends with 0 if every comparison passes, with 5 if one fails. Example:

        sightline verify highway.bundle
    """
    opened, engine = _engine(bundle, backend)
    checks = verify_engine(engine, opened)
    table = Table(title=f"{opened.manifest.name}: {backend} against the float64 reference")
    for heading in ("output", "max |Δ|", "at value", "limit", ""):
        table.add_column(heading, justify="left" if heading in {"output", ""} else "right")
    for c in checks:
        word = "[green]pass[/]" if c.passed else "[bold red]FAIL[/]"
        table.add_row(c.name, f"{c.difference:.1e}", f"{c.value:.1f}", f"{c.limit:.1e}", word)
    say = console()
    say.print(f"{len(opened.manifest.files)} files have the sha256 that bundle.json states")
    say.print(table)
    _write(json, {"bundle": opened.sha256, "backend": backend, "checks": checks})
    failed = [c.name for c in checks if not c.passed]
    if failed:
        raise EngineError(
            bundle, f"{backend} must equal the reference; {', '.join(failed)} did not", "do not use it"
        )


def bench(
    bundle: Annotated[Path, typer.Argument(help="The bundle to time.")],
    backend: Annotated[str, typer.Option(help="The engine to time.")] = "onnxruntime",
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Batch size; may be repeated.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to time each batch size.")] = 3.0,
    json: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Measure frames/s and latency per batch size, and what Engine.score adds to the bare library call.

    The share is that of the machine's own float32 matrix product (numpy's): a rough figure of what a better engine
    could still gain. Example:

        sightline bench highway.bundle --batch 1 --batch 16
    """
    opened, engine = _engine(bundle, backend)
    frames = opened.probes().frames
    flops, peak = flops_per_frame(load_graph(opened.model_path)), sgemm_peak()
    speeds = [
        measure(engine, np.resize(frames, (n, *frames.shape[1:])), seconds) for n in batch or (1, 4, 16)
    ]
    table = Table(title=f"{opened.manifest.name}: {backend}")
    headings = ("batch", "frames/s median", "best", "latency p50 ms", "p99 ms", "over the bare call", "share")
    for heading in headings:
        table.add_column(heading, justify="right")
    for s in speeds:
        table.add_row(
            f"{s.batch}", f"{s.frames_per_s:.0f}", f"{s.best_frames_per_s:.0f}", f"{s.p50_ms:.2f}", f"{s.p99_ms:.2f}",
            f"{s.overhead_ms:+.3f} ms ({s.overhead_percent:+.1f} %)", f"{s.best_frames_per_s * flops / peak:.0%}",
        )  # fmt: skip
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console().print(table)
    console().print(
        f"{flops / 1e9:.2f} GFLOP a frame; this machine's matrix product reaches {peak / 1e9:.0f} GFLOP/s; "
        f"peak memory {memory_mb:.0f} MB"
    )
    figures = {"gflop_per_frame": flops / 1e9, "matmul_gflop_per_s": peak / 1e9, "peak_memory_mb": memory_mb}
    _write(json, {"bundle": opened.sha256, "backend": backend, "batches": speeds, **figures})


def _engine(path: Path, backend: str) -> tuple[Bundle, OnnxRuntimeEngine]:
    if backend not in BACKENDS:
        raise EngineError(backend, f"must be one of {', '.join(BACKENDS)}", "check --backend")
    bundle = open_bundle(path)
    return bundle, BACKENDS[backend](bundle.model_path)


def _write(path: Path | None, result: dict[str, Any]) -> None:
    if path is None:
        return
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
        partial.replace(path)
    except OSError as error:
        raise OutputError(path, f"must be writable: {error.strerror}", "choose another file") from error
    finally:
        partial.unlink(missing_ok=True)
