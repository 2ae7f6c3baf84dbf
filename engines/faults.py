"""Camera faults made to order: what a broken, dirty or stuck camera does to pictures that were all right.

After the taxonomy of Secci and Ceccarelli ("On failures of RGB cameras and their effects in autonomous
driving applications", ISSRE 2020) and the temporal modes it leaves out. A frame fault turns one picture into
another; a clip fault turns a sequence into another. Severity goes from 1 (just visible) to 5 (nothing left of
use). Sizes are relative to the picture, randomness comes from the seed, no picture is changed in place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import InputError
from engines.frames import Image

FrameFault = Callable[[Image, int, int], Image]
ClipFault = Callable[[Iterator[Image], int, int], Iterator[Image]]


@dataclass(frozen=True, slots=True)
class FaultMode:
    """One way a camera fails.

    mode: its name. verdict: the mode that the detector reports it as.
    on_frame: (image, severity, seed) -> image; or on_clip: the same for an iterator of images.
    cue: what gives it away. confusable_with: healthy scenes, or other modes, that look like it.
    fresh: true where each frame of a clip draws its own randomness, as noise does and dirt does not.
    """

    mode: str
    verdict: str
    cue: str
    confusable_with: tuple[str, ...] = ()
    on_frame: FrameFault | None = None
    on_clip: ClipFault | None = None
    fresh: bool = False


def apply(image: Image, mode: str, severity: int = 3, seed: int = 0) -> Image:
    """Return a copy of ``image`` (H × W × 3 uint8) as a camera with the frame fault ``mode`` would give it.

    Raises InputError for an unknown mode, a clip fault, a severity outside 1..5, another shape or type.
    """
    fault = _fault(mode, severity)
    _check(image)
    if fault.on_frame is None:
        frame_modes = ", ".join(name for name, known in FAULTS.items() if known.on_frame is not None)
        raise InputError(
            f"fault {mode}", f"acts on a sequence, not on one picture, of which: {frame_modes}", "use inject"
        )
    return fault.on_frame(image, severity, seed)


def inject(
    frames: Iterable[Image],
    mode: str,
    start: int = 0,
    stop: int | None = None,
    severity: int = 3,
    seed: int = 0,
) -> Iterator[Image]:
    """Yield ``frames`` with the fault on those with start <= index < stop (None: to the end).

    Works on endless streams; frames outside the interval pass untouched. InputError for an unknown mode, a
    severity outside 1..5, a negative start or a stop before it is raised at the call, not at the first frame.
    """
    fault = _fault(mode, severity)
    if start < 0 or (stop is not None and stop < start):
        raise InputError(
            f"fault {mode}", f"start and stop must be 0 <= start <= stop, not {start} and {stop}"
        )
    return _injected(iter(frames), fault, start, stop, severity, seed)


def _injected(
    frames: Iterator[Image], fault: FaultMode, start: int, stop: int | None, severity: int, seed: int
) -> Iterator[Image]:
    yield from itertools.islice(frames, start)
    broken = frames if stop is None else itertools.islice(frames, stop - start)
    if fault.on_clip is not None:
        yield from fault.on_clip(broken, severity, seed)
    elif fault.on_frame is not None:
        for index, image in enumerate(broken):
            _check(image)
            yield fault.on_frame(image, severity, seed + index if fault.fresh else seed)
    yield from frames


def _fault(mode: str, severity: int) -> FaultMode:
    fault = FAULTS.get(mode)
    if fault is None:
        raise InputError(f"fault {mode}", f"must be one of {', '.join(FAULTS)}")
    if severity not in range(1, 6):
        raise InputError(f"fault {mode}", f"severity must be 1, 2, 3, 4 or 5, not {severity}")
    return fault


def _check(image: Image) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            "fault", f"image must be uint8 of shape H × W × 3, not {image.dtype} of shape {image.shape}"
        )


def _clipped(image: NDArray[Any]) -> Image:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)  # type: ignore[no-any-return]


def _black(image: Image, severity: int, seed: int) -> Image:
    """A dead sensor still has read noise: a level of a few counts, down to exactly nothing at severity 5."""
    level = (5 - severity) * 1.5
    if level == 0:
        return np.zeros_like(image)
    return _clipped(np.abs(np.random.default_rng(seed).normal(0, level, image.shape)))


def _white(image: Image, severity: int, seed: int) -> Image:
    """Blown out: all that the gain leaves is a trace of the darkest parts."""
    kept = (0.2, 0.12, 0.06, 0.02, 0.0)[severity - 1]
    return cv2.convertScaleAbs(image, alpha=kept, beta=255 - 200 * kept)  # type: ignore[return-value]


def _blur(image: Image, severity: int, seed: int) -> Image:
    """Defocus: a point of light becomes a disc, whose radius is a share of the picture's height."""
    radius = image.shape[0] * (0.006, 0.011, 0.018, 0.028, 0.045)[severity - 1]
    disc = _disc(radius)
    return cv2.filter2D(image, -1, disc, borderType=cv2.BORDER_REFLECT_101)  # type: ignore[return-value]


