"""From an encoder and footage to a bundle: the steps that ``sightline fit`` and every other way of teaching share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from rich.console import Console

from engines import __version__
from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import (
    ARTIFICIAL_PROBES,
    SCHEMA,
    Bundle,
    Encoder,
    Manifest,
    Probes,
    TaughtDrive,
    check_target,
    write_bundle,
)
from engines.decision import Rule, units
from engines.density import Direct, Floats, Kde, LatentDensity, Mixture, Projection, Tilted
from engines.encoders import Background
from engines.errors import EngineError, InputError
from engines.footage import Drive, fingerprint
from engines.frames import Image
from engines.graph import fuse, input_size, keeps_length, late_shape
from engines.regions import NOWHERE, Regions
from engines.scores import Density, pooled, reference_scores
from training.encode import Encoded, encode, pictured, sampled_moments
from training.fit import DIMENSIONS, DensityKind, Fitted, fit

MANY = 5
"""Drives of either kind from which footage's own principal axes are trusted."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """How to teach. relative: score against a background density, that of other footage, or else of what ships with the
    encoder; None: only with other footage.
    own_projection: whiten by the footage's own principal axes although the encoder brings a background; None: where
    both kinds of drive are MANY, since then they say more of the world than what ships (docs/ablation.md).
    budget_per_hour: None for the least that the footage supports. rate: frames per second to learn from.
    images_per_second: at which folders of images are played, None for ``engines.footage``'s. seen: names of
    drives that the encoder was trained on. notes: to be kept in the bundle. dimensions: of the latent, at most, where
    the projection is the footage's own. ignored: regions that the encoder does not get to see, now and ever after."""

    density: DensityKind = DensityKind.KDE
    relative: bool | None = None
    own_projection: bool | None = None
    budget_per_hour: float | None = None
    rate: float = 10.0
    images_per_second: float | None = None
    seen: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    dimensions: int = DIMENSIONS
    ignored: Regions = NOWHERE


def teach(
    out: Path,
    encoder: tuple[str, onnx.ModelProto, Background | None],
    normal: Sequence[Drive],
    other: Sequence[Drive] = (),
    lesson: Lesson | None = None,
) -> tuple[Bundle, Fitted]:
    """Encode the drives, fit density and thresholds, write the bundle ``out``; ``encoder`` is what ``open_encoder``
    returns."""
    check_target(out)
    lesson = lesson or Lesson()
    if lesson.density == DensityKind.DIRECT and (other or lesson.relative):
        raise InputError(
            "other footage" if other else "--relative",
            "needs a density to compare by; a network's own score (density direct) has none, and less itself it is 0",
            "leave it out, or choose another --density",
        )
    name, model, background = encoder
    input_size(model)
    late_shape(model)
    engine = OnnxRuntimeEngine(model.SerializeToString())
    pooling = background.pooling if background is not None else _average_pooling(engine)
    own = min(len(normal), len(other)) >= MANY if lesson.own_projection is None else lesson.own_projection
    projection = background.projection if background is not None and not own else None
    if lesson.density == DensityKind.DIRECT:
        projection = _identity(engine)

    def reading(late: NDArray[np.float32]) -> Floats:
        features = pooled(late, pooling)
        return features if projection is None else projection.latent(features)

    def read(drives: Sequence[Drive], what: str) -> list[Encoded]:
        return encode(
            drives, engine, reading, 1.0 / lesson.rate, f"reading {what} footage",
            images_per_second=lesson.images_per_second, ignored=lesson.ignored,
        )  # fmt: skip

    taught, beside = read(normal, "normal"), read(other, "other") if other else []
    fitted = fit(
        taught,
        beside,
        background,
        pooling,
        projection=projection,
        relative=bool(other) if lesson.relative is None else lesson.relative,
        rule=Rule(),
        budget_per_hour=lesson.budget_per_hour,
        dimensions=lesson.dimensions,
        kind=lesson.density,
        unit=not keeps_length(model),
        seen=lesson.seen,
    )
    damaged = tuple(f"{e.name}: {note}" for e in taught for note in e.notes)
    manifest = Manifest(
        schema=SCHEMA,
        name=out.stem,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        encoder=Encoder(name, hashlib.sha256(model.SerializeToString()).hexdigest()),
        input_size=engine.input_size,
        dimensions=fitted.density.projection.basis.shape[1],
        density=_described(fitted.density.normal),
        relative=fitted.density.background is not None,
        drives=taught_drives(normal, taught),
        others=taught_drives(other, beside),
        calibration=fitted.calibration,
        notes=(*damaged, *(n for n in (*lesson.notes, *fitted.notes) if n not in damaged)),
        files={},
        ignored=lesson.ignored.shapes,
    )
    moments = sampled_moments(taught, None if projection is not None else fitted.density.projection.latent)
    fused = fuse(model, fitted.density).SerializeToString()
    probes = probed(taught, engine, fitted.density)
    return write_bundle(out, manifest, fitted.density, fused, probes, pictured(taught), moments), fitted


