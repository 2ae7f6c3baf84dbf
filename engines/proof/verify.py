"""Is an engine equal to the reference? Compared output by output on the bundle's probes and on pictures far from any, and
by the alerts it would raise.

What stands behind the encoder is compared with numpy in float64 on the engine's own features: there, every engine of
every precision must agree to a thousandth of a nat. Encoders differ by their precision: they are compared by the order
that they bring pictures into, and by the alerts of a clip, with ONNX Runtime's float32 encoder as the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import Bundle
from engines.cache import Check, Report
from engines.density import Floats
from engines.engine import Engine, Precision
from engines.frames import Image
from engines.proof.probe_clip import ClipAlert, Clips, alerts, alike, probe_clips
from engines.scores import Scores, reference_scores

LIMIT_NATS = 1e-3
LIMIT_RELATIVE = 1e-6
"""An output may differ from the reference by the larger of the two: down to log p = -1000 the first decides."""
LIMIT_BATCH_NATS = 1e-4
LIMIT_STORED_NATS = 1e-2
"""Taught on another processor, the encoder may have rounded float32 otherwise, which whitening amplifies: without
the runtime's fusions, scores of noise differ by 3e-3."""
LEAST_RANK = {Precision.FP32: 0.9999, Precision.FP16: 0.999, Precision.BF16: 0.995, Precision.INT8: 0.995}
RANKED = ("domain", "damage", "reconstruction")
"""Scores whose order is compared."""
TIE = 1e-3
"""Scores that are closer than this are one: pictures that were taught are all equally unsurprising."""
MOST_RANKED = 64
EVERY_SINGLE = 4
"""One in so many pictures is scored alone, too."""
BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What an engine is compared with. pictures: probes, far ones, and views of normal ones. scores: of the float64 density
    behind the float32 encoder. stored: what teaching wrote down for the probes. told: the alerts of the clips."""

    pictures: Image
    probes: int
    far: int
    scores: Scores
    stored: Floats
    clips: Clips
    told: tuple[ClipAlert, ...]


def reference_of(bundle: Bundle) -> Reference:
    """Score everything that engines are compared by; once per bundle is enough."""
    probes = bundle.probes()
    far = far_frames(probes.frames)
    pictures = np.concatenate([probes.frames, far, unseen(bundle)])
    encoder = OnnxRuntimeEngine(bundle.model_path)
    clips = probe_clips(bundle)
    return Reference(
        pictures=pictures,
        probes=len(probes.frames),
        far=len(far),
        scores=reference_scores(bundle.density, encoder.features(pictures)),
        stored=np.asarray(probes.scores.surprise, np.float64),
        clips=clips,
        told=alerts(clips, reference_scores(bundle.density, encoder.features(clips.pictures)), bundle),
    )


def unseen(bundle: Bundle) -> Image:
    """Normal pictures as they were not taught: mirrored, darker, brighter, moved, or two at once. The taught ones
    themselves are all about equally unsurprising, so that their order says nothing."""
    normal, _ = bundle.normal_pictures()
    if not len(normal):
        normal = bundle.probes().frames
    some = normal[:: max(1, -(-len(normal) // MOST_RANKED))].astype(np.float32)
    views = some.copy()
    views[0::5] = some[0::5, :, ::-1]
    views[1::5] *= 0.7
    views[2::5] *= 1.3
    views[3::5] = np.roll(some[3::5], some.shape[2] // 20, axis=2)
    views[4::5] = 0.5 * (some[4::5] + np.roll(some, 1, axis=0)[4::5])
    return np.clip(np.rint(views), 0, 255).astype(np.uint8)


def verify_engine(engine: Engine, bundle: Bundle, reference: Reference | None = None) -> Report:
    """Run every comparison; the caller decides what a failure means."""
    reference = reference or reference_of(bundle)
    checks = [*_density(engine, bundle, reference), *_encoder(engine, bundle, reference)]
    return Report(bundle.sha256, engine.name, engine.precision.value, tuple(checks))


def _density(engine: Engine, bundle: Bundle, reference: Reference) -> Iterator[Check]:
    """What is behind the encoder, against float64 on the engine's own features."""
    pictures = reference.pictures[: reference.probes + reference.far]
    scores = engine.score(pictures)
    wanted = reference_scores(bundle.density, engine.features(pictures))
    for field in fields(Scores):
        yield compare(field.name, getattr(scores, field.name), getattr(wanted, field.name))
    if engine.precision == Precision.FP32:
        yield compare(
            "surprise as when taught",
            scores.surprise[: reference.probes],
            reference.stored,
            LIMIT_STORED_NATS,
        )
        singly = [engine.score(picture[None]) for picture in pictures[::EVERY_SINGLE]]
        for name in ("surprise", "background", "damage"):
            alone = np.concatenate([getattr(one, name) for one in singly])
            together = getattr(scores, name)[::EVERY_SINGLE].astype(np.float64)
            yield compare(f"{name} one by one", alone, together, LIMIT_BATCH_NATS)


