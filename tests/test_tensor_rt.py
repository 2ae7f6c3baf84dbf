"""TensorRT-RTX really builds here, without a GPU; what only a GPU could show is checked against the names that the real
bindings of TensorRT 10, 11 and RTX have, and runs where there is a GPU.

``tensorrt_api.json`` lists the public names of those bindings: of the module (under the empty name) and of the classes
that an engine meets. It was written by importing the wheels tensorrt-cu12-bindings 10.0.1 and 10.16.1.11,
tensorrt-cu13-bindings 11.4.0.106 and tensorrt-rtx-cu13-bindings 1.7.1.116 (the first three with empty libraries in place
of libnvinfer, which importing needs and introspection does not) and listing ``dir()`` of each."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines.backends import backend_of, library_of
from engines.bundle import Bundle, open_bundle
from engines.cache import EngineCache
from engines.compiling.compile import compiled, graph_for
from engines.engine import OutOfMemoryError, Precision
from engines.errors import EngineError
from engines.machine import gpu_name
from engines.opening import load, open_engine
from engines.proof.verify import verify_engine

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX has no wheel for this platform")
pytest.importorskip("cuda.bindings", reason="cuda-bindings has no wheel for this platform")
from engines.backends.tensor_rt import PROFILE, Description, TensorRt, split

ROOT = Path(__file__).resolve().parent.parent
API: dict[str, dict[str, list[str]]] = json.loads((ROOT / "tests" / "tensorrt_api.json").read_text())
RTX = "TensorRT-RTX 1.7.1"
FP32, FP16, BF16, INT8 = Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8


@pytest.fixture(scope="module")
def bundle(rendered_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(shutil.copytree(rendered_bundle, tmp_path_factory.mktemp("rtx") / "highway.bundle"))


@pytest.fixture(scope="module")
def library(bundle: Bundle) -> TensorRt:
    found = library_of(backend_of("tensorrt-rtx"), EngineCache.beside(bundle).make())
    assert isinstance(found, TensorRt)
    return found


def built(bundle: Bundle, library: TensorRt, precision: Precision) -> tuple[Description, bytes]:
    return split(compiled(bundle, backend_of("tensorrt-rtx"), precision, library, lambda line: None).built)


@pytest.mark.parametrize("precision", [FP32, FP16, BF16])
def test_the_fused_graph_is_built_ahead_of_time(
    precision: Precision, bundle: Bundle, library: TensorRt
) -> None:
    description, plan = built(bundle, library, precision)
    assert [(v.name, v.dtype, v.shape) for v in description.inputs] == [("images", "UINT8", (-1, 96, 144, 3))]
    assert {v.name: (v.dtype, v.shape) for v in description.outputs} == {
        "late": ("FLOAT", (-1, 288, 6, 9)),
        "early": ("FLOAT", (-1, 48)),
        "surprise": ("FLOAT", (-1,)),
        "background": ("FLOAT", (-1,)),
        "residual": ("FLOAT", (-1,)),
        "damage": ("FLOAT", (-1,)),
        "reconstruction": ("FLOAT", (-1,)),
        "latent": ("FLOAT", (-1, 64)),
        "heat": ("FLOAT", (-1, 6, 9)),
    }
    assert description.profile == tuple((batch, 96, 144, 3) for batch in (1, 4, 16))
    assert description.strongly_typed
    assert not description.tf32
    assert description.version == library.version()
    assert len(plan) > 1e6


def test_fp16_is_in_the_engine_and_not_only_in_its_name(bundle: Bundle, library: TensorRt) -> None:
    """The encoder's weights take half the room, the density's all of theirs."""
    sizes = {kind: len(built(bundle, library, kind)[1]) for kind in (FP32, FP16)}
    encoder = sum(
        len(i.raw_data)
        for i in onnx.load(bundle.model_path).graph.initializer
        if i.data_type == TensorProto.FLOAT
    )
    assert sizes[FP32] - sizes[FP16] == pytest.approx(0.5 * encoder, rel=0.3)


def test_int8_is_built_from_symmetric_activations(
    small_bundle: Path, library: TensorRt, tmp_path: Path
) -> None:
    small = open_bundle(shutil.copytree(small_bundle, tmp_path / "small.bundle"))
    graph, notes = graph_for(small, backend_of("tensorrt-rtx"), INT8)
    zeros = [onnx.numpy_helper.to_array(i) for i in graph.graph.initializer if i.name.endswith("_zero")]
    assert zeros
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert "layers in int8" in notes[0]
    description, _ = split(library.build(graph, INT8))
    assert description.profile[2] == (PROFILE[2], 48, 64, 3)


def test_an_operator_it_does_not_know_is_named_with_its_node(library: TensorRt) -> None:
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mystery", ["float"], ["late"], name="strange/node", domain="nobody.knows"),
    ]
    graph = helper.make_graph(
        nodes,
        "strange",
        [value("images", TensorProto.UINT8, ["N", 8, 8, 3])],
        [value("late", TensorProto.FLOAT, ["N", 8, 8, 3])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("nobody.knows", 1)]
    with pytest.raises(EngineError, match=r"tensorrt-rtx: node strange/node \(Mystery\): must be") as raised:
        library.build(helper.make_model(graph, opset_imports=opsets, ir_version=10), FP32)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("cut", [2, 100, -1000], ids=["head", "description", "plan"])
def test_a_truncated_engine_is_refused(cut: int, bundle: Bundle, library: TensorRt) -> None:
    whole = compiled(bundle, backend_of("tensorrt-rtx"), FP32, library, lambda line: None).built
    with pytest.raises(EngineError, match=r"engine file: must .*; compile it again"):
        library.load(whole[:cut], FP32)


@pytest.mark.skipif(bool(gpu_name()), reason="this machine has a GPU")
@pytest.mark.parametrize("name", ["tensorrt-rtx", "onnxruntime-cuda", "tensorrt"])
def test_without_a_gpu_it_says_so_in_a_line(name: str, bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"GPU: must be there with its driver|needs the package") as raised:
        open_engine(bundle, name)
    assert "\n" not in str(raised.value)


def test_an_engine_is_kept_for_the_gpus_it_is_for(bundle: Bundle, library: TensorRt) -> None:
    said: list[str] = []
    backend = backend_of("tensorrt-rtx")
    first = compiled(bundle, backend, FP32, library, said.append)
    assert first.key.target == "compute capability 8.0 and later" or gpu_name()
    record = EngineCache.beside(bundle).folder / "tensorrt-rtx-fp32.json"
    record.write_text(
        record.read_text().replace(first.key.target, "compute capability 7.5, GeForce RTX 2080")
    )
    assert compiled(bundle, backend, FP32, library, said.append).fresh
    assert said == [
        "the cached tensorrt-rtx fp32 engine is for compute capability 7.5, GeForce RTX 2080, "
        f"this is {first.key.target}: building it again"
    ]


KINDS = {
    "trt": "", "known": "ComputeCapability", "builder": "Builder", "network": "INetworkDefinition",
    "config": "IBuilderConfig", "profile": "IOptimizationProfile", "parser": "OnnxParser", "issue": "ParserError",
    "cache": "ITimingCache", "source": "ITensor", "t": "ITensor", "runtime": "Runtime", "engine": "ICudaEngine",
    "context": "IExecutionContext", "settings": "IRuntimeConfig", "learnt": "IRuntimeCache",
}  # fmt: skip
"""What each name stands for in the two modules, with or without ``self._`` before it."""
RTX_ALONE = {
    "ComputeCapability", "CudaGraphStrategy", "IRuntimeConfig", "IRuntimeCache", "num_compute_capabilities",
    "set_compute_capability", "create_runtime_config",
}  # fmt: skip
"""Names behind a question for the library, which only TensorRT-RTX has to know."""


def uses() -> Iterator[tuple[str, str, str]]:
    """Every use of the library in the two modules: where, of which class, which name."""
    for module in ("tensor_rt", "tensor_rt_engine"):
        tree = ast.parse((ROOT / "engines" / "backends" / f"{module}.py").read_text())
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            owner = node.value
            name = (
                owner.id
                if isinstance(owner, ast.Name)
                else owner.attr
                if isinstance(owner, ast.Attribute)
                else ""
            )
            where = f"{module}.py:{node.lineno}"
            if name.lstrip("_") in KINDS and not (isinstance(owner, ast.Name) and owner.id == "self"):
                yield where, KINDS[name.lstrip("_")], node.attr
            elif isinstance(owner, ast.Attribute) and _module(owner.value) and owner.attr in API[RTX]:
                yield where, owner.attr, node.attr


def _module(node: ast.expr) -> bool:
    """Whether an expression is the library's module: ``trt`` or ``self._trt``."""
    return (isinstance(node, ast.Name) and node.id == "trt") or (
        isinstance(node, ast.Attribute) and node.attr == "_trt"
    )


