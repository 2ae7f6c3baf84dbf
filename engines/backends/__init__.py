"""The libraries that can run a bundle's graph, in one table: a file here each, imported only when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import cast

from engines.engine import Library, Precision
from engines.errors import EngineError
from engines.machine import gpu_name

AUTO = "auto"
_FP32, _FP16, _BF16, _INT8 = Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8


@dataclass(frozen=True, slots=True)
class Backend:
    """One library for one kind of processor.

    module: of ours, that runs it. packages: any one of these import names must be there. distribution: what its version
    is called by. extra: of sightline, that brings it. gpu: needs an NVIDIA GPU to run (not to be compiled for, where
    ``ahead`` says so). tail: the widest float that the library knows for what stands behind the encoder. unsigned:
    int8 activations as uint8 with any zero, instead of int8 around zero. saturates: it adds 8-bit products in pairs to 16
    bits where the processor does. as_is: fp32 runs the bundle's own graph. loops: it knows them; else a network of a fixed
    batch is compiled for that batch."""

    name: str
    module: str
    packages: tuple[str, ...]
    distributions: tuple[str, ...]
    extra: str
    precisions: tuple[Precision, ...]
    gpu: bool = False
    ahead: bool = False
    tail: str = "float32"
    unsigned: bool = False
    saturates: bool = False
    as_is: bool = False
    loops: bool = True


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend(
            "onnxruntime", "engines.backends.onnx_runtime", ("onnxruntime",), ("onnxruntime", "onnxruntime-gpu"), "",
            (_FP32, _INT8), tail="float64", unsigned=True, as_is=True,
        ),
        Backend(
            "onnxruntime-cuda", "engines.backends.onnx_cuda", ("onnxruntime",), ("onnxruntime-gpu",), "cuda",
            (_FP32, _FP16), gpu=True, tail="float64", as_is=True,
        ),
        Backend(
            "openvino", "engines.backends.open_vino", ("openvino",), ("openvino",), "openvino",
            (_FP32, _BF16, _INT8), unsigned=True, saturates=True,
        ),
        Backend(
            "tensorrt", "engines.backends.tensor_rt", ("tensorrt",), ("tensorrt",), "tensorrt",
            (_FP32, _FP16, _BF16, _INT8), gpu=True, loops=False,
        ),
        Backend(
            "tensorrt-rtx", "engines.backends.tensor_rt", ("tensorrt_rtx_bindings",), ("tensorrt-rtx-cu13-bindings",),
            "tensorrt-rtx", (_FP32, _FP16, _BF16, _INT8), gpu=True, ahead=True, loops=False,
        ),
    )
}  # fmt: skip


def backend_of(name: str) -> Backend:
    """The table's row; an unknown name raises EngineError with those known."""
    if name not in BACKENDS:
        raise EngineError(name, f"must be one of {', '.join(BACKENDS)}", "check its name")
    return BACKENDS[name]


def check_precision(backend: Backend, precision: Precision) -> None:
    """Raise EngineError unless the backend is offered in ``precision``."""
    if precision not in backend.precisions:
        raise EngineError(
            f"{backend.name} {precision}",
            f"must be one of {', '.join(backend.precisions)}",
            "choose another precision or backend",
        )


def installed() -> dict[str, str]:
    """Version of the library of every backend that could run here. Imports none of them, and leaves out those that need
    a GPU where there is none."""
    found = {}
    for backend in BACKENDS.values():
        if backend.gpu and not gpu_name():
            continue
        if any(importlib.util.find_spec(package) is None for package in backend.packages):
            continue
        versions = [v for name in backend.distributions if (v := _version(name))]
        if versions or not backend.gpu:
            found[backend.name] = versions[0] if versions else "unknown"
    return found


def library_of(backend: Backend, folder: Path) -> Library:
    """Import a backend's library. folder: where it may keep what it learnt. A missing package raises EngineError with the
    extra that brings it."""
    try:
        module = importlib.import_module(backend.module)
        return cast(Library, module.library(backend.name, folder))
    except ImportError as error:
        missing = (error.name or str(error)).partition(".")[0]
        extra = f"pip install 'sightline[{backend.extra}]'" if backend.extra else "pip install onnxruntime"
        raise EngineError(
            backend.name, f"needs the package {missing}, which is not installed or cannot be loaded", extra
        ) from error


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