def taught_drives(drives: Sequence[Drive], encoded: Sequence[Encoded]) -> tuple[TaughtDrive, ...]:
    """What a manifest says of drives."""
    return tuple(
        TaughtDrive(e.name, len(e.times_s), round(e.seconds, 3), fingerprint(d))
        for d, e in zip(drives, encoded, strict=True)
    )


def tell(say: Console, bundle: Bundle) -> None:
    """Say what was learnt, how it was checked and what it promises."""
    manifest, calibration = bundle.manifest, bundle.calibration
    frames, seconds = sum(d.frames for d in manifest.drives), sum(d.seconds for d in manifest.drives)
    drives = f"{len(manifest.drives)} drive" + "s" * (len(manifest.drives) != 1)
    say.print(
        f"[bold]learnt[/]   {frames} frames, {seconds / 60:.1f} min in {drives}, encoder {manifest.encoder.name}"
    )
    if bundle.ignored:
        say.print(f"         {100 * bundle.ignored.share:.0f} % of the picture ignored")
    kind = "absolute"
    if manifest.relative:
        tilted = isinstance(bundle.density.background, Tilted)
        kind = "relative to the background" + (
            " and to what else was shown" if manifest.others and tilted else ""
        )
    say.print(f"         {manifest.dimensions} dimensions, {manifest.density}, {kind}")
    say.print(
        f"[bold]checked[/]  on {calibration.units} held-out {calibration.unit}s of {calibration.unit_s:.0f} s on average"
    )
    in_units = units(bundle.density.normal)
    for channel in calibration.channels:
        unit = in_units[channel.name]
        say.print(
            f"         {channel.name:<10} typically {channel.typical:.2f}, alarm above {channel.threshold:.2f} {unit}"
        )
    say.print(
        f"[bold]budget[/]   this footage supports {calibration.false_alarms_per_hour:.3g} false alarms per hour of driving like it"
    )
    if calibration.false_alarms_per_hour > 1.0:
        hours = calibration.false_alarms_per_hour * calibration.unit_s / 3600 * (calibration.units + 1)
        say.print(f"         for 1 per hour, teach about {hours:.2g} h of normal driving")
    for note in manifest.notes:
        say.print(f"[yellow]note[/]     {note}")
    say.print(f"[bold]wrote[/]    {bundle.path} ({bundle.sha256[:12]})")


def _described(density: LatentDensity) -> str:
    match density:
        case Kde():
            return f"{len(density.support)} support points, bandwidth {density.bandwidth:g}"
        case Mixture() if len(density.means) == 1:
            return "one Gaussian"
        case Mixture():
            return f"{len(density.means)} Gaussians"
        case Direct():
            return "the network's own score"
    raise TypeError(type(density).__name__)


def _average_pooling(engine: OnnxRuntimeEngine) -> Floats:
    late = engine.features(np.zeros((1, *engine.input_size, 3), np.uint8)).late
    cells = int(np.prod(late.shape[2:], dtype=int))
    return np.full((cells, 1), 1.0 / cells)


def _identity(engine: OnnxRuntimeEngine) -> Projection:
    """The projection that leaves one feature as it is."""
    late = engine.features(np.zeros((1, *engine.input_size, 3), np.uint8)).late
    if late.shape[1] != 1:
        raise EngineError(
            "encoder",
            f"must give one score per frame for density direct, got {late.shape[1]} features",
            "choose another --density",
        )
    return Projection(np.zeros(1), np.eye(1), np.ones(1), unit=False)


def probed(drives: Sequence[Encoded], engine: OnnxRuntimeEngine, density: Density) -> Probes:
    """A few normal frames, and pictures far from any: black, white, grey, noise and a normal frame upside
    down."""
    height, width = engine.input_size
    real = np.concatenate([e.samples for e in drives])
    real = real[np.unique(np.linspace(0, len(real) - 1, 24).astype(int))]
    flat = [np.full((height, width, 3), value, np.uint8) for value in (0, 128, 255)]
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    artificial = np.stack([*flat, noise, real[0, ::-1]])
    assert len(artificial) == ARTIFICIAL_PROBES
    frames: Image = np.concatenate([real, artificial])
    return Probes(frames, reference_scores(density, engine.features(frames)))
