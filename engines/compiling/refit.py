"""What stands behind an encoder, refitted through the same encoder in fewer bits.

A projection is linear, so refitting it is to put a linear map before it: that of the features' channels which brings them
closest to the float32 encoder's on normal frames, by ridge regression. With it latents are again those that support points,
bandwidth and thresholds were learnt from, which could not be learnt anew: a bundle holds their latents and not their
pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engines.density import Floats
from engines.graph import MARK

RIDGE = 1.0
"""In mean variances of a channel. A few dozen frames say little of how channels mix."""
MOST_MIXED = 512
"""Maps of more channels keep the straight line of each: mixing them would cost as much as a layer."""

Values = NDArray[np.float32]


def refitted(
    encoder: onnx.ModelProto,
    found: Mapping[str, Values],
    wanted: Mapping[str, Values],
    *,
    apart: bool = False,
) -> onnx.ModelProto:
    """Append to each feature of ``encoder`` the affine map of its channels that brings ``found`` closest to ``wanted``.

    apart: as a piece of what is behind the encoder, for libraries that run the two in different precisions."""
    result = onnx.ModelProto()
    result.CopyFrom(encoder)
    graph = result.graph
    for name in found:
        for node in graph.node:
            for places in (node.input, node.output):
                for place, used in enumerate(places):
                    if used == name:
                        places[place] = f"{name}_plain"
        graph.node.append(_map(graph, name, found[name], wanted[name], MARK if apart else ""))
        if apart:
            plain = onnx.ValueInfoProto()
            plain.CopyFrom(next(o for o in graph.output if o.name == name))
            plain.name = f"{name}_plain"
            graph.output.append(plain)
    return result


def _map(graph: onnx.GraphProto, name: str, found: Values, wanted: Values, mark: str) -> onnx.NodeProto:
    """The node that maps one feature, N×C (a product) or N×C×h×w (a convolution of single cells)."""
    matrix, offset = channel_map(found, wanted)
    kind, attributes = "Gemm", {"transB": 1}
    if found.ndim > 2:
        mixed = len(matrix) <= MOST_MIXED
        kind, attributes = "Conv", {"group": 1 if mixed else len(matrix)}
        weights = matrix if mixed else np.diagonal(matrix)[:, None]
        matrix = weights.reshape(*weights.shape, *(1,) * (found.ndim - 2))
    parts = {"refit": matrix, "offset": offset}
    for part, value in parts.items():
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), f"{name}_{part}"))
    inputs = [f"{name}_plain", *(f"{name}_{part}" for part in parts)]
    return helper.make_node(kind, inputs, [name], name=f"{mark}refit/{name}", **attributes)


def channel_map(found: Values, wanted: Values) -> tuple[Floats, Floats]:
    """C × C matrix and C offsets: the ridge regression of ``wanted`` on ``found`` (both N×C×...) over all frames and cells,
    shrunk towards the straight line of each channel by itself."""
    x, y = _rows(found), _rows(wanted)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    spread = (x**2).mean(axis=0)
    slope = np.where(spread > 1e-12, (x * y).mean(axis=0) / np.maximum(spread, 1e-12), 1.0)
    x *= slope
    mixed = np.eye(x.shape[1])
    if len(mixed) <= MOST_MIXED:
        covariance = x.T @ x / len(x)
        ridge = RIDGE * max(float(np.trace(covariance)) / len(mixed), 1e-12)
        mixed += np.linalg.solve(covariance + ridge * mixed, x.T @ (y - x) / len(x))
    matrix = (slope[:, None] * mixed).T
    return matrix, y_mean - matrix @ x_mean


def _rows(values: Values) -> Floats:
    """N×C×... -> cells × C."""
    return np.moveaxis(values, 1, -1).reshape(-1, values.shape[1]).astype(np.float64)