@lru_cache(maxsize=16)
def _disc(radius: float) -> NDArray[np.float32]:
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return disc / disc.sum()  # type: ignore[no-any-return]


def _blend(image: Image, layer: tuple[Image, Image, Image]) -> Image:
    """Return image × through + covering: dirt lets some of the scene pass and adds its own light."""
    through, covering, _ = layer
    passed = cv2.multiply(image, through, scale=1 / 255)
    return cv2.add(passed, covering)  # type: ignore[return-value]


def _covered(image: Image, severity: int, seed: int) -> Image:
    return _blend(image, _cover(image.shape[0], image.shape[1], severity, seed))


def _mud(image: Image, severity: int, seed: int) -> Image:
    return _blend(image, _splashes(image.shape[0], image.shape[1], severity, seed))


def covered_share(mode: str, size: tuple[int, int], severity: int, seed: int = 0) -> float:
    """Return which share of a (width, height) picture ``covered`` or ``mud`` hides at a severity and seed."""
    make = {"covered": _cover, "mud": _splashes}.get(mode)
    if make is None:
        raise InputError(f"fault {mode}", "must be covered or mud to have a covered share")
    return float(make(size[1], size[0], severity, seed)[2].mean() / 255)


def _layer(alpha: NDArray[Any], colour: NDArray[Any]) -> tuple[Image, Image, Image]:
    """Return (through, covering, alpha) for an opacity (H × W, 0..1) and a colour (H × W × 3, 0..255)."""
    wide = np.repeat(alpha[..., None], 3, axis=2)
    return _clipped(255 * (1 - wide)), _clipped(wide * colour), _clipped(255 * alpha)


@lru_cache(maxsize=8)
def _cover(height: int, width: int, severity: int, seed: int) -> tuple[Image, Image, Image]:
    """A hand, a bag or tape from one side: an uneven edge, out of focus for it is so near."""
    rng = np.random.default_rng(seed)
    reach = (0.15, 0.35, 0.6, 0.85, 1.4)[severity - 1]
    count = 9
    along = np.linspace(-0.2, 1.2, count)
    depth = reach + rng.normal(0, 0.035, count) * min(1.0, reach * 3)
    points = np.concatenate([np.stack([along, depth], 1), [[1.2, -0.3], [-0.2, -0.3]]])
    side = int(rng.integers(4))
    if side % 2:
        points = points[:, ::-1]
    if side >= 2:
        points = 1 - points
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.rint(points * (width, height)).astype(np.int32)], 255)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), max(height * 0.018, 0.5))
    skin, bag, tape = (112.0, 74.0, 62.0), (46.0, 47.0, 52.0), (128.0, 122.0, 108.0)
    tone = np.array((skin, bag, tape)[int(rng.integers(3))], np.float32)
    shade = 0.75 + 0.5 * _cloudy(rng, height, width, 3)
    return _layer(soft, shade[..., None] * tone)


