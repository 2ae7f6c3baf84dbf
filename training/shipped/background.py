"""Make the background that ships beside an encoder: what the world at large looks like to it.

    python -m training.shipped.background --data DRIVING --encoder engines/shipped/road --seed 0 --layout 0 --channels 128
    python -m training.shipped.background --data DRIVING --encoder engines/shipped/road-large --seed 0 --rendered 8 --layout 0 --views 160

Whole pictures and random views (crops, light, mild damage) of the footage that may ship and, if wanted, of
rendered drives through every scenery, drives weighted equally. Views widen what few drives can show: with whole
pictures alone the whitening would stretch the directions that tell those few cameras apart."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from engines.arrays import npz
from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.density import Floats, Kde, Projection, drive_weights, fit_projection, normalised
from engines.encoders import Background, pack_background
from engines.frames import Image
from engines.graph import late_shape, load_graph
from engines.rendered import SCENES, Drive, Segment
from engines.scores import pooled
from engines.whole_file import write_whole
from training.manifest import read_manifest
from training.shipped.views import load_drives, random_view

DIMENSIONS = 64
EARLY_DIMENSIONS = 16
SUPPORT = 1000
RENDERED_SIZE, RENDERED_PICTURES = (540, 360), 8
"""Width and height of rendered drives, and how many pictures of each are kept: neighbours say the same."""


def pooling_matrix(cells: tuple[int, int], layout: float) -> Floats:
    """Pool h × w cells to the average and, weighted by ``layout``, each third of the width in each row minus
    the average."""
    rows, columns = cells
    average = np.full((rows * columns, 1), 1.0 / (rows * columns))
    if not layout:
        return average
    parts = []
    for row in range(rows):
        for third in np.array_split(np.arange(columns), 3):
            part = np.zeros((rows, columns))
            part[row, third] = 1.0 / len(third)
            parts.append(layout * (part.reshape(-1, 1) - average))
    return np.concatenate([average, *parts], axis=1)


def rendered_sceneries(drives: int, seed: int) -> list[list[Image]]:
    """Pictures of ``drives`` rendered drives through each scenery; a scenery counts as one drive."""
    random = np.random.default_rng(seed)
    sceneries = []
    for scene in SCENES:
        pictures = []
        for seed_of_drive in random.integers(2**31, size=drives):
            drive = Drive((Segment(scene, 60.0),), int(seed_of_drive), RENDERED_SIZE, 10.0)
            pictures += [drive.image(int(i)) for i in random.integers(len(drive), size=RENDERED_PICTURES)]
        sceneries.append(pictures)
    return sceneries


def make_background(
    footage: list[list[Image]],
    encoder: Path,
    views_per_drive: int,
    layout: float,
    seed: int,
    channels: int = 0,
) -> Background:
    """Encode the pictures of some drives and fit projections and density.

    channels: how many of the late map the projection looks at, the first ones; 0 for all."""
    random = np.random.default_rng(seed)
    engine = OnnxRuntimeEngine(encoder / "encoder.onnx")
    cells = late_shape(load_graph(encoder / "encoder.onnx"))[1:]
    pooling = pooling_matrix((cells[0], cells[1]), layout)
    late, early, drives = [], [], []
    for index, frames in enumerate(footage):
        whole = [random_view(f, engine.input_size, random, whole=True) for f in frames]
        views = [
            random_view(frames[random.integers(len(frames))], engine.input_size, random)
            for _ in range(views_per_drive)
        ]
        for start in range(0, len(whole + views), 32):
            found = engine.features(np.stack((whole + views)[start : start + 32]))
            assert found.early is not None
            late.append(pooled(found.late, pooling))
            early.append(found.early.astype(np.float64))
            drives.append(np.full(len(found.late), index, np.int64))
    features, labels = np.concatenate(late), np.concatenate(drives)
    weights = drive_weights(labels)
    looked_at = channels * pooling.shape[1] or features.shape[1]
    projection = leading_projection(features, weights, looked_at)
    chosen = random.choice(len(features), min(SUPPORT, len(features)), replace=False, p=weights)
    support = projection.latent(features[chosen])
    density = Kde(support, np.full(len(support), -np.log(len(support))), 2.0)
    return Background(
        pooling,
        projection,
        density,
        fit_projection(np.concatenate(early).astype(np.float64), weights, EARLY_DIMENSIONS),
    )


def leading_projection(features: Floats, weights: Floats, leading: int) -> Projection:
    """The whitened principal axes of N × D features of length 1 that lie in the first ``leading`` of the D numbers.

    The rest is centred all the same, and counts as residual."""
    unit = normalised(features)
    seen = np.where(np.arange(unit.shape[1]) < leading, unit, 0.0)
    axes = fit_projection(seen, weights, DIMENSIONS, unit=False)
    return replace(axes, mean=weights @ unit, unit=True)


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--views", type=int, default=400, help="random views per drive")
    parser.add_argument("--layout", type=float, default=0.25, help="weight of the layout beside the average")
    parser.add_argument(
        "--channels", type=int, default=0, help="of the late map that the axes look at; 0 for all"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rendered", type=int, default=0, help="rendered drives through each scenery")
    options = parser.parse_args()
    may_ship = [row.recording.path for row in read_manifest(options.data) if row.ship]
    footage = load_drives(may_ship, every=4)
    footage += rendered_sceneries(options.rendered, options.seed) if options.rendered else []
    background = make_background(
        footage, options.encoder, options.views, options.layout, options.seed, options.channels
    )
    write_whole(options.encoder / "background.npz", npz(pack_background(background)))


if __name__ == "__main__":
    main()
