"""From a torch module to the ONNX file that the engines run."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch

from training.road_encoder import INPUT_SIZE, RoadEncoder


def export_encoder(encoder: RoadEncoder, path: Path) -> None:
    """Write ``encoder`` as ONNX: ``images`` uint8 N×96×144×3 -> ``late`` N×C×3×5, ``early`` N×48; N is
    free."""
    batch = torch.export.Dim("N", min=1, max=1024)
    example = torch.zeros(2, *INPUT_SIZE, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        encoder,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: batch},),
        opset_version=18,
        input_names=["images"],
        output_names=["late", "early"],
    )
    assert program is not None
    model = program.model_proto
    # Names of source files and line numbers have no place in a shipped file.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    onnx.checker.check_model(model)
    partial = path.with_suffix(".partial")
    onnx.save(model, partial)
    partial.replace(path)
