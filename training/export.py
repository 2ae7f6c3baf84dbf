"""From a torch module to the ONNX file that the engines run."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch

OPSET = 18
MOST_FRAMES = 1024


def to_onnx(
    module: Any, size: tuple[int, int], outputs: Sequence[str], metadata: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """Return ``module`` as ONNX: ``images`` uint8 N×H×W×3 -> ``outputs``; N is free. The module is set to eval and must
    be on the CPU."""
    batch = torch.export.Dim("N", min=1, max=MOST_FRAMES)
    example = torch.zeros(2, *size, 3, dtype=torch.uint8)
    # The exporter reports its steps on standard output, which belongs to results.
    with contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=({0: batch},),
            opset_version=OPSET,
            input_names=["images"],
            output_names=list(outputs),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_sources(model)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    return model


def _forget_sources(model: onnx.ModelProto) -> None:
    """Names of source files and line numbers have no place in a file that is passed on."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.graph.doc_string = model.doc_string = ""
    for function in model.functions:
        del function.metadata_props[:]
        function.doc_string = ""
    for node in (*model.graph.node, *(n for f in model.functions for n in f.node)):
        del node.metadata_props[:]
        node.doc_string = ""
    graph = model.graph
    for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