def test_every_call_exists_in_every_library_it_is_for() -> None:
    found = list(uses())
    assert len(found) > 50
    unknown = []
    for where, kind, name in found:
        for title, names in API.items():
            if title != RTX and (kind in RTX_ALONE or name in RTX_ALONE):
                continue
            if name != "__init__" and name not in names.get(kind, []):
                unknown.append(f"{where}: {kind}.{name} in {title}")
    assert unknown == []


def test_every_kind_of_object_is_looked_at() -> None:
    """A renamed variable must not slip through the check above."""
    assert {kind for _, kind, _ in uses()} >= {
        "", "Builder", "INetworkDefinition", "IBuilderConfig", "IOptimizationProfile", "OnnxParser", "ParserError",
        "Runtime", "ICudaEngine", "IExecutionContext", "IRuntimeConfig", "IRuntimeCache", "BuilderFlag", "TensorIOMode",
        "NetworkDefinitionCreationFlag", "ComputeCapability", "CudaGraphStrategy", "ILogger", "IProgressMonitor",
    }  # fmt: skip


def test_the_list_of_names_is_that_of_the_installed_library() -> None:
    import tensorrt_rtx_bindings

    if not tensorrt_rtx_bindings.__version__.startswith("1.7."):
        pytest.skip(f"another version is installed: {tensorrt_rtx_bindings.__version__}")
    for kind, names in API[RTX].items():
        owner = tensorrt_rtx_bindings if not kind else getattr(tensorrt_rtx_bindings, kind)
        assert set(names) <= set(dir(owner)), kind


