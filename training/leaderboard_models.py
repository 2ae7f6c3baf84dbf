"""The models of the leaderboard, and what each says of the driving suite and of pictures of bottles, kept in a cache.

A recording is decoded once for all models. Features are kept by the sha256 of the encoder that made them, so that a new
encoder is the only one that is asked again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.console import progress
from engines.density import Floats, normalised
from engines.encoders import Background, open_encoder
from engines.footage import Recording, find_drives
from engines.frames import Image
from engines.graph import input_size, keeps_length
from engines.scores import pooled
from engines.untrained import untrained
from engines.whole_file import write_whole
from training.manifest import Row, read_manifest
from training.protocols import NORMAL, OTHER, Clip

WORKING_SIZE = (224, 336)
EVERY_S = 0.25
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


@dataclass(frozen=True, slots=True, eq=False)
class Filmed:
    """One recording of the suite, decoded. images: N×H×W×3 at WORKING_SIZE. changes: N, mean absolute difference to the
    frame EVERY_S before; NaN for stills."""

    row: Row
    images: Image
    times_s: Floats
    changes: Floats

    def clip(self, late: NDArray[Any]) -> Clip:
        """With N × D features."""
        row, none = self.row, np.zeros((len(late), 0), np.float32)
        return Clip(row.drive, row.rig, row.label, row.ship, late.astype(np.float32), none, self.times_s)


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
    from training.dfkde import Dfkde
    from training.export import to_onnx

    module = Dfkde((224, 224), backbone, layers, str(weights), normalisation)
    return Model(name, to_onnx(module, module.size, module.outputs))


def _trained(kind: str, data: Path, cache: Path, epochs: int) -> Model:
    """Train as ``sightline train --manifest … --label highway --split train`` does; what is in the cache is not
    trained again."""
    from engines.graph import LENGTH_KEY
    from training.data import Selection, select
    from training.export import to_onnx
    from training.train import train
    from training.train_config import load_config

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


def film(data: Path, cache: Path, frames: int) -> list[Filmed]:
    """Every recording of the suite, up to ``frames`` evenly spaced frames each."""
    rows = [r for r in read_manifest(data) if r.label in (NORMAL, OTHER)]
    folder = cache / f"frames-{frames}"
    folder.mkdir(parents=True, exist_ok=True)
    filmed = []
    with progress("reading the suite", len(rows), "recordings") as advance:
        for row in rows:
            name = hashlib.sha256(str(row.recording.path.resolve()).encode()).hexdigest()[:16]
            filmed.append(_filmed(row, folder / f"{name}.npz", frames))
            advance(1, row.drive)
    return filmed


def _filmed(row: Row, path: Path, most: int) -> Filmed:
    if not path.is_file():
        is_video = row.recording.is_video
        found = list(Recording(row.recording, WORKING_SIZE, every_s=EVERY_S if is_video else 0.0))
        kept = np.unique(np.linspace(0, len(found) - 1, most).astype(int))
        changes = [
            np.abs(
                found[i].image.astype(np.int16) - found[i - 1 if i else min(1, len(found) - 1)].image
            ).mean()
            if is_video
            else np.nan
            for i in kept
        ]
        _save(
            path,
            images=np.stack([found[i].image for i in kept]),
            times_s=np.array([found[i].time_s for i in kept]),
            changes=np.array(changes),
        )
    with np.load(path, allow_pickle=False) as stored:
        return Filmed(row, stored["images"], stored["times_s"], stored["changes"])


def encoded(model: Model, filmed: Sequence[Filmed], cache: Path) -> list[Clip]:
    """The suite through a model, pooled."""
    path = cache / f"features-{len(filmed)}-{sum(len(f.images) for f in filmed)}-{model.key}.npz"
    if not path.is_file():
        engine = OnnxRuntimeEngine(model.graph.SerializeToString(), 1)
        found = {}
        with progress(f"{model.name} looks at the suite", len(filmed), "recordings") as advance:
            for number, one in enumerate(filmed):
                found[f"{number}"] = model.features(resized(one.images, engine.input_size), engine)
                advance(1, one.row.drive)
        _save(path, **found)
    with np.load(path, allow_pickle=False) as stored:
        return [one.clip(stored[f"{number}"]) for number, one in enumerate(filmed)]


def pictured(model: Model, bottle: Path, cache: Path) -> tuple[Clip, Clip, Clip]:
    """MVTec AD's layout through a model: good pictures to learn from, good ones and defective ones to test."""
    path = cache / f"bottle-{model.key}.npz"
    if not path.is_file():
        engine = OnnxRuntimeEngine(model.graph.SerializeToString(), 1)
        found: dict[str, list[Floats]] = {"normal": [], "good": [], "defective": []}
        for drive in [*find_drives([bottle / "train"]), *find_drives([bottle / "test"])]:
            images = np.stack([f.image for f in Recording(drive, engine.input_size)])
            is_taught = drive.path.parent.name == "train"
            which = "normal" if is_taught else "good" if drive.path.name == "good" else "defective"
            found[which].append(model.features(images, engine))
        _save(path, **{which: np.concatenate(parts) for which, parts in found.items()})
    with np.load(path, allow_pickle=False) as stored:
        normal, good, defective = (_pictures(stored[n], n) for n in ("normal", "good", "defective"))
    return normal, good, defective


def _pictures(features: NDArray[Any], name: str) -> Clip:
    none = np.zeros((len(features), 0), np.float32)
    return Clip(
        name, "bottle", name, False, features.astype(np.float32), none, np.arange(len(features)) / 1.0
    )


def resized(images: Image, size: tuple[int, int]) -> Image:
    """N×H×W×3 at ``size`` (height, width)."""
    return np.stack([cv2.resize(i, size[::-1], interpolation=cv2.INTER_AREA) for i in images]).astype(
        np.uint8
    )


def _save(path: Path, **arrays: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **arrays)
    partial.replace(path)
