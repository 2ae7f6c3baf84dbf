"""``sightline fit``: from minutes of footage to a bundle."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from engines import __version__
from engines.bundle import SCHEMA, Bundle, Encoder, Manifest, Probes, TaughtDrive, check_target, write_bundle
from engines.console import console
from engines.decision import CHANNELS, UNITS, Rule
from engines.density import Floats, pooled, reference_scores
from engines.encoders import DEFAULT, open_encoder
from engines.footage import find_drives
from engines.frames import Image
from engines.graph import fuse, input_size
from engines.onnx_runtime import OnnxRuntimeEngine
from training.encode import Encoded, encode, thumbnail
from training.fit import Fitted, fit


def fit_command(
    normal: Annotated[
        list[Path],
        typer.Option(help="Footage of normal driving: a video, a folder of images, or a folder of such."),
    ],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    other: Annotated[
        list[Path] | None,
        typer.Option(help="Footage of anything else: widens the background, never taught as normal."),
    ] = None,
    encoder: Annotated[str, typer.Option(help="A shipped encoder or an ONNX file.")] = DEFAULT,
    budget: Annotated[
        float | None,
        typer.Option(
            min=1e-6, help="False alarms per hour to allow; by default the least the footage supports."
        ),
    ] = None,
    own_projection: Annotated[
        bool,
        typer.Option(
            "--own-projection", help="Whiten by the footage's own principal axes instead of the background."
        ),
    ] = False,
    relative: Annotated[
        bool | None,
        typer.Option(
            "--relative/--absolute",
            help="Score against the background density; by default only with --other.",
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Frames per second to learn from.")] = 10.0,
) -> None:
    """Teach a bundle from footage of normal driving.

    Needs no GPU, no torch and no network. Example:

        sightline fit --normal drives/ --out highway.bundle
    """
    check_target(out)
    say = console()
    name, model, background = open_encoder(encoder)
    input_size(model)
    drives = find_drives(normal)
    others = find_drives(other) if other else []
    engine = OnnxRuntimeEngine(model.SerializeToString())
    pooling = background.pooling if background is not None else _average_pooling(engine)
    projection = background.projection if background is not None and not own_projection else None

    def reading(late: NDArray[np.float32]) -> Floats:
        features = pooled(late, pooling)
        return features if projection is None else projection.latent(features)

    taught = encode(drives, engine, reading, 1.0 / rate, "reading normal footage")
    beside = encode(others, engine, reading, 1.0 / rate, "reading other footage") if others else []
    fitted = fit(
        taught,
        beside,
        background,
        pooling,
        projection=projection,
        relative=bool(others) if relative is None else relative,
        rule=Rule(),
        budget_per_hour=budget,
    )
    fused = fuse(model, fitted.density).SerializeToString()
    identity = Encoder(name, hashlib.sha256(model.SerializeToString()).hexdigest())
    notes = tuple(f"{e.name}: {note}" for e in taught for note in e.notes)
    manifest = Manifest(
        schema=SCHEMA,
        name=out.stem,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        encoder=identity,
        input_size=engine.input_size,
        dimensions=fitted.density.projection.basis.shape[1],
        support=len(fitted.density.normal.support),
        bandwidth=fitted.density.normal.bandwidth,
        relative=fitted.density.background is not None,
        drives=tuple(TaughtDrive(e.name, len(e.times_s), round(e.seconds, 3)) for e in taught),
        calibration=fitted.calibration,
        notes=notes,
        files={},
    )
    probes = _probes(taught, engine, fitted)
    thumbnails = {
        f"{i:03d}_{j}.jpg": thumbnail(s) for i, e in enumerate(taught) for j, s in enumerate(e.samples)
    }
    bundle = write_bundle(out, manifest, fitted.density, fused, probes, thumbnails)
    _tell(say, bundle, fitted)


def _average_pooling(engine: OnnxRuntimeEngine) -> np.ndarray:
    late, _ = engine.features(np.zeros((1, *engine.input_size, 3), np.uint8))
    cells = int(np.prod(late.shape[2:], dtype=int))
    return np.full((cells, 1), 1.0 / cells)


def _probes(taught: list[Encoded], engine: OnnxRuntimeEngine, fitted: Fitted) -> Probes:
    """A few normal frames, and pictures far from any: black, white, grey, noise and a normal frame upside
    down."""
    height, width = engine.input_size
    real = np.concatenate([e.samples for e in taught])
    real = real[np.unique(np.linspace(0, len(real) - 1, 24).astype(int))]
    flat = [np.full((height, width, 3), value, np.uint8) for value in (0, 128, 255)]
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    frames: Image = np.concatenate([real, np.stack([*flat, noise, real[0, ::-1]])])
    late, early = engine.features(frames)
    return Probes(frames, reference_scores(fitted.density, late, early))


def _tell(say: Console, bundle: Bundle, fitted: Fitted) -> None:
    manifest, calibration = bundle.manifest, bundle.calibration
    frames, seconds = sum(d.frames for d in manifest.drives), sum(d.seconds for d in manifest.drives)
    say.print(
        f"[bold]learnt[/]   {frames} frames, {seconds / 60:.1f} min in {len(manifest.drives)} drives, encoder {manifest.encoder.name}"
    )
    kind = "relative to the background" if manifest.relative else "absolute"
    say.print(
        f"         {manifest.dimensions} dimensions, {manifest.support} support points, bandwidth {manifest.bandwidth:g}, {kind}"
    )
    say.print(
        f"[bold]checked[/]  on {calibration.units} held-out {calibration.unit}s of {calibration.unit_s:.0f} s on average"
    )
    for channel in (calibration.channel(name) for name in CHANNELS):
        unit = UNITS[channel.name]
        say.print(
            f"         {channel.name:<9} typically {channel.typical:.2f}, alarm above {channel.threshold:.2f} {unit}"
        )
    say.print(
        f"[bold]budget[/]   this footage supports {calibration.false_alarms_per_hour:.3g} false alarms per hour of driving like it"
    )
    if calibration.false_alarms_per_hour > 1.0:
        say.print(f"         for 1 per hour, teach about {len(CHANNELS)} h of normal driving")
    for note in manifest.notes:
        say.print(f"[yellow]note[/]     {note}")
    say.print(f"[bold]wrote[/]    {bundle.path} ({bundle.sha256[:12]})")
