"""What a model is shown of a frame in training: the frame, drawn a little differently every time.

**Harmonisation.** Sources differ in crop, resolution and compression, and a network that sees each source in its own way
only can tell them apart by that, so that a data set's identity passes for leaving the domain. Where several sources
are mixed, a share of the pictures of all of them is cropped to one aspect, reduced to one resolution and compressed at
one quality. It is augmentation and no more: density and thresholds are taught on frames as they come from a camera,
and nothing at run time knows of it.
What it can do is measured (tests/test_harmony.py): of the same footage in five formats, a nearest centroid on statistics of
spectra names the format of .54 of the pictures, of .38 once all are harmonised, of .24 with ``height`` 48 and ``quality``
30 (.20 is chance). It does not hide the camera: seven data sets are told as well after it as before.

**Faults.** A network can be shown damaged pictures while it must answer with the undamaged ones (Vincent et al. 2008,
denoising autoencoders). Off unless asked for: the latent of a network that sees through damage no longer tells it, and
the reconstruction error alone must. Asked to reproduce the damage as well, it would learn that damage is normal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import cv2
import msgspec
import numpy as np
from msgspec import Meta

from engines.errors import ConfigError
from engines.faults import FAULTS, apply
from engines.frames import Image
from training.train.data import Clip, Sample

Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]

MARGIN = 1.25
"""How much larger than the model's input frames are kept, to leave room for crops."""


class Harmony(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """when: ``mixed``, where drives differ in aspect or format; ``always``; ``never``. aspect: width over height of the
    common crop. height: of the common resolution in pixels; None for the model's own. quality: of the common JPEG, 1
    to 100. share: of the pictures that are so treated."""

    when: Literal["mixed", "always", "never"] = "mixed"
    aspect: Annotated[float, Meta(gt=0.1, lt=10)] = 1.5
    height: Annotated[int, Meta(ge=16, le=2048)] | None = None
    quality: Annotated[int, Meta(ge=1, le=100)] = 60
    share: Share = 0.5


class Augmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """crop: the most that is cut from height and width. light: the most by which gain, gamma and each colour change.
    mirror: share of pictures that are mirrored (none by default: a mirrored camera is a fault). faults: modes of
    ``engines.faults``, severity: the most severe, fault_share: of the pictures."""

    crop: Annotated[float, Meta(ge=0, le=0.5)] = 0.1
    light: Annotated[float, Meta(ge=0, le=0.5)] = 0.1
    mirror: Share = 0.0
    faults: tuple[str, ...] = ()
    severity: Annotated[int, Meta(ge=1, le=5)] = 2
    fault_share: Share = 0.3


def check_faults(faults: Sequence[str]) -> None:
    """Raise ConfigError unless every mode acts on single pictures."""
    possible = [mode for mode, fault in FAULTS.items() if fault.on_frame is not None]
    for mode in faults:
        if mode not in possible:
            raise ConfigError(
                "augmentation.faults",
                f"must be faults of single pictures, got {mode}; known are {', '.join(possible)}",
                "see sightline faults",
            )


def is_mixed(clips: Sequence[Clip]) -> bool:
    """Whether drives differ in aspect or format: the mark of several sources."""
    return (
        len({(round(c.aspect, 2), c.drive.path.suffix.lower() if c.drive.is_video else "") for c in clips})
        > 1
    )


@dataclass(frozen=True, slots=True)
class Viewer:
    """Draws views at ``size`` (height, width). harmony: None where sources are alike."""

    size: tuple[int, int]
    augmentation: Augmentation
    harmony: Harmony | None

    def view(self, sample: Sample, random: np.random.Generator) -> tuple[Image, Image]:
        """What the model sees, and what it is to answer: the same but for faults (uint8, height × width × 3)."""
        image = sample.image
        if self.harmony is not None and random.random() < self.harmony.share:
            image = harmonised(image, sample.aspect, self.harmony, self.size[0])
        image = resized(cropped(image, self.augmentation.crop, random), self.size)
        if random.random() < self.augmentation.mirror:
            image = np.ascontiguousarray(image[:, ::-1])
        clean = relit(image, self.augmentation.light, random)
        if not self.augmentation.faults or random.random() >= self.augmentation.fault_share:
            return clean, clean
        mode = self.augmentation.faults[random.integers(len(self.augmentation.faults))]
        severity = int(random.integers(1, self.augmentation.severity + 1))
        return apply(clean, mode, severity, int(random.integers(2**31))), clean


def harmonised(image: Image, aspect: float, harmony: Harmony, own_height: int) -> Image:
    """Crop, reduce and compress a picture (h × w × 3, of a camera whose pictures are ``aspect`` times as wide as high) as
    every other source's; its height becomes that of the harmony, or ``own_height`` where it has none."""
    height, width = image.shape[:2]
    h, w = height, width
    if aspect > harmony.aspect:
        w = max(1, round(width * harmony.aspect / aspect))
    else:
        h = max(1, round(height * aspect / harmony.aspect))
    top, left = (height - h) // 2, (width - w) // 2
    common = harmony.height or own_height
    reduced = resized(image[top : top + h, left : left + w], (common, round(common * harmony.aspect)))
    bgr = cv2.cvtColor(reduced, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, harmony.quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def resized(image: Image, size: tuple[int, int]) -> Image:
    """To height × width: by area where that is smaller, as cameras' frames are reduced."""
    if image.shape[:2] == size:
        return image
    method = cv2.INTER_AREA if image.shape[0] >= size[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=method), np.uint8)


def cropped(image: Image, most: float, random: np.random.Generator) -> Image:
    """Cut up to ``most`` of the height and of the width, anywhere."""
    height, width = image.shape[:2]
    h, w = (max(1, round(n * (1.0 - random.uniform(0.0, most)))) for n in (height, width))
    top, left = random.integers(0, height - h + 1), random.integers(0, width - w + 1)
    return image[top : top + h, left : left + w]


def relit(image: Image, most: float, random: np.random.Generator) -> Image:
    """Change gamma, gain and colours by factors of up to 1 + ``most``."""
    gamma, *gains = np.exp(np.log1p(most) * random.uniform(-1.0, 1.0, 5))
    curve = (np.linspace(0.0, 1.0, 256) ** gamma)[:, None] * gains[0] * np.sqrt(gains[1:]) * 255.0
    table = np.clip(np.rint(curve), 0, 255).astype(np.uint8)
    return np.stack([table[:, c][image[:, :, c]] for c in range(3)], axis=2)
