"""What must be beaten: brightness, change between frames, the nearest raw picture, and the untrained encoder.

The last two learn from the normal pictures in the bundle, the same footage that the bundle was taught on, and
leave out the same drives. Brightness and change have no direction of their own; the better one is taken, which
flatters them."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import Bundle
from engines.density import Floats, Kde, Projection, drive_weights, fit_projection, squared_distances
from engines.errors import EngineError
from engines.frames import Frame, Image
from engines.graph import load_graph
from engines.untrained import untrained
from monitor.evaluation.unseen import LeftOut

GREY_SIZE = (36, 24)
"""Width and height of the grey pictures that are compared pixel by pixel."""
UNTRAINED_EVERY_S = 0.5
"""The untrained encoder sees one frame in so many seconds: a second network on every frame would double the
time, and neighbours say the same."""


@dataclass(slots=True)
class BaselineScores:
    """One drive's baseline scores, each with one value per frame seen.

    brightness: mean of the picture, 0 to 255. change: mean difference to the frame before, grey levels (without the
    first frame). nearest: root mean square distance to the nearest normal picture, grey levels. untrained: -log
    density under the untrained encoder, nats."""

    brightness: list[float] = field(default_factory=list)
    change: list[float] = field(default_factory=list)
    nearest: list[float] = field(default_factory=list)
    untrained: list[float] = field(default_factory=list)


class Baselines:
    """The baselines of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        pictures, self._drives = bundle.normal_pictures()
        self._grey = _grey(pictures)
        self._engine = _untrained_engine(bundle, pictures)
        self._features = np.zeros((0, 0)) if self._engine is None else _pooled(self._engine, pictures)
        self._dimensions = bundle.manifest.dimensions
        normal = bundle.density.normal
        self._bandwidth = normal.bandwidth if isinstance(normal, Kde) else 1.0
        self._fitted: dict[LeftOut, tuple[Projection, Kde]] = {}

    def watch(self, left_out: LeftOut, ordered: bool) -> BaselineWatch:
        """Begin one drive, judged as though the drives ``left_out`` had not been taught."""
        return BaselineWatch(self, left_out, ordered)

    def nearest(self, grey: Floats, left_out: LeftOut) -> Floats:
        """Root mean square distance of N flat grey pictures to the nearest normal one."""
        distances = squared_distances(grey, self._grey[self._kept(left_out)])
        return np.asarray(np.sqrt(distances.min(axis=1) / grey.shape[1]))

    def untrained(self, images: Image, left_out: LeftOut) -> Floats:
        """Surprise of N frames under the untrained encoder: the same whitening and density, and the bundle's own
        bandwidth. Empty where the encoder has no weights that could be untrained."""
        if self._engine is None:
            return np.zeros(0)
        projection, density = self._density(left_out)
        return density.surprise(projection.latent(_pooled(self._engine, images)))

    def _density(self, left_out: LeftOut) -> tuple[Projection, Kde]:
        if left_out not in self._fitted:
            kept = self._kept(left_out)
            features, weights = self._features[kept], drive_weights(self._drives[kept])
            projection = fit_projection(features, weights, min(self._dimensions, len(features) - 1))
            support = projection.latent(features)
            self._fitted[left_out] = projection, Kde(support, np.log(weights), self._bandwidth)
        return self._fitted[left_out]

    def _kept(self, left_out: LeftOut) -> NDArray[np.bool_]:
        return ~np.isin(self._drives, list(left_out))


class BaselineWatch:
    """The baselines over one drive; ``add`` takes its frames in order."""

    def __init__(self, baselines: Baselines, left_out: LeftOut, ordered: bool) -> None:
        self._baselines, self._left_out, self._ordered = baselines, left_out, ordered
        self._before: Floats | None = None
        self._due_s = -np.inf
        self.scores = BaselineScores()

    def add(self, frames: list[Frame], images: Image) -> None:
        """Take one batch of frames, and their pictures stacked."""
        grey = _grey(images)
        scores = self.scores
        scores.brightness += images.mean(axis=(1, 2, 3), dtype=np.float64).tolist()
        scores.nearest += self._baselines.nearest(grey, self._left_out).tolist()
        if self._ordered:
            before = grey[:1] if self._before is None else self._before
            change = np.abs(np.diff(np.concatenate([before, grey]), axis=0)).mean(axis=1)
            scores.change += change[1 if self._before is None else 0 :].tolist()
            self._before = grey[-1:]
        due = []
        for row, frame in enumerate(frames):
            if not self._ordered or frame.time_s >= self._due_s:
                self._due_s = frame.time_s + UNTRAINED_EVERY_S
                due.append(row)
        if due:
            scores.untrained += self._baselines.untrained(images[due], self._left_out).tolist()


def _untrained_engine(bundle: Bundle, pictures: Image) -> OnnxRuntimeEngine | None:
    try:
        drawn = untrained(load_graph(bundle.model_path), pictures)
    except EngineError:
        return None
    return OnnxRuntimeEngine(drawn.SerializeToString())


def _grey(images: Image) -> Floats:
    """N×H×W×3 pictures as N flat, small grey ones."""
    small = [
        cv2.resize(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY), GREY_SIZE, interpolation=cv2.INTER_AREA)
        for i in images
    ]
    return np.stack(small).reshape(len(small), -1).astype(np.float64)


def _pooled(engine: OnnxRuntimeEngine, images: Image) -> Floats:
    """The encoder's late map averaged over its cells: N × C."""
    late = np.concatenate([engine.features(images[i : i + 16]).late for i in range(0, len(images), 16)])
    return np.asarray(late.reshape(*late.shape[:2], -1).mean(axis=2, dtype=np.float64))