@lru_cache(maxsize=8)
def _splashes(height: int, width: int, severity: int, seed: int) -> tuple[Image, Image, Image]:
    """Splashes of mud: smooth noise over a threshold, so that worse mud contains milder mud."""
    rng = np.random.default_rng(seed)
    share = (0.08, 0.2, 0.38, 0.6, 0.85)[severity - 1]
    field = (
        _cloudy(rng, height, width, 5)
        + 0.35 * _cloudy(rng, height, width, 14)
        + 0.12 * _cloudy(rng, height, width, 40)
    )
    edge = np.float32(np.quantile(field, 1 - share))
    soft = np.clip((field - edge) / 0.05 + 0.5, 0, 1).astype(np.float32)
    alpha = cv2.GaussianBlur(soft * np.float32(0.985), (0, 0), max(height * 0.004, 0.3))
    grain = 0.7 + 0.45 * _cloudy(rng, height, width, 30)
    return _layer(alpha, grain[..., None] * np.array((62.0, 46.0, 31.0), np.float32))


def _cloudy(rng: np.random.Generator, height: int, width: int, cells: int) -> NDArray[Any]:
    """Return smooth noise in 0..1 with about ``cells`` blobs across the picture's width."""
    grid = rng.random((cells * 2 // 3 + 2, cells + 2), np.float32)
    return np.clip(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)


def _noise(image: Image, severity: int, seed: int) -> Image:
    """Poisson-Gauss: read noise everywhere, and shot noise that grows with the root of the light."""
    strength = (6, 12, 22, 38, 60)[severity - 1]
    light = image.astype(np.float32)
    sigma = strength * np.sqrt(0.35 + 0.65 * light / 255)
    grain = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return _clipped(light + sigma * grain)


def _exposure(image: Image, severity: int, seed: int) -> Image:
    """Too bright for an even seed (gain), too dark for an odd one (gamma)."""
    ramp = np.arange(256) / 255
    over = ramp * (1.3, 1.6, 2.1, 2.8, 4.0)[severity - 1]
    under = ramp ** (1.4, 1.9, 2.6, 3.6, 5.0)[severity - 1]
    return cv2.LUT(image, _clipped(255 * (under if seed % 2 else over)))  # type: ignore[return-value]


def _colour_cast(image: Image, severity: int, seed: int) -> Image:
    """White balance gone: one channel up, another down, by up to ±50 %."""
    strength = (0.08, 0.15, 0.25, 0.36, 0.5)[severity - 1]
    up, down, same = np.random.default_rng(seed).permutation(3)
    gain = np.empty(3)
    gain[up], gain[down], gain[same] = 1 + strength, 1 - strength, 1.0
    return _clipped(image * gain)


def _freeze(frames: Iterator[Image], severity: int, seed: int) -> Iterator[Image]:
    """The first picture again and again, bit for bit: all or nothing, whatever the severity."""
    held: Image | None = None
    for image in frames:
        if held is None:
            _check(image)
            held = image.copy()
        yield held.copy()


FAULTS: dict[str, FaultMode] = {
    fault.mode: fault
    for fault in (
        FaultMode("black", "black", "mean and deviation near nothing", ("tunnel", "lens cap"), _black),
        FaultMode("white", "white", "share of clipped pixels", ("sun", "snow"), _white),
        FaultMode("freeze", "freeze", "frames identical", ("parked in noiseless video",), on_clip=_freeze),
        FaultMode("blur", "blur", "fine detail lost in every tile, for long", ("fog", "condensation"), _blur),
        FaultMode("covered", "covered", "sudden flat region", ("truck ahead",), _covered),
        FaultMode("mud", "covered", "still while the rest moves", ("bonnet", "mount"), _mud),
        FaultMode("noise", "noise", "variance of flat patches", ("rain",), _noise, fresh=True),
        FaultMode("exposure", "exposure", "histogram", ("night", "sun"), _exposure),
        FaultMode("colour_cast", "colour_cast", "mean chroma", ("sunset",), _colour_cast),
    )
}