def _encoder(engine: Engine, bundle: Bundle, reference: Reference) -> Iterator[Check]:
    """The order of pictures that were not taught, and the alerts of the clips."""
    untaught = slice(reference.probes, None)
    scores = _in_batches(engine, reference.pictures[untaught])
    least = LEAST_RANK[engine.precision]
    for name in RANKED:
        wanted = getattr(reference.scores, name)[untaught]
        if np.ptp(wanted) > TIE:
            found = rank_correlation(getattr(scores, name), wanted)
            yield Check(f"{name} rank correlation", f"{found:.5f}", f"≥ {least:g}", found >= least)
    told = alerts(reference.clips, _in_batches(engine, reference.clips.pictures), bundle)
    yield Check("alerts of the probe clips", _said(told), _said(reference.told), alike(told, reference.told))


def compare(
    name: str, got: NDArray[np.floating], wanted: NDArray[np.floating], floor: float = LIMIT_NATS
) -> Check:
    """The entry of ``got`` that is worst against its own limit; anything not finite fails."""
    difference = np.abs(got.astype(np.float64) - wanted)
    limit = np.maximum(floor, LIMIT_RELATIVE * np.abs(wanted))
    share = np.where(np.isfinite(got) & np.isfinite(wanted), difference / limit, np.inf)
    worst = np.unravel_index(int(np.argmax(share)), share.shape)
    found = f"{difference[worst]:.1e} at {wanted[worst]:.1f}"
    return Check(name, found, f"≤ {limit[worst]:.1e}", bool(share[worst] <= 1.0))


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating], tie: float = TIE) -> float:
    """Spearman's, of N scores each; what lies within ``tie`` counts as equal. 0 where anything is not finite, or where
    one side tells nothing apart that the other does."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return 0.0
    a, b = _ranks(one, tie), _ranks(other, tie)
    a, b = a - a.mean(), b - b.mean()
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    return float(a @ b) / float(np.sqrt((a @ a) * (b @ b)))


def _ranks(values: NDArray[np.floating], tie: float) -> Floats:
    """Ranks from 0; runs of values, each within ``tie`` of the run's first, share their middle rank."""
    order = np.argsort(values, kind="stable")
    ordered = values[order].astype(np.float64)
    ranks = np.empty(len(values))
    start = 0
    for stop in range(1, len(values) + 1):
        if stop == len(values) or ordered[stop] - ordered[start] > tie:
            ranks[order[start:stop]] = 0.5 * (start + stop - 1)
            start = stop
    return ranks


def _in_batches(engine: Engine, pictures: Image) -> Scores:
    parts = [engine.score(pictures[i : i + BATCH]) for i in range(0, len(pictures), BATCH)]
    return Scores(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Scores)))


def _said(told: tuple[ClipAlert, ...]) -> str:
    return ", ".join(f"{a.clip + 1}: {a.start_s:.1f}-{a.end_s:.1f} s" for a in told) or "none"


def far_frames(frames: Image) -> Image:
    """Black, white, grey, noise, stripes, a frame of ``frames`` upside down and inverted, and blends of it with
    such pictures, out to twice as far and away from them."""
    height, width = frames.shape[1:3]
    flat = [np.full((height, width, 3), level, np.uint8) for level in (0, 1, 127, 254, 255)]
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    stripes = np.zeros((height, width, 3), np.uint8)
    stripes[:, ::2] = 255
    start, ends = frames[0].astype(np.float32), (flat[0], flat[-1], noise, frames[-1, ::-1])
    blends = [start + share * (end - start) for end in ends for share in (-1.0, 0.25, 0.5, 2.0)]
    reached = np.clip(np.stack(blends), 0, 255).astype(np.uint8)
    return np.concatenate([np.stack([*flat, noise, stripes, frames[0, ::-1], 255 - frames[0]]), reached])
