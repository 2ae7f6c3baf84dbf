"""What befalls good footage and is no fault of the camera: how often is it told as one?

    python benchmarks/harmless.py --bundle BUNDLE --drive DRIVE... [--only leap written]

The first seconds of each drive, thinned as in ``faults_table.py``, are changed, encoded, decoded and watched with engine,
checks and detector. ``leap``: it goes on at its end, as at the seam of two files; or its end comes first. ``hole``: nothing
comes for 5 s; told once, as a want of frames, is right. ``written``: the time of day and a speed, in three corners, two sizes,
with an outline and without. The others are as they were from the first frame on. A row each: drives watched, and what was
told in vain."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from fault_trials import CRF, FPS, KEY_EVERY, answers, events_of, pictures
from faults_table import stretch

from engines.bundle import Bundle, open_bundle
from engines.engine import Engine
from engines.faults import Timed
from engines.frames import Image
from engines.opening import open_engine
from engines.video import write_timed

SECONDS, LEAST_S, HALF_S, HOLE_S = 20.0, 7.0, 8.0, 5.0
Frames = Sequence[Timed]
PLACES, SIZES, OUTLINES = ("bottom left", "bottom right", "top left"), (1.0, 1.6), (False, True)


def alike(change: Callable[[Image], np.ndarray]) -> Callable[[Frames], Iterator[Frames]]:
    """Change every picture alike."""
    return lambda frames: iter(
        [[Timed(t.time_s, np.clip(change(t.image), 0, 255).astype(np.uint8)) for t in frames]]
    )


def small(image: Image) -> np.ndarray:
    return np.asarray(cv2.resize(image, (320, 180), interpolation=cv2.INTER_AREA))


def letterbox(image: Image) -> np.ndarray:
    height, width = image.shape[:2]
    bar = height // 8
    return np.pad(cv2.resize(image, (width, height - 2 * bar)), ((bar, bar), (0, 0), (0, 0)))


def darker(frames: Frames) -> Iterator[Frames]:
    """To half its light, bit by bit."""
    yield [Timed(t.time_s, (t.image * (1 - 0.5 * t.time_s / SECONDS)).astype(np.uint8)) for t in frames]


def noisy(frames: Frames) -> Iterator[Frames]:
    rng = np.random.default_rng(0)
    yield [
        Timed(t.time_s, np.clip(t.image + rng.normal(0, 6, t.image.shape), 0, 255).astype(np.uint8))
        for t in frames
    ]


def joined(first: Frames, then: Frames, after_s: float) -> Frames:
    begin_s = first[-1].time_s - first[0].time_s + after_s
    return [
        *(Timed(t.time_s - first[0].time_s, t.image) for t in first),
        *(Timed(begin_s + t.time_s - then[0].time_s, t.image) for t in then),
    ]


def halves(frames: Frames) -> tuple[Frames, Frames]:
    """The first seconds and the last."""
    end_s = frames[-1].time_s
    half_s = min(HALF_S, end_s / 2 - 0.3)
    return [t for t in frames if t.time_s <= half_s], [t for t in frames if t.time_s >= end_s - half_s]


def leaps(frames: Frames) -> Iterator[Frames]:
    first, last = halves(frames)
    yield joined(first, last, 1.0 / FPS)
    yield joined(last, first, 1.0 / FPS)


def hole(frames: Frames) -> Iterator[Frames]:
    yield joined(*halves(frames), HOLE_S)


def written(frames: Frames) -> Iterator[Frames]:
    for place, size, outline in product(PLACES, SIZES, OUTLINES):
        yield [Timed(t.time_s, stamped(t, place, size, outline)) for t in frames]


def stamped(frame: Timed, place: str, size: float, outline: bool) -> Image:
    """The picture with the time of day and a speed written on it."""
    image, seconds = frame.image.copy(), int(frame.time_s)
    height, width = image.shape[:2]
    text = f"2026-11-28 12:{seconds // 60:02d}:{seconds % 60:02d} {60 + seconds % 7} km/h"
    font, scale, thick = cv2.FONT_HERSHEY_SIMPLEX, size * height / 600, max(1, round(size * height / 300))
    (wide, high), _ = cv2.getTextSize(text, font, scale, thick)
    x = width // 40 if "left" in place else width - wide - width // 40
    y = height // 20 + high if "top" in place else height - height // 30
    if outline:
        cv2.putText(image, text, (x, y), font, scale, (0, 0, 0), thick + 2, cv2.LINE_AA)
    cv2.putText(image, text, (x, y), font, scale, (255, 255, 255), thick, cv2.LINE_AA)
    return image


HARMLESS: dict[str, Callable[[Frames], Iterator[Frames]]] = {
    "as it is": alike(lambda image: image),
    "mirrored": alike(lambda image: image[:, ::-1]),
    "grey": alike(lambda image: np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)),
    "bright": alike(lambda image: image * 1.3),
    "dim": alike(lambda image: image * 0.45),
    "warm": alike(lambda image: image * np.array([1.12, 1.0, 0.85])),
    "small": alike(small),
    "letterbox": alike(letterbox),
    "darker": darker,
    "noisy": noisy,
    "5 frames/s": lambda frames: iter([frames[::3]]),
    "written": written,
    "leap": leaps,
    "hole": hole,
}


def faults(frames: Frames, bundle: Bundle, engine: Engine, path: Path) -> list[str]:
    """The faults that are told of them, but for a want of frames."""
    write_timed(path, frames, KEY_EVERY, CRF)
    said = answers(events_of(stretch(str(path)).drive, bundle, engine))
    return [str(a) for a in said if a.camera and a.mode != "no_frames"]


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--drive", type=stretch, nargs="+", required=True)
    parser.add_argument("--only", nargs="+", choices=HARMLESS, default=list(HARMLESS))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    bundle = open_bundle(options.bundle)
    engine = open_engine(bundle, "onnxruntime")
    known = {drive.name: pictures(drive, SECONDS) for drive in options.drive}
    known = {name: frames for name, frames in known.items() if frames and frames[-1].time_s >= LEAST_S}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            watched, wrong = 0, []
            for drive, frames in known.items():
                for changed in HARMLESS[name](frames):
                    told = faults(changed, bundle, engine, Path(folder) / "drive.mp4")
                    watched += 1
                    wrong += [f"{drive}: {', '.join(told)}"] if told else []
            print(f"{name}: {len(wrong)} of {watched} told as a fault", *wrong, sep="\n  ", flush=True)


if __name__ == "__main__":
    main()
