"""The models of the leaderboard, and how each is made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.density import Floats, normalised
from engines.encoders import Background, open_encoder
from engines.frames import Image
from engines.graph import input_size, keeps_length
from engines.scores import pooled
from engines.untrained import untrained
from engines.whole_file import write_whole
from training.manifest import read_manifest
from training.protocols import NORMAL

BATCH = 8
TRAINED = ("autoencoder", "vae", "lake")


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One encoder. background: that it ships with. seen: drives that it was trained on, which test nothing."""

    name: str
    graph: onnx.ModelProto
    background: Background | None = None
    seen: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Of its features in a cache."""
        return hashlib.sha256(self.graph.SerializeToString(deterministic=True)).hexdigest()[:16]

    def features(self, images: Image, engine: OnnxRuntimeEngine) -> Floats:
        """uint8 N×H×W×3 at the encoder's size -> N × D pooled features, of length 1 unless length carries meaning."""
        late = np.concatenate(
            [engine.features(images[i : i + BATCH]).late for i in range(0, len(images), BATCH)]
        )
        cells = int(np.prod(late.shape[2:], dtype=int))
        average = np.full((cells, 1), 1.0 / cells)
        rows = pooled(late, average if self.background is None else self.background.pooling)
        return rows if keeps_length(self.graph) else normalised(rows)


def makers(weights: Path, data: Path, cache: Path, epochs: int) -> dict[str, Callable[[], Model]]:
    """How each model is made, by its name. Networks that learn are trained on the highways of the split ``train``."""

    def shipped(name: str) -> Callable[[], Model]:
        return lambda: Model(*open_encoder(name))

    def bare() -> Model:
        graph = open_encoder("road")[1]
        noise = np.random.default_rng(0).integers(0, 256, (8, *input_size(graph), 3)).astype(np.uint8)
        return Model("road, untrained", untrained(graph, noise))

    def learnt(kind: str) -> Callable[[], Model]:
        return lambda: _trained(kind, data, cache, epochs)

    squeezenet = weights / "squeezenet1_1_fp16.npz"
    return {
        "road": shipped("road"),
        "road-large": shipped("road-large"),
        "dfkde squeezenet1_1": lambda: _assembled(
            "dfkde squeezenet1_1", "squeezenet1_1", ("features.11", "features.12"), squeezenet, "imagenet"
        ),
        "dfkde mobilenet_v2": lambda: _assembled(
            "dfkde mobilenet_v2",
            "mobilenet_v2_folded",
            ("stride8", "stride16"),
            weights / "mobilenet_v2_1.0_224.npz",
            None,
        ),
        **{kind: learnt(kind) for kind in TRAINED},
        "road, untrained": bare,
    }


def _assembled(
    name: str, backbone: str, layers: tuple[str, ...], weights: Path, normalisation: str | None
) -> Model:
    from training.export import to_onnx
    from training.models.dfkde import Dfkde

    module = Dfkde((224, 224), backbone, layers, str(weights), normalisation)
    return Model(name, to_onnx(module, module.size, module.outputs))


def _trained(kind: str, data: Path, cache: Path, epochs: int) -> Model:
    """Train as ``sightline train --manifest … --label highway --split train`` does; what is in the cache is not
    trained again."""
    from engines.graph import LENGTH_KEY
    from training.export import to_onnx
    from training.train.config import load_config
    from training.train.data import Selection, select
    from training.train.loop import train

    manifest = data / "manifest.csv" if data.is_dir() else data
    seen = frozenset(r.drive for r in read_manifest(data) if r.split == "train")
    path = cache / f"{kind}-{epochs}.onnx"
    if not path.is_file():
        options = {
            "model.kind": kind,
            "model.size": [64, 96],
            "data.rate": 2.0,
            "data.images_per_second": 4.0,
            "optimisation.epochs": epochs,
            "optimisation.batch": 16,
            "optimisation.patience": epochs,
        }
        folder = cache / f"{kind}-{epochs}.training"
        sources = select(manifest, Selection(NORMAL))
        trained = train(load_config(None, options), sources, folder, resume=(folder / "last.pt").is_file())
        module = trained.model
        metadata = {LENGTH_KEY: "kept"} if module.keeps_length else {}
        write_whole(path, to_onnx(module, module.size, module.outputs, metadata).SerializeToString())
    return Model(kind, onnx.load(path), seen=seen)
