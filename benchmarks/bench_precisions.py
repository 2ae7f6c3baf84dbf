"""Do engines of other libraries and precisions raise the same alerts on real footage?

    python benchmarks/bench_precisions.py DRIVING BUNDLE...

Validation highways of the driving manifest, each with each drive that left the domain spliced behind it, 20 s of either at
10 frames a second. Every engine that was compiled (and fp32, and float16 as ONNX Runtime rounds it, which is of no use for
speed) scores every frame; the bundle's calibration raises its alerts on every splice, health checks apart. Compared with
ONNX Runtime in fp32: in how many splices the alerts are the same within 0.1 s, and to the frame; rank correlation and
largest difference of single frames."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
from rich.table import Table

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import Bundle, open_bundle
from engines.compiling.half import halved
from engines.console import console
from engines.engine import Engine, Precision
from engines.footage import Recording, find_drives
from engines.frames import Image
from engines.graph import encoder_of, fuse, load_graph
from engines.opening import load, wanted
from engines.proof.probe_clip import STEP_S, ClipAlert, Clips, alerts, alike
from engines.proof.verify import rank_correlation
from engines.scores import Scores

FRAMES = 200
BATCH = 16


def main() -> None:
    driving, bundles = Path(sys.argv[1]), [open_bundle(path) for path in sys.argv[2:]]
    say = console()
    for bundle in bundles:
        clips = splices(driving, bundle.manifest.input_size)
        say.print(f"{bundle.manifest.name}: {len(clips.pictures)} frames, {len(clips.orders)} splices")
        table = Table("engine", "alerts alike", "to the frame", "rank", "max |Δ| nats")
        first: tuple[Scores, tuple[ClipAlert, ...]] | None = None
        for name, engine in engines(bundle):
            scores = scored(engine, clips.pictures)
            told = alerts(clips, scores, bundle)
            first = first or (scores, told)
            table.add_row(name, *compared(first, (scores, told), len(clips.orders)))
        say.print(table)


def splices(driving: Path, size: tuple[int, int]) -> Clips:
    """Every validation highway with every other drive behind it."""
    with (driving / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["path"].endswith(".mp4")]
    ahead = [r["path"] for r in rows if r["label"] == "highway" and r["split"] == "val"]
    behind = [r["path"] for r in rows if r["label"] == "other"]
    shots = {path: shot(driving / path, size) for path in ahead + behind}
    places, count = {}, 0
    for path, pictures in shots.items():
        places[path] = count + np.arange(len(pictures))
        count += len(pictures)
    orders = tuple(np.concatenate([places[a], places[b]]) for a in ahead for b in behind)
    return Clips(np.concatenate(list(shots.values())), orders)


def shot(path: Path, size: tuple[int, int]) -> Image:
    """The first frames of a drive, one each STEP_S."""
    return np.stack([f.image for f in Recording(find_drives([path])[0], size, every_s=STEP_S)][:FRAMES])


def engines(bundle: Bundle) -> Iterator[tuple[str, Engine]]:
    """ONNX Runtime in fp32 first."""
    yield "onnxruntime fp32", OnnxRuntimeEngine(bundle.model_path)
    halves = halved(encoder_of(load_graph(bundle.model_path)), Precision.FP16)
    graph = fuse(halves, bundle.density, np.float32).SerializeToString()
    yield "float16, rounded by onnxruntime", OnnxRuntimeEngine(graph, precision=Precision.FP16)
    for one in wanted(bundle, None, None, every=False):
        if (one.backend.name, one.precision) != ("onnxruntime", Precision.FP32):
            yield (
                f"{one.backend.name} {one.precision}",
                load(bundle, one.backend, one.precision, print).engine,
            )


def scored(engine: Engine, pictures: Image) -> Scores:
    parts = [engine.score(pictures[i : i + BATCH]) for i in range(0, len(pictures), BATCH)]
    return Scores(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Scores)))


def compared(
    first: tuple[Scores, tuple[ClipAlert, ...]], found: tuple[Scores, tuple[ClipAlert, ...]], count: int
) -> list[str]:
    """The cells of one engine's row."""
    pairs = [
        ([a for a in first[1] if a.clip == i], [a for a in found[1] if a.clip == i]) for i in range(count)
    ]
    return [
        f"{sum(alike(a, b) for a, b in pairs)} of {count}",
        f"{sum(a == b for a, b in pairs)}",
        f"{rank_correlation(found[0].domain, first[0].domain):.5f}",
        f"{np.abs(found[0].surprise - first[0].surprise).max():.1e}",
    ]


if __name__ == "__main__":
    main()
