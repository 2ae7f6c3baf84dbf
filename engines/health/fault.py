"""The names of what can be wrong with a camera."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """Modes of a camera fault that are told apart; ``engines.health.checks`` says which of the 36 known ones
    each stands for. CORRUPTED is none of them: the early features say so, and no check knows what it is."""

    NO_FRAMES = "no_frames"
    IRREGULAR_FRAMES = "irregular_frames"
    MACROBLOCKS = "macroblocks"
    BLACK = "black"
    WHITE = "white"
    UNDER_EXPOSED = "under_exposed"
    EXPOSURE_OSCILLATION = "exposure_oscillation"
    TEST_PATTERN = "test_pattern"
    COVERED = "covered"
    FREEZE = "freeze"
    PARTIAL_FREEZE = "partial_freeze"
    LOOP = "loop"
    FLIPPED = "flipped"
    WRONG_SIZE = "wrong_size"
    DISTORTION = "distortion"
    MOVED = "moved"
    VIBRATION = "vibration"
    NO_DEMOSAIC = "no_demosaic"
    MONOCHROME = "monochrome"
    CHANNEL_SWAP = "channel_swap"
    COLOUR_CAST = "colour_cast"
    CHROMATIC_ABERRATION = "chromatic_aberration"
    BANDING = "banding"
    DEAD_PIXELS = "dead_pixels"
    NOISE = "noise"
    BLUR = "blur"
    CORRUPTED = "corrupted"
