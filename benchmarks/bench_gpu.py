"""What an NVIDIA GPU does with a bundle: frames a second, the time of its kernels, and the least that they could take.

    python benchmarks/bench_gpu.py BUNDLE [--batch N ...] [--seconds 1]

ONNX Runtime's CUDA engine in float32 and float16, as it runs. *score*: ``Engine.score``, from frames in the processor's
memory to scores there. *kernels*: the time in which the GPU computed, summed over the kernels of a call as CUPTI tells it
through torch's profiler, and how many there were; what is left of *score* is copies, launches and waiting. *arithmetic*: the
operations of convolutions and matrix products over what the GPU's own matrix product reaches in that type. *memory*: what
these products read and write (each input, output and weight once, all between them for nothing) over what a copy reaches.
No engine that goes through the network layer by layer can be faster than the larger of the two. Needs torch for the kernels
and the ceilings."""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, shape_inference
from rich.table import Table

from engines.backends import backend_of
from engines.bundle import Bundle, open_bundle
from engines.compiling.compile import graph_for
from engines.console import console
from engines.engine import Engine, Precision
from engines.graph import encoder_of
from engines.machine import identity
from engines.opening import load
from engines.proof.bench import flops_per_frame, measure

BATCHES = (1, 4, 16, 64, 256)
PRODUCTS = frozenset({"Conv", "MatMul", "Gemm"})
TYPES = {Precision.FP32: torch.float32, Precision.FP16: torch.float16}
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Work:
    """Of a graph: operations a frame, bytes a frame of what is computed, bytes of weights."""

    flops: float
    frame_bytes: float
    weight_bytes: float


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--batch", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    bundle, say = open_bundle(options.bundle), console()
    say.print(identity())
    copies = copied_per_s()
    for precision, kind in TYPES.items():
        peak = product_flops_per_s(kind)
        say.print(f"{precision}: matrix product {peak / 1e12:.1f} TFLOP/s, copy {copies / 1e12:.2f} TB/s")
        engine = load(bundle, backend_of("onnxruntime-cuda"), precision, say.print).engine
        say.print(table(engine, bundle, options.batch, options.seconds, peak, copies))
        engine.close()


def table(
    engine: Engine, bundle: Bundle, batches: list[int], seconds: float, peak: float, copies: float
) -> Table:
    """Measure, and lay out: a row for each batch, and the longest kernels of the largest one beneath."""
    work = work_of(encoder_of(graph_for(bundle, backend_of(engine.name), engine.precision)[0]))
    rows = Table(title=f"{engine.name} {engine.precision}")
    for heading in (
        "batch", "frames/s", "score ms", "best", "kernels ms", "kernels", "arithmetic ms", "memory ms",
    ):  # fmt: skip
        rows.add_column(heading, justify="right")
    longest: Counter[str] = Counter()
    for batch in batches:
        pictures = np.resize(bundle.probes().frames, (batch, *engine.input_size, 3))
        (speed,) = measure([engine], pictures, seconds)
        longest, count = kernels(engine.bare(pictures))
        arithmetic_s = batch * work.flops / peak
        memory_s = (batch * work.frame_bytes + work.weight_bytes) / copies
        times = (
            speed.p50_ms / 1e3,
            batch / speed.best_frames_per_s,
            longest.total() / 1e6,
            arithmetic_s,
            memory_s,
        )
        score, best, computed, arithmetic, memory = (f"{1e3 * t:.3f}" for t in times)
        rows.add_row(
            f"{batch}", f"{speed.frames_per_s:.0f}", score, best, computed, f"{count:.0f}", arithmetic, memory
        )
    share = ", ".join(f"{us / longest.total():.0%} {name[:60]}" for name, us in longest.most_common(SHOWN))
    rows.caption = f"encoder: {work.flops / 1e9:.3f} GFLOP, {work.frame_bytes / 1e6:.2f} MB a frame. At batch {batches[-1]}: {share}"
    return rows


def kernels(call: Callable[[], object], calls: int = 10) -> tuple[Counter[str], float]:
    """Microseconds on the GPU by kernel, and how many kernels, of one call; copies are none."""
    call()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(calls):
            call()
        torch.cuda.synchronize()
    took_us: Counter[str] = Counter()
    count = 0
    for event in profile.events() or ():
        if event.device_type == torch.autograd.DeviceType.CUDA and not event.name.startswith("Mem"):
            took_us[event.name] += event.time_range.elapsed_us() / calls
            count += 1
    return took_us, count / calls


def work_of(model: onnx.ModelProto) -> Work:
    """Count what the products of an encoder must do and move."""
    graph = shape_inference.infer_shapes(model).graph
    weights = {i.name: _bytes(i.data_type, tuple(i.dims)) for i in graph.initializer}
    values = {
        v.name: _bytes(
            v.type.tensor_type.elem_type, tuple(d.dim_value or 1 for d in v.type.tensor_type.shape.dim)
        )
        for v in (*graph.value_info, *graph.input, *graph.output)
    }
    products = [node for node in graph.node if node.op_type in PRODUCTS]
    moved = sum(values.get(name, 0) for node in products for name in (*node.input, *node.output))
    read = sum(weights.get(name, 0) for node in products for name in node.input)
    return Work(flops_per_frame(model), moved, read)


def _bytes(kind: int, shape: tuple[int, ...]) -> int:
    if kind == TensorProto.UNDEFINED:
        return 0
    return math.prod(shape) * np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize


def product_flops_per_s(kind: torch.dtype, size: int = 8192) -> float:
    """Of the best matrix product of torch's in ``kind``, TF32 off."""
    torch.backends.cuda.matmul.allow_tf32 = False
    a, b = (torch.randn(size, size, device="cuda", dtype=kind) for _ in range(2))
    return 2.0 * size**3 / best_of(lambda: a @ b)


def copied_per_s(size: int = 1 << 30) -> float:
    """Bytes read and written a second by a copy within the GPU's memory."""
    a = torch.randint(0, 256, (size,), dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    return 2.0 * size / best_of(lambda: b.copy_(a))


def best_of(call: Callable[[], object], times: int = 10) -> float:
    """Seconds of the fastest of some calls, on the GPU's own clock."""
    call()
    took_ms = []
    for _ in range(times):
        began, ended = torch.cuda.Event(True), torch.cuda.Event(True)
        began.record()
        call()
        ended.record()
        torch.cuda.synchronize()
        took_ms.append(began.elapsed_time(ended))
    return min(took_ms) / 1e3


if __name__ == "__main__":
    main()
