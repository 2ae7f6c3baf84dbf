"""Is an engine equal to the reference? Compared output by output, on the bundle's probes and on pictures far from any."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from engines.bundle import Bundle
from engines.frames import Image
from engines.onnx_runtime import OnnxRuntimeEngine
from engines.scores import Scores, reference_scores

LIMIT_NATS = 1e-3
LIMIT_RELATIVE = 1e-6
"""An output may differ from the reference by the larger of the two: down to log p = -1000 the first decides."""
LIMIT_BATCH_NATS = 1e-4
LIMIT_STORED_NATS = 1e-2
"""Taught on another processor, the encoder may have rounded float32 otherwise, which whitening amplifies: without
the runtime's fusions, scores of noise differ by 3e-3."""


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison: the largest difference, how large the value was there, and whether it is within its limit."""

    name: str
    difference: float
    value: float
    limit: float
    passed: bool


def verify_engine(engine: OnnxRuntimeEngine, bundle: Bundle) -> list[Check]:
    """Run every comparison; the caller decides what a failure means."""
    probes = bundle.probes()
    frames = np.concatenate([probes.frames, far_frames(probes.frames)])
    scores = engine.score(frames)
    reference = reference_scores(bundle.density, engine.features(frames))
    checks = [compare(f.name, getattr(scores, f.name), getattr(reference, f.name)) for f in fields(Scores)]
    stored = scores.surprise[: len(probes.frames)]
    checks.append(compare("surprise as when taught", stored, probes.scores.surprise, LIMIT_STORED_NATS))
    singly = [engine.score(frame[None]) for frame in frames]
    for name in ("surprise", "background", "damage"):
        alone = np.concatenate([getattr(one, name) for one in singly])
        together = getattr(scores, name).astype(np.float64)
        checks.append(compare(f"{name} one by one", alone, together, LIMIT_BATCH_NATS))
    return checks


def compare(name: str, got: np.ndarray, wanted: np.ndarray, floor: float = LIMIT_NATS) -> Check:
    """The entry of ``got`` that is worst against its own limit; anything not finite fails."""
    difference = np.abs(got.astype(np.float64) - wanted)
    limit = np.maximum(floor, LIMIT_RELATIVE * np.abs(wanted))
    share = np.where(np.isfinite(got) & np.isfinite(wanted), difference / limit, np.inf)
    worst = np.unravel_index(int(np.argmax(share)), share.shape)
    return Check(
        name, float(difference[worst]), float(wanted[worst]), float(limit[worst]), bool(share[worst] <= 1.0)
    )


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
