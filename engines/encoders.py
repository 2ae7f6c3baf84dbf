"""Encoders that ship inside the package, each with the background that minutes of footage inherit.

A folder per encoder: ``encoder.onnx`` (uint8 N×H×W×3 -> ``late``, ``early``), ``background.npz`` (pooling,
projections, density of the broad background) and ``MODEL_CARD.md`` (what made it, on what, how good it is).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from engines.arrays import pack_density, pack_projection, unpack_kde, unpack_projection
from engines.density import Floats, Kde, Projection
from engines.errors import InputError
from engines.graph import load_graph

SHIPPED = Path(__file__).parent / "shipped"
DEFAULT = "road"


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """What the world at large looks like to an encoder.

    pooling: cells × K of the late map. projection: of the pooled features, whitened. density: of broad
    footage in that space. early: projection of the early statistics."""

    pooling: Floats
    projection: Projection
    density: Kde
    early: Projection


def open_encoder(name: str) -> tuple[str, onnx.ModelProto, Background | None]:
    """Return the name, graph and background of a shipped encoder, or of an ONNX file (which has no
    background)."""
    folder = SHIPPED / name
    if (folder / "encoder.onnx").is_file():
        return name, load_graph(folder / "encoder.onnx"), read_background(folder / "background.npz")
    if Path(name).is_file():
        return Path(name).stem, load_graph(Path(name)), None
    known = ", ".join(sorted(p.name for p in SHIPPED.iterdir() if p.is_dir()))
    raise InputError(f"encoder {name}", f"must be an ONNX file or one of: {known}", "check --encoder")


def read_background(path: Path) -> Background:
    """Read a ``background.npz``."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    return Background(
        arrays["pooling"],
        unpack_projection("projection", arrays),
        unpack_kde("density", arrays),
        unpack_projection("early", arrays),
    )


def pack_background(background: Background) -> dict[str, Any]:
    """The arrays of a ``background.npz``."""
    return {
        "pooling": background.pooling,
        **pack_projection("projection", background.projection),
        **pack_density("density", background.density),
        **pack_projection("early", background.early),
    }
