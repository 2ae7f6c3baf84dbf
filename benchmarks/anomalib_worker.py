"""anomalib's DFKDE behind a pipe, for ``bench_anomalib.py``, which starts it with the Python that has anomalib, and the
number of threads.

One JSON request a line on standard input, one JSON answer a line on standard output: ``{"run": NAME, "batch": N,
"turn_s": S}`` scores N pictures of 1280×720 for S seconds and answers with what once took: ``{"seconds": S,
"cpu_seconds": S}``. The first line it writes names what it can run."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import openvino
import torch
from anomalib.deploy import OpenVINOInferencer
from anomalib.models import Dfkde
from av.video.reformatter import Interpolation
from turns import BY_OPENCV, turn

SIZE, DECODED = (256, 256), (720, 1280)
FEATURES, POINTS = 512, 2000
Run = Callable[[Sequence], object]


def main() -> None:
    """Prepare all, then answer until standard input ends."""
    # What exporters print belongs elsewhere than into the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    threads = int(sys.argv[1])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = Dfkde(backbone="resnet18", layers=("layer4",), pre_trained=False)
    model.model.classifier.fit(torch.randn(POINTS, FEATURES).abs())
    model.eval()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool:
        runs = prepared(model, Path(folder), threads, pool)
        pictures = np.random.default_rng(0).integers(0, 256, (16, *DECODED, 3)).astype(np.uint8)
        decoded = [av.VideoFrame.from_ndarray(p, "rgb24").reformat(format="yuv420p") for p in pictures]
        version = importlib.metadata.version("anomalib")
        print(json.dumps({"version": version, "runs": list(runs)}), file=answers, flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            run, source = runs[request["run"]], decoded if request["run"].endswith(", planes") else pictures
            seconds, cpu_seconds = turn(partial(run, source[: request["batch"]]), request["turn_s"])
            print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds}), file=answers, flush=True)


def prepared(model: Dfkde, folder: Path, threads: int, pool: ThreadPoolExecutor) -> dict[str, Run]:
    """Its torch path and its OpenVINO export, each with its own way of resizing and reduced by OpenCV before, which is
    faster; each from RGB arrays and from a decoder's pictures."""

    def in_torch(pictures: np.ndarray) -> object:
        with torch.inference_mode():
            return model(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255.0)

    compute: dict[str, Run] = {"torch": in_torch, f"torch{BY_OPENCV}": in_torch}
    for size, reduced in ((DECODED, ""), (SIZE, BY_OPENCV)):
        # Its stock export loops over as many pictures as the example had; with a fixed shape that is one.
        fixed = {"dynamic_axes": None, "dynamic_shapes": None}
        path = model.to_openvino(folder / str(size[0]), input_size=size, onnx_kwargs=fixed)
        for name, config in (("f32", {"INFERENCE_PRECISION_HINT": "f32"}), ("by default", {})):
            compiled = openvino.Core().compile_model(
                str(path), "CPU", {"INFERENCE_NUM_THREADS": threads, **config}
            )
            hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
            label = name if name == "f32" else f"{name} ({hint})"
            compute[f"openvino {label}{reduced}"] = partial(one_by_one, compiled)

    def run(compute: Run, ready: Callable[[Any], np.ndarray], pictures: Sequence) -> object:
        return compute(np.stack(list(pool.map(ready, pictures))))

    runs: dict[str, Run] = {}
    for name, one in compute.items():
        before = name.endswith(BY_OPENCV)
        # Its own way takes RGB arrays as they are.
        runs[name] = partial(run, one, averaged) if before else one
        runs[f"{name}, planes"] = partial(run, one, scaled if before else converted)
    return runs


def one_by_one(compiled: openvino.CompiledModel, pictures: np.ndarray) -> object:
    """Score pictures one at a time, prepared as anomalib's inferencer does."""
    return [compiled(OpenVINOInferencer.pre_process(picture)) for picture in pictures]


def averaged(picture: np.ndarray) -> np.ndarray:
    """By OpenCV's area average, faster than its own ways."""
    return cv2.resize(picture, SIZE[::-1], interpolation=cv2.INTER_AREA)


def scaled(picture: av.VideoFrame) -> np.ndarray:
    """As Sightline reduces a decoder's pictures."""
    height, width = SIZE
    flags = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    return picture.reformat(width, height, format="rgb24", interpolation=flags, threads=1).to_ndarray()


def converted(picture: av.VideoFrame) -> np.ndarray:
    """A decoder's picture as an RGB array."""
    return picture.to_ndarray(format="rgb24", threads=1)


if __name__ == "__main__":
    main()
