"""Run an encoder over drives: footage in, features out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.console import progress
from engines.density import Floats
from engines.errors import InputError
from engines.footage import Drive, Recording, at_most
from engines.frames import Frame, Image
from engines.health import HealthChecks
from engines.health.record import NO_LEVELS
from engines.inpainting import Inpainting
from engines.normal import Moments, joined
from engines.regions import NOWHERE, Regions
from engines.scores import Features
from training.faulty import FaultySpans, sound

BATCH = 16
FEWEST_SAMPLES, MOST_SAMPLES = 4, 200
"""Frames kept per drive as probes and thumbnails, at least, and of all drives together, at most (unless that would be
fewer)."""
CELLS_PER_BATCH = 32
"""Cells of the late map kept of each batch, drawn at random, to learn what single cells look like."""


Reading = Callable[[NDArray[np.float32]], Floats]
"""From the late map (N×C×h×w) to what is kept of it (N × D): pooled features, or at once their latent, which is
twenty times smaller."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One drive through an encoder, and past the checks of the camera's health.

    times_s: N media seconds. features: N × D, what the reading made of the late map. early: N × E statistics (E = 0 without
    them). cells: M × C, some cells of late maps (M = 0 where features have no map). reconstruction: N errors of the
    decoder (0 without one). samples: a few frames at the encoder's size, evenly spaced, for probes and thumbnails.
    sampled: which of the N each of them is.
    watched_s, health: media seconds of all F frames, encoded or not, and F × 2 × checks, how near each check of the
    camera's health came to its threshold (``engines.health.Health.levels``)."""

    name: str
    times_s: Floats
    features: NDArray[np.float32]
    early: NDArray[np.float32]
    cells: NDArray[np.float32]
    reconstruction: NDArray[np.float32]
    samples: Image
    sampled: NDArray[np.int64]
    notes: tuple[str, ...]
    watched_s: Floats = field(default_factory=lambda: np.zeros(0))
    health: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, *NO_LEVELS.shape), np.float32))

    @property
    def seconds(self) -> float:
        return float(self.times_s[-1] - self.times_s[0])


def encode_drive(
    drive: Drive,
    engine: OnnxRuntimeEngine,
    reading: Reading,
    every_s: float,
    samples: int = FEWEST_SAMPLES,
    *,
    images_per_second: float | None = None,
    ignored: Regions = NOWHERE,
) -> Encoded:
    """Decode one drive, look at the health of every frame, and encode at most one per ``every_s``; keep up to
    ``samples`` pictures. ignored: what neither gets to see. Frames of a camera that is certainly faulty are not encoded,
    and notes tell of all faults; InputError where that leaves less than half."""
    recording = Recording(drive, engine.input_size, images_per_second=images_per_second)
    random, checks = np.random.default_rng(0), HealthChecks(ignored=ignored)
    watched_s: list[float] = []
    health: list[NDArray[np.float32]] = []
    faulty, left_out = FaultySpans(), 0
    doubted: list[Frame] = []

    def looked_at() -> Iterator[Frame]:
        nonlocal left_out
        for frame in recording:
            watched_s.append(frame.time_s)
            seen = checks.check(frame)
            health.append(seen.levels)
            if faulty.take(frame.time_s, seen):
                checks.forget_waiting()
            if sound(seen):
                yield from doubted
                doubted.clear()
                yield frame
                continue
            # Single pictures may look like a fault; what lasts long enough to be believed is left out from its beginning.
            doubted.append(frame)
            if faulty.certain:
                left_out += len(doubted)
                doubted.clear()
        yield from doubted

    frames, inpainting = at_most(looked_at(), every_s), Inpainting(ignored)
    times: list[float] = []
    batches: list[tuple[NDArray[np.float32], ...]] = []
    kept: list[Image] = []
    while batch := list(islice(frames, BATCH)):
        images = np.stack([inpainting.image(f) for f in batch])
        found = engine.features(images)
        none = np.zeros((len(images), 0), np.float32)
        batches.append((
            reading(np.asarray(found.late, np.float32)).astype(np.float32),
            none if found.early is None else found.early,
            _some_cells(found, random),
            np.zeros(len(images), np.float32) if found.reconstruction is None else found.reconstruction,
        ))  # fmt: skip
        times += [f.time_s for f in batch]
        kept.append(images[0])
    if left_out > len(watched_s) / 2:
        raise InputError(
            drive.path,
            f"must be the footage of a sound camera; {'; '.join(faulty.notes) or 'over half of it looks faulty'}",
            "cut out what is faulty, or leave the drive out",
        )
    chosen = np.unique(np.linspace(0, len(kept) - 1, samples).astype(int))
    features, early, cells, reconstruction = (np.concatenate(column) for column in zip(*batches, strict=True))
    if not np.isfinite(features).all():
        raise InputError(
            drive.path, "must give finite features; the encoder answered NaN or infinity", "check the encoder"
        )
    pictures = np.stack([kept[i] for i in chosen])
    notes = (*recording.notes, *faulty.notes)
    return Encoded(
        drive.name, np.array(times), features, early, cells, reconstruction, pictures, chosen * BATCH, notes,
        np.array(watched_s), np.stack(health),
    )  # fmt: skip


def _some_cells(found: Features, random: np.random.Generator) -> NDArray[np.float32]:
    if found.late.ndim != 4 or found.heat is not None:
        return np.zeros((0, found.late.shape[1]), np.float32)
    cells = found.late.transpose(0, 2, 3, 1).reshape(-1, found.late.shape[1])
    return np.asarray(cells[random.integers(len(cells), size=CELLS_PER_BATCH)], np.float32)


def encode(
    drives: Sequence[Drive],
    engine: OnnxRuntimeEngine,
    reading: Reading,
    every_s: float,
    what: str,
    *,
    images_per_second: float | None = None,
    ignored: Regions = NOWHERE,
) -> list[Encoded]:
    """Encode every drive, with progress."""
    samples = max(FEWEST_SAMPLES, MOST_SAMPLES // max(1, len(drives)))
    with progress(what, len(drives), "drives") as advance:
        encoded = []
        for drive in drives:
            encoded.append(
                encode_drive(
                    drive,
                    engine,
                    reading,
                    every_s,
                    samples,
                    images_per_second=images_per_second,
                    ignored=ignored,
                )
            )
            advance(1, drive.name)
    return encoded


def pictured(drives: Sequence[Encoded], first: int = 0) -> dict[str, bytes]:
    """The samples as the pictures of a bundle, JPEG by name; ``first`` is the first drive's number."""
    return {
        f"{first + i:03d}_{j}.jpg": thumbnail(sample)
        for i, drive in enumerate(drives)
        for j, sample in enumerate(drive.samples)
    }


def sampled_moments(
    drives: Sequence[Encoded], latent: Callable[[Floats], Floats] | None, first: int = 0
) -> Moments:
    """When ``pictured`` were and where they lie; ``latent`` makes it of the drives' features, if they are none yet."""
    parts = []
    for i, drive in enumerate(drives):
        rows = drive.features[drive.sampled].astype(np.float64)
        names = tuple(f"{first + i:03d}_{j}.jpg" for j in range(len(rows)))
        parts.append(Moments(names, drive.times_s[drive.sampled], rows if latent is None else latent(rows)))
    return joined(parts)


def thumbnail(image: Image) -> bytes:
    """JPEG of one frame (RGB in)."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return bytes(data)