def test_cuda_calls_exist_in_the_bindings() -> None:
    from cuda.bindings import runtime

    tree = ast.parse((ROOT / "engines" / "backends" / "cuda.py").read_text())
    names = [
        n.attr for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "runtime"
    ]  # fmt: skip
    assert len(names) > 20
    assert [name for name in names if not hasattr(runtime, name)] == []
    errors = [
        n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant) and str(n.value).startswith("cudaError")
    ]
    assert errors
    assert [name for name in errors if not hasattr(runtime.cudaError_t, name)] == []


def test_what_cuda_complains_of_is_told_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from cuda.bindings import runtime

    from engines.backends import cuda

    def driver(version: int) -> None:
        monkeypatch.setattr(
            runtime, "cudaDriverGetVersion", lambda: (runtime.cudaError_t.cudaSuccess, version)
        )

    driver(12000)
    with pytest.raises(
        EngineError, match=r"GPU: needs a newer NVIDIA driver \(cudaErrorInsufficientDriver.*; update"
    ):
        cuda.call((runtime.cudaError_t.cudaErrorInsufficientDriver,))
    with pytest.raises(OutOfMemoryError, match="GPU: must have memory for the batch"):
        cuda.call((runtime.cudaError_t.cudaErrorMemoryAllocation,))
    with pytest.raises(EngineError, match=r"GPU: must do as told \(cudaErrorIllegalAddress"):
        cuda.call((runtime.cudaError_t.cudaErrorIllegalAddress, None))
    driver(0)
    with pytest.raises(EngineError, match="GPU: must be there with its driver"):
        cuda.call((runtime.cudaError_t.cudaErrorInsufficientDriver, None))
    assert cuda.call((runtime.cudaError_t.cudaSuccess, 3)) == 3
    assert cuda.call((runtime.cudaError_t.cudaSuccess, 3, 4)) == (3, 4)


def on_gpu(name: str, bundle: Bundle, precision: Precision) -> Any:
    try:
        return load(bundle, backend_of(name), precision, lambda line: None).engine
    except EngineError as error:
        pytest.skip(f"{name} cannot run here: {error}")


@pytest.mark.gpu
@pytest.mark.skipif(not gpu_name(), reason="no NVIDIA GPU with a driver is here")
@pytest.mark.parametrize(
    ("name", "precision"),
    [(n, p) for n in ("tensorrt", "tensorrt-rtx") for p in (FP32, FP16)],
)
def test_a_gpu_equals_the_reference(name: str, precision: Precision, bundle: Bundle) -> None:
    engine = on_gpu(name, bundle, precision)
    try:
        assert verify_engine(engine, bundle).failed == ""
    finally:
        engine.close()


@pytest.mark.gpu
@pytest.mark.skipif(not gpu_name(), reason="no NVIDIA GPU with a driver is here")
@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_batches_that_repeat_and_batches_that_are_split_score_alike(name: str, bundle: Bundle) -> None:
    engine = on_gpu(name, bundle, FP32)
    images = np.resize(bundle.probes().frames, (40, 96, 144, 3))
    whole = engine.score(images).surprise
    for batch in (1, 3, 16, 3, 1, 3):
        parts = [engine.score(images[i : i + batch]).surprise for i in range(0, 40, batch)]
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-3, rtol=1e-6)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.score(images)
