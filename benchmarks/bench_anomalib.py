"""Beside anomalib's DFKDE: the same network at the same size on the same two cores, alternating in one run.

    python benchmarks/bench_anomalib.py --anomalib-python anomalib/bin/python [--rounds 15] [--threads 2] [--batches 1 16]

That Python lives in an environment of its own, for anomalib pins what Sightline does not:

    python -m venv anomalib
    anomalib/bin/pip install anomalib openvino onnx onnxscript timm av

Sightline's side needs the extras ``train`` and ``openvino``. Both sides begin with a decoded 1280×720 picture and end
with its score. That picture is an RGB array, which is reduced by area average, the pictures of a batch on all threads;
or, where it says *planes*, what a decoder gives (yuv420p): there Sightline reduces in libav's scaler, as it does with all
video, and anomalib, which knows RGB alone, has it converted first. From there on: reduced to 256×256, normalised,
resnet18 to its last layer, the average of that, 16 principal components, a kernel density on 2000 points. Weights and
pictures are random: this is about speed alone. All have two threads, or as many processors as ``--threads`` says: with
one, other work on the machine disturbs less, for then nobody waits for a thread that was held up, and processor time is
what the work costs.

anomalib prepares a picture in two ways here: as it does itself (its OpenVINO export resizes inside the graph, its
torch path with an antialiasing filter), and, *by OpenCV*, reduced by OpenCV's area average before it comes to anomalib,
which is faster. Sightline has its own. Ratios are told against both, and judged against anomalib as it is, by the best
rounds: a busy machine delays whomever it pleases, but makes nobody faster. In its turn each scores its batch once, and
then over and over for a fifth of a second, as a camera would have it. anomalib's OpenVINO export takes one picture a call;
a batch is one after another. Left alone, OpenVINO computes in bf16 where the processor can, and so it is shown in both.

The road encoder that ships reads 144×96 and is set against anomalib's torch path: what a user gets who takes each
as it comes."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import onnx
import torch
import torchvision
from torch import Tensor, nn
from turns import BY_OPENCV, turn

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.backends.open_vino import OpenVino
from engines.density import Kde, Projection
from engines.encoders import DEFAULT, open_encoder
from engines.engine import Engine, Precision
from engines.frames import Image
from engines.graph import fuse
from engines.proof.bench import flops_per_frame, sgemm_peak
from engines.reduction import reduced, reduced_rgb
from engines.scores import Density
from training.export import to_onnx

SIZE, DECODED = (256, 256), (720, 1280)
CELLS, FEATURES, DIMENSIONS, POINTS = 64, 512, 16, 2000
WANTED = (
    ("resnet18 onnxruntime fp32", "torch", 2.0),
    ("resnet18 openvino fp32", "torch", 2.0),
    ("resnet18 onnxruntime fp32", "openvino f32", 1.0),
    ("resnet18 openvino fp32", "openvino f32", 1.0),
    ("resnet18 openvino bf16", "openvino by default (bf16)", 1.0),
    ("road encoder onnxruntime fp32", "torch", 10.0),
    ("road encoder openvino fp32", "torch", 10.0),
)
TURN_S = 0.2
Run = Callable[[int], tuple[float, float]]
"""From a number of pictures to the seconds that scoring them takes, on the clock and of processor time, at the mean of a
turn."""


class ResNet18(nn.Module):
    """uint8 N×256×256×3 -> the last layer's map, N×512×8×8."""

    def __init__(self) -> None:
        super().__init__()
        network = torchvision.models.resnet18(weights=None).eval()
        self.trunk = nn.Sequential(*list(network.children())[:-2])
        self.register_buffer("mean", torch.tensor((123.675, 116.28, 103.53)).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor((58.395, 57.12, 57.375)).view(3, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        x = frames.float().permute(0, 3, 1, 2)
        late: Tensor = self.trunk((x - self.mean) / self.deviation)
        return late


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--anomalib-python", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, nargs="+", default=(1, 16))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    # As the command has it.
    cv2.setNumThreads(1)
    # Inherited by the worker; OpenVINO takes as many threads as processors.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    resnet = resnet18()
    ours, flops = sightline(resnet, options.threads), flops_per_frame(resnet)
    with anomalib(options.anomalib_python, options.threads) as (version, theirs):
        runs = {f"sightline {n}": r for n, r in ours.items()} | {
            f"anomalib {n}": r for n, r in theirs.items()
        }
        print(
            f"1280×720 pictures to scores, {options.threads} threads each, anomalib {version}, {options.rounds} alternating rounds"
        )
        for batch in options.batches:
            compare(runs, batch, options.rounds, flops)


def resnet18() -> onnx.ModelProto:
    """The network that both sides run, with the density behind it."""
    torch.manual_seed(0)
    return fuse(to_onnx(ResNet18(), SIZE, ["late"]), density(CELLS, FEATURES))


def sightline(resnet: onnx.ModelProto, threads: int) -> dict[str, Run]:
    """Our engines, by what they are."""
    pictures = np.random.default_rng(0).integers(0, 256, (16, *DECODED, 3)).astype(np.uint8)
    decoded = [av.VideoFrame.from_ndarray(p, "rgb24").reformat(format="yuv420p") for p in pictures]
    engines: dict[str, Engine] = {
        "resnet18 onnxruntime fp32": OnnxRuntimeEngine(resnet.SerializeToString(), threads),
        "resnet18 openvino fp32": openvino(resnet, Precision.FP32),
    }
    if "bf16" in processor_flags():
        engines["resnet18 openvino bf16"] = openvino(resnet, Precision.BF16)
    shipped = road()
    engines["road encoder onnxruntime fp32"] = OnnxRuntimeEngine(shipped.SerializeToString(), threads)
    engines["road encoder openvino fp32"] = openvino(shipped, Precision.FP32)
    pool = ThreadPoolExecutor(threads)
    return {name: timed(engine, reduced_rgb, list(pictures), pool) for name, engine in engines.items()} | {
        f"{name}, planes": timed(engine, reduced, decoded, pool) for name, engine in engines.items()
    }


def openvino(model: onnx.ModelProto, precision: Precision) -> Engine:
    """An engine of OpenVINO, which takes as many threads as there are cores."""
    library = OpenVino()
    return library.load(library.build(model, precision), precision)


def processor_flags() -> str:
    """What Linux says the processor can do; empty elsewhere."""
    file = Path("/proc/cpuinfo")
    return file.read_text() if file.is_file() else ""


def density(cells: int, features: int) -> Density:
    """Random, of the shape that anomalib's has."""
    random = np.random.default_rng(0)
    basis = np.linalg.qr(random.normal(size=(features, DIMENSIONS)))[0]
    projection = Projection(np.zeros(features), basis, np.ones(DIMENSIONS), unit=False)
    kde = Kde(random.normal(size=(POINTS, DIMENSIONS)), np.full(POINTS, -np.log(POINTS)), 0.5)
    average = np.full((cells, 1), 1.0 / cells)
    return Density(average, projection, kde, None, None, None, np.eye(DIMENSIONS))


def road() -> onnx.ModelProto:
    """The encoder that ships, with its own projection and background."""
    _, model, background = open_encoder(DEFAULT)
    assert background is not None
    projection, broad = background.projection, background.density
    within = np.eye(8)
    return fuse(model, Density(background.pooling, projection, broad, broad, None, None, within))


def timed(
    engine: Engine,
    reduce: Callable[[Any, tuple[int, int]], Image],
    pictures: Sequence[Any],
    pool: ThreadPoolExecutor,
) -> Run:
    """Reduce and score."""

    def run(count: int) -> None:
        reduced = pool.map(reduce, pictures[:count], [engine.input_size] * count)
        engine.score(np.stack(list(reduced)))

    return lambda count: turn(lambda: run(count), TURN_S)


@contextmanager
def anomalib(python: Path, threads: int) -> Iterator[tuple[str, dict[str, Run]]]:
    """Its version and what the worker can run."""
    worker = Path(__file__).with_name("anomalib_worker.py")
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [str(python), str(worker), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            hello = process.stdout.readline()
            if not hello:
                errors.seek(0)
                sys.exit(
                    f"{python}: {worker.name} ended at once: {errors.read().strip().rpartition(chr(10))[2]}"
                )
            offered = json.loads(hello)
            yield offered["version"], {name: asking(process, name) for name in offered["runs"]}
        finally:
            process.stdin.close()
            process.wait()


def asking(process: subprocess.Popen[str], name: str) -> Run:
    """Have the worker run what it calls ``name``."""
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def run(count: int) -> tuple[float, float]:
        requests.write(json.dumps({"run": name, "batch": count, "turn_s": TURN_S}) + "\n")
        requests.flush()
        answer = json.loads(answers.readline())
        return answer["seconds"], answer["cpu_seconds"]

    return run


def compare(runs: dict[str, Run], batch: int, rounds: int, flops: float) -> None:
    """Alternate all, print frames/s, the ratios that were promised, and what the machine's own matrix product allows. flops:
    of a frame of resnet18."""
    peak = 0.0
    took_s: dict[str, list[float]] = {name: [] for name in runs}
    cpu_s: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(batch)
    for _ in range(rounds):
        peak = max(peak, sgemm_peak())
        # Its threads go on waiting busily, and would take the cores of whoever comes first.
        time.sleep(0.5)
        for name, run in runs.items():
            seconds, cpu_seconds = run(batch)
            took_s[name].append(seconds)
            cpu_s[name].append(cpu_seconds)
    print(f"\nbatch {batch}")
    for name, walls in took_s.items():
        cpu_ms = 1e3 * statistics.median(cpu_s[name]) / batch
        print(
            f"  {name:<48} {batch / statistics.median(walls):7.1f} frames/s median, {batch / min(walls):7.1f} best, "
            f"{cpu_ms:6.1f} ms of processor time a frame"
        )

    def ratios(ours: str, theirs: str) -> tuple[float, float, float]:
        """Of the best rounds, the median of the rounds' own, and of the median processor time."""
        own = statistics.median(b / a for a, b in zip(took_s[ours], took_s[theirs], strict=True))
        cpu = statistics.median(cpu_s[theirs]) / statistics.median(cpu_s[ours])
        return min(took_s[theirs]) / min(took_s[ours]), own, cpu

    print(
        f"  resnet18 takes {flops / 1e9:.2f} GFLOP a frame, this machine's float32 matrix product reaches {peak / 1e9:.0f} GFLOP/s: "
        f"{peak / flops:.1f} frames/s at the most, {peak / flops * min(took_s['anomalib torch']) / batch:.2f} × anomalib torch"
    )
    for ours, theirs, target in WANTED:
        for planes in ("", ", planes"):
            if f"sightline {ours}{planes}" not in took_s:
                continue
            best, median, cpu = ratios(f"sightline {ours}{planes}", f"anomalib {theirs}{planes}")
            helped, _, _ = ratios(f"sightline {ours}{planes}", f"anomalib {theirs}{BY_OPENCV}{planes}")
            print(
                f"  sightline {ours}{planes} over anomalib {theirs}: {best:.2f} × of the best rounds, {median:.2f} × median, "
                f"{cpu:.2f} × processor time (target {target:g}, {'met' if best >= target else 'missed'}); "
                f"{helped:.2f} × where OpenCV reduces for anomalib"
            )


if __name__ == "__main__":
    main()
