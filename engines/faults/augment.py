"""Mild faults at random, for training: pictures that are damaged and still show the same scene."""

from __future__ import annotations

import numpy as np

from engines.errors import InputError
from engines.faults.inject import apply
from engines.frames import Image

KEEPS_SCENE = {
    "white": 2, "under_exposed": 4, "blur": 3, "motion_blur": 3, "noise": 3, "banding": 3, "dead_pixels": 2,
    "colour_cast": 5, "monochrome": 5, "no_demosaic": 5, "channel_swap": 5, "chromatic_aberration": 5, "distortion": 5,
    "condensation": 3, "frost": 3, "mud": 2, "water_drops": 3, "broken_lens": 3, "covered": 2, "moved": 3, "flare": 4,
    "macroblocks": 3, "over_compression": 4, "test_pattern": 1, "wrong_size": 3, "bright_lines": 3,
}  # fmt: skip
"""The highest severity, of modes that one picture can show, at which the scene is still this scene: by the late
features of the shipped encoder, more than half of the damaged pictures of 27 real drives are nearest to a clean one
of their own drive, taken a second away (benchmarks/bench_faults.py). black and flipped are never this scene."""


def random_fault(image: Image, rng: np.random.Generator, strongest: int = 5) -> Image:
    """Return a copy of ``image`` with one mode of ``KEEPS_SCENE``, at random, at a severity that keeps the scene.

    Every mode is equally likely, and every severity up to the lower of its limit and ``strongest`` (1..5).
    """
    if strongest not in range(1, 6):
        raise InputError("random fault", f"strongest must be 1, 2, 3, 4 or 5, not {strongest}")
    mode = tuple(KEEPS_SCENE)[int(rng.integers(len(KEEPS_SCENE)))]
    severity = int(rng.integers(1, min(KEEPS_SCENE[mode], strongest) + 1))
    return apply(image, mode, severity, seed=int(rng.integers(2**31)))
