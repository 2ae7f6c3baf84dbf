"""Compile fused graphs with TensorRT (10 and 11) or TensorRT-RTX; one module, since they share their calls.

Networks are strongly typed: every precision stands in the graph itself, TensorRT changes none. TF32 is off, or the
density would lose three digits. TensorRT tunes for the GPU at hand; TensorRT-RTX builds without one, for all GPUs of
compute capability 8.0 and later that it knows, and finishes the work where the engine runs."""

from __future__ import annotations

import hashlib
import importlib
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import onnx

from engines.backends.cuda import capability
from engines.backends.tensor_rt_engine import TensorRtEngine, quiet_log
from engines.console import Advance, progress
from engines.engine import Engine, Precision
from engines.errors import EngineError, OutputError
from engines.machine import gpu_name
from engines.whole_file import write_whole

TENSORRT, RTX = "tensorrt", "tensorrt-rtx"
MODULES = {TENSORRT: "tensorrt", RTX: "tensorrt_rtx_bindings"}
PROFILE = (1, 4, 16)
"""Smallest, usual and largest batch; larger ones are split. A network of a fixed batch has that one alone."""
TURING = (7, 5)
"""TensorRT-RTX builds for it only if told, and then for nothing else."""


class Value(msgspec.Struct, frozen=True):
    """An input or output of a network; -1 in ``shape`` is the batch."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Description(msgspec.Struct, frozen=True):
    """What was built, as the library itself tells: kept in front of the engine, since only a GPU could read it there.

    profile: shapes of the input at the smallest, usual and largest batch. flags: of the builder."""

    library: str
    version: str
    target: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    profile: tuple[tuple[int, ...], ...]
    strongly_typed: bool
    tf32: bool
    sha256: str


class TensorRt:
    """TensorRT or TensorRT-RTX as a library of engines. folder: where it may keep what it learnt (timings, kernels)."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._trt: Any = importlib.import_module(MODULES[name])

    def version(self) -> str:
        return str(self._trt.__version__)

    def target(self) -> str:
        if not gpu_name():
            return "compute capability 8.0 and later" if self._name == RTX else "no GPU"
        major, minor = capability()
        if self._name == RTX and (major, minor) != TURING:
            return "compute capability 8.0 and later"
        return f"compute capability {major}.{minor}, {gpu_name()}"

    def build(self, graph: onnx.ModelProto, precision: Precision) -> bytes:
        if self._name == TENSORRT:
            capability()  # tunes on the GPU it will run on: without one, nothing can be built
        trt = self._trt
        log = quiet_log(trt)
        builder = trt.Builder(log)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, log)
        if not parser.parse(graph.SerializeToString()):
            raise self._refused(parser)
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)
        source = network.get_input(0)
        fixed, *frame = source.shape
        profile = builder.create_optimization_profile()
        batches = PROFILE if fixed == -1 else (fixed, fixed, fixed)
        profile.set_shape(source.name, *((batch, *frame) for batch in batches))
        config.add_optimization_profile(profile)
        self._aim(config)
        timings = self._timings(config)
        with progress(f"building {self._name} {precision}", 0, "steps") as advance:
            config.progress_monitor = _monitor(trt, advance)
            built = builder.build_serialized_network(network, config)
        if built is None:
            raise EngineError(
                self._name, f"must be able to build the graph: {log.last}", "use another backend"
            )
        if timings is not None:
            # What cannot be kept is measured again next time.
            with suppress(OSError, OutputError):
                self._folder.mkdir(exist_ok=True)
                write_whole(timings, bytes(config.get_timing_cache().serialize()))
        plan = bytes(built)
        description = Description(
            library=self._name,
            version=self.version(),
            target=self.target(),
            inputs=_values(network.get_input(i) for i in range(network.num_inputs)),
            outputs=_values(network.get_output(i) for i in range(network.num_outputs)),
            profile=tuple(tuple(shape) for shape in profile.get_shape(source.name)),
            strongly_typed=bool(network.get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)),
            tf32=bool(config.get_flag(trt.BuilderFlag.TF32)),
            sha256=hashlib.sha256(plan).hexdigest(),
        )
        return _joined(description, plan)

    def load(self, built: bytes, precision: Precision) -> Engine:
        description, plan = split(built)
        kernels = self._folder / f"{self._name}-{precision}.kernels"
        return TensorRtEngine(self._trt, description.library, precision, plan, description.profile, kernels)

    def _aim(self, config: Any) -> None:
        """TensorRT-RTX: say which GPU it is for, where it would not think of it itself."""
        if self._name != RTX or not gpu_name():
            return
        found, known = capability(), self._trt.ComputeCapability
        if found == TURING:
            config.num_compute_capabilities = 1
            config.set_compute_capability(known.SM75, 0)
        elif not hasattr(known, f"SM{found[0]}{found[1]}"):
            raise EngineError(
                self._name,
                f"must know the GPU; it knows none of compute capability {found[0]}.{found[1]}",
                "use --target tensorrt, or --backend onnxruntime-cuda",
            )

    def _timings(self, config: Any) -> Path | None:
        """TensorRT: go on from what earlier builds measured. TensorRT-RTX measures nothing, and asks for a GPU if told
        to remember it."""
        if self._name == RTX:
            return None
        file = self._folder / f"{self._name}.timings"
        known = b""
        with suppress(OSError):
            known = file.read_bytes()
        cache = config.create_timing_cache(known)
        if not config.set_timing_cache(cache, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)
        return file

    def _refused(self, parser: Any) -> EngineError:
        """Names the first node that the parser does not take."""
        issue = parser.get_error(0)
        node = issue.node_name() or "the graph"
        operator = f" ({issue.node_operator()})" if issue.node_operator() else ""
        return EngineError(
            f"{self._name}: node {node}{operator}",
            f"must be what the library can build: {issue.desc()}",
            "export the network without it, or use another backend",
        )


def library(name: str, folder: Path) -> TensorRt:
    """``tensorrt`` or ``tensorrt-rtx``."""
    return TensorRt(name, folder)


def split(built: bytes) -> tuple[Description, bytes]:
    """What ``build`` returned, apart: the description and the library's own engine; damage raises EngineError."""
    try:
        (length,) = struct.unpack_from("<I", built)
        description = msgspec.json.decode(built[4 : 4 + length], type=Description)
        plan = built[4 + length :]
    except (struct.error, msgspec.DecodeError) as error:
        raise EngineError("engine file", f"must be as it was written: {error}", "compile it again") from error
    if hashlib.sha256(plan).hexdigest() != description.sha256:
        raise EngineError(
            "engine file", "must have the sha256 it states, but was changed", "compile it again"
        )
    return description, plan


def _joined(description: Description, plan: bytes) -> bytes:
    head = msgspec.json.encode(description)
    return struct.pack("<I", len(head)) + head + plan


def _values(tensors: Iterable[Any]) -> tuple[Value, ...]:
    return tuple(Value(t.name, str(t.dtype).rpartition(".")[2], tuple(t.shape)) for t in tensors)


def _monitor(trt: Any, advance: Advance) -> Any:
    """Passes the builder's steps on to the progress line."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            advance(0, phase_name)

        def phase_finish(self, phase_name: str) -> None:
            advance(0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            advance(1, phase_name)
            return True

    return Monitor()
