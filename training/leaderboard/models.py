"""The models of the leaderboard, and how each is made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.density import Floats, normalised
from engines.encoders import Background, open_encoder
from engines.footage import Recording
from engines.frames import Image
from engines.graph import LENGTH_KEY, input_size, keeps_length
from engines.scores import pooled
from engines.untrained import untrained
from engines.whole_file import write_whole
from training.manifest import Row, read_manifest
from training.protocols import NORMAL
from training.shipped.imagenet_encoder import make_encoder
from training.thresholds import TURNS

BATCH = 8
TRAINED = ("autoencoder", "vae", "lake")
SMALL = (96, 144), 160
"""Size and channels at which MobileNetV2 costs what ``road`` does."""
PROBED = 4
"""Frames of each recording by which an untrained encoder is normalised."""
ROAD_SIZE, BOTTLE_SIZE = (64, 96), (96, 96)
"""Height and width at which encoders that learn see roads and bottles."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One encoder. background: that it ships with. bottles: the same, trained on pictures of bottles other than the first
    in every TURNS; None where nothing was trained on footage."""

    name: str
    graph: onnx.ModelProto
    background: Background | None = None
    bottles: onnx.ModelProto | None = None

    @property
    def of_bottles(self) -> onnx.ModelProto:
        return self.bottles or self.graph


def key(graph: onnx.ModelProto) -> str:
    """Of its features in a cache."""
    return hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()[:16]


def features(
    graph: onnx.ModelProto, background: Background | None, images: Image, engine: OnnxRuntimeEngine
) -> dict[str, Floats]:
    """uint8 N×H×W×3 at the encoder's size -> ``late``: N × D pooled features, of length 1 unless length carries meaning;
    and where it has a decoder ``reconstruction``: N × 1 errors."""
    parts = [engine.features(images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    late = np.concatenate([p.late for p in parts])
    cells = int(np.prod(late.shape[2:], dtype=int))
    average = np.full((cells, 1), 1.0 / cells)
    rows = pooled(late, average if background is None else background.pooling)
    found = {"late": rows if keeps_length(graph) else normalised(rows)}
    errors = [p.reconstruction for p in parts if p.reconstruction is not None]
    return found | ({"reconstruction": np.concatenate(errors)[:, None]} if errors else {})


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are. epochs: of encoders that learn."""

    weights: Path
    data: Path
    mvtec: Path
    cache: Path
    epochs: int


def makers(places: Places) -> dict[str, Callable[[], Model]]:
    """How each model is made, by its name. Encoders that learn are trained on the highways that are in its background."""

    def shipped(name: str) -> Callable[[], Model]:
        return lambda: Model(*open_encoder(name))

    squeezenet, mobilenet = (
        places.weights / name for name in ("squeezenet1_1_fp16.npz", "mobilenet_v2_1.0_224.npz")
    )
    return {
        "road": shipped("road"),
        "road-large": shipped("road-large"),
        "mobilenet 96 × 144": lambda: Model("mobilenet 96 × 144", make_encoder(mobilenet, *SMALL)),
        "dfkde squeezenet1_1": lambda: _assembled(
            "dfkde squeezenet1_1", "squeezenet1_1", ("features.11", "features.12"), squeezenet, "imagenet"
        ),
        "dfkde mobilenet_v2": lambda: _assembled(
            "dfkde mobilenet_v2", "mobilenet_v2_folded", ("stride8", "stride16"), mobilenet, None
        ),
        **{kind: _learner(kind, places) for kind in TRAINED},
        "road, untrained": lambda: _bare(places.data),
    }


def _bare(data: Path) -> Model:
    """The default's architecture with random weights, normalised by frames of the highways in its background."""
    graph = open_encoder("road")[1]
    size = input_size(graph)
    frames = []
    for row in taught_rows(data):
        found = list(Recording(row.recording, size, every_s=2.0 if row.recording.is_video else 0.0))
        frames += [found[i].image for i in np.linspace(0, len(found) - 1, PROBED).astype(int)]
    return Model("road, untrained", untrained(graph, np.stack(frames)))


def taught_rows(data: Path) -> list[Row]:
    """Highways on which weights that ship may be trained; all of them where the manifest says of none that it may."""
    rows = [r for r in read_manifest(data) if r.label == NORMAL]
    return [r for r in rows if r.ship] or rows


def _assembled(
    name: str, backbone: str, layers: tuple[str, ...], weights: Path, normalisation: str | None
) -> Model:
    from training.export import to_onnx
    from training.models.dfkde import Dfkde

    module = Dfkde((224, 224), backbone, layers, str(weights), normalisation)
    return Model(name, to_onnx(module, module.size, module.outputs))


def _learner(kind: str, places: Places) -> Callable[[], Model]:
    def make() -> Model:
        from engines.footage import Drive, find_drives
        from training.train.data import Sources

        rows = taught_rows(places.data)
        roads = Sources(tuple(r.recording for r in rows), tuple(r.drive for r in rows))
        (good,) = find_drives([places.mvtec / "train" / "good"])
        kept = Drive(good.name, good.path, tuple(f for i, f in enumerate(good.files) if i % TURNS))
        bottles = Sources((kept,), (kept.name,))
        return Model(
            kind,
            _trained(kind, "roads", roads, ROAD_SIZE, places),
            bottles=_trained(kind, "bottles", bottles, BOTTLE_SIZE, places),
        )

    return make


def _trained(kind: str, what: str, sources: Any, size: tuple[int, int], places: Places) -> onnx.ModelProto:
    """Train as ``sightline train`` does; what is in the cache is not trained again, and what was interrupted goes on."""
    from training.export import to_onnx
    from training.train.config import load_config
    from training.train.loop import train

    path = places.cache / f"{kind}-{what}-{places.epochs}.onnx"
    if not path.is_file():
        options: Mapping[str, Any] = {
            "model.kind": kind,
            "model.size": list(size),
            "data.rate": 4.0,
            "data.images_per_second": 4.0,
            "optimisation.epochs": places.epochs,
            "optimisation.batch": 16,
            "optimisation.patience": places.epochs,
        }
        folder = path.with_suffix(".training")
        module = train(
            load_config(None, options), sources, folder, resume=(folder / "last.pt").is_file()
        ).model
        metadata = {LENGTH_KEY: "kept"} if module.keeps_length else {}
        write_whole(path, to_onnx(module, module.size, module.outputs, metadata).SerializeToString())
    return onnx.load(path)
