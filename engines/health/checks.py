"""Every check in one table, and how each of the 36 known camera faults is told.

Order is certainty: where several checks speak, the first names the fault. Suspicion is instant and keeps a frame
out of everybody's past; belief takes ``confirm_s``. With the frame period, and the time that the statistic
itself looks back on, that is the bound on detection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from engines.health.fault import Fault


@dataclass(frozen=True, slots=True)
class Check:
    """One rule: the statistic at or above the threshold is suspicious.

    certain: what it sees is no matter of degree: bound in frames, and the same for every stream; the threshold
    of any other may be raised by what normal footage does. past: judged is its rise above the stream's own past.
    sudden: only when this share of the threshold came within two frames of a scene that went on; what comes
    slowly may be dusk or a tunnel. keeps: share of the threshold below which a suspicion is dropped. lag_s: how
    far the statistic looks back, beyond confirm_s.
    """

    fault: Fault
    statistic: str
    unit: str
    threshold: float
    confirm_s: float
    past: bool = False
    sudden: float = 0.0
    keeps: float = 0.7
    lag_s: float = 0.0
    certain: bool = False

    @property
    def name(self) -> str:
        """Its own name, by which limits are given."""
        return f"{self.fault}.{self.statistic}{'.rise' if self.past else ''}"

    def bound_frames(self, fps: float) -> int:
        """Within how many frames from its onset the fault is believed."""
        return math.ceil((self.confirm_s + self.lag_s) * fps) + 2


CHECKS = (
    Check(Fault.BLACK, "black", "share of pixels", 0.98, 0.5, certain=True),
    Check(Fault.WHITE, "white", "share of pixels", 0.98, 0.5, certain=True),
    Check(Fault.TEST_PATTERN, "columns", "ratio", 2.6, 1.0, certain=True),
    Check(Fault.MACROBLOCKS, "repaired", "share of frames", 0.2, 0.3, keeps=0.3, lag_s=0.5, certain=True),
    Check(Fault.WRONG_SIZE, "slip", "share of looks", 0.7, 0.5, lag_s=1.5),
    Check(Fault.WRONG_SIZE, "bars", "share of width", 0.15, 1.0),
    Check(Fault.WRONG_SIZE, "magnified", "likeness", 0.02, 0.5),
    Check(Fault.FLIPPED, "flipped", "likeness", 0.02, 0.5),
    Check(Fault.MOVED, "moved", "likeness", 0.02, 1.5),
    Check(Fault.DISTORTION, "bent", "likeness", 0.02, 1.0),
    Check(Fault.TEST_PATTERN, "panel", "share of picture", 0.08, 0.5, lag_s=1.3),
    Check(Fault.DEAD_PIXELS, "lines", "lines", 3.0, 1.5, lag_s=1.0),
    Check(Fault.NO_DEMOSAIC, "checker", "ratio to noise", 0.07, 0.5),
    Check(Fault.MACROBLOCKS, "decay", "share of picture", 0.12, 0.5, lag_s=0.8),
    Check(Fault.EXPOSURE_OSCILLATION, "swing", "log gain", 0.35, 0.5, lag_s=3.0),
    Check(Fault.UNDER_EXPOSED, "darkness", "log light", 0.7, 1.5, sudden=1.0, keeps=0.5),
    Check(Fault.WHITE, "glare", "share of picture", 0.12, 1.0, past=True, sudden=0.6, keeps=0.5),
    Check(Fault.WHITE, "glare", "share of picture", 0.5, 1.0),
    Check(Fault.WHITE, "flare", "share of picture", 0.3, 0.5, lag_s=1.3),
    Check(Fault.WHITE, "whitened", "share of patches", 0.75, 1.0),
    Check(Fault.COVERED, "covered", "share of patches", 0.2, 1.0),
    Check(Fault.COVERED, "overlay", "share of picture", 0.14, 1.0, lag_s=1.3),
    Check(Fault.COVERED, "featureless", "share of patches", 0.97, 2.0),
    Check(Fault.BANDING, "stripes", "log light", 0.09, 1.0, lag_s=1.0),
    Check(Fault.BLUR, "blur", "log sharpness", 1.0, 1.5),
    Check(Fault.COVERED, "blocked_s", "s", 0.5, 1.5),
    Check(Fault.LOOP, "loop", "log ratio", 1.2, 0.5, keeps=0.5, lag_s=0.7),
    Check(Fault.VIBRATION, "shake", "log", 1.0, 1.0, past=True, lag_s=2.0),
    Check(Fault.PARTIAL_FREEZE, "held", "share of patches", 0.25, 0.5, lag_s=2.6),
    Check(Fault.FREEZE, "still_s", "s", 0.5, 2.5, lag_s=0.5),
    Check(Fault.FREEZE, "identical_s", "s", 0.5, 2.5, lag_s=0.5, certain=True),
    Check(Fault.BLUR, "mush", "log detail", 0.45, 2.0, keeps=0.5, lag_s=2.0),
    Check(Fault.IRREGULAR_FRAMES, "irregular", "share of frames", 0.35, 1.0, lag_s=1.5),
    Check(Fault.MONOCHROME, "fading", "log colourfulness", 0.8, 1.0, past=True, sudden=0.7, keeps=0.5),
    Check(Fault.CHANNEL_SWAP, "swapped", "share", 0.5, 0.5),
    Check(Fault.COLOUR_CAST, "cast", "log balance", 0.25, 1.5, sudden=1.0, keeps=0.6),
    Check(Fault.NOISE, "noise", "grey levels", 4.0, 0.5),
    Check(Fault.COVERED, "marks", "per million", 600.0, 1.0, lag_s=2.0),
    Check(Fault.DEAD_PIXELS, "dots", "per million", 1500.0, 1.0, lag_s=2.0),
    Check(Fault.CHROMATIC_ABERRATION, "fringe", "per mille", 3.0, 1.0),
    Check(Fault.BLUR, "veil", "log contrast", 0.75, 2.0, lag_s=6.0),
)  # fmt: skip
"""The most certain first."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How one of the known modes is told.

    name: as ``engines.faults`` makes it. told: the faults it is reported as, the usual one first. how: apart, by
    a fault of its own; or in a group with others that look alike. beyond: what cannot be told here, and what
    would make it possible.
    """

    number: int
    name: str
    told: tuple[Fault, ...]
    how: Literal["apart", "group"]
    beyond: str = ""


MODES = (
    Mode(1, "disconnected", (Fault.NO_FRAMES,), "apart", "for less than 3 s: told as irregular frames"),
    Mode(2, "irregular_frames", (Fault.IRREGULAR_FRAMES, Fault.NO_FRAMES), "apart",
         "pictures out of order under regular time stamps: numbers from the camera"),
    Mode(3, "freeze", (Fault.FREEZE,), "apart"),
    Mode(4, "reencoded_freeze", (Fault.FREEZE,), "group", "a parked car in a still, noiseless scene: its speed"),
    Mode(5, "partial_freeze", (Fault.PARTIAL_FREEZE, Fault.FREEZE), "apart", "where the scene stands still too: depth"),
    Mode(6, "loop", (Fault.LOOP,), "apart", "where hardly anything moves; loops of over 400 frames"),
    Mode(7, "black", (Fault.BLACK,), "apart", "an unlit tunnel: a map"),
    Mode(8, "white", (Fault.WHITE,), "group", "against the sun: a map, a clock, the exposure time"),
    Mode(9, "under_exposed", (Fault.UNDER_EXPOSED, Fault.BLACK), "apart", "slowly: a clock, the exposure time"),
    Mode(10, "exposure_oscillation", (Fault.EXPOSURE_OSCILLATION,), "apart",
         "slower than 0.5 Hz: the exposure time"),
    Mode(11, "blur", (Fault.BLUR,), "group", "from the first frame: a target at a known distance"),
    Mode(12, "motion_blur", (Fault.BLUR,), "group", "along the edges of the scene: the exposure time"),
    Mode(13, "noise", (Fault.NOISE,), "apart", "rain and snow, as fine: several cameras"),
    Mode(14, "banding", (Fault.BANDING,), "apart", "stripes that do not move"),
    Mode(15, "dead_pixels", (Fault.DEAD_PIXELS,), "group", "single pixels: pictures without the codec"),
    Mode(16, "colour_cast", (Fault.COLOUR_CAST,), "apart", "slowly, or from the first frame: a clock, a grey patch"),
    Mode(17, "monochrome", (Fault.MONOCHROME,), "apart", "from the first frame: whether the camera has colour"),
    Mode(18, "no_demosaic", (Fault.NO_DEMOSAIC,), "apart", "on a grey scene it changes nothing"),
    Mode(19, "channel_swap", (Fault.CHANNEL_SWAP,), "apart",
         "on a grey scene; from the first frame: colours learnt by fit"),
    Mode(20, "chromatic_aberration", (Fault.CHROMATIC_ABERRATION,), "apart", "on a grey stream: colour"),
    Mode(21, "distortion", (Fault.DISTORTION,), "apart", "from the first frame: a calibration of the lens"),
    Mode(22, "condensation", (Fault.BLUR,), "group", "fog: several cameras, depth"),
    Mode(23, "frost", (Fault.COVERED,), "group", "slowly, or from the first frame: a picture from when it was clean"),
    Mode(24, "mud", (Fault.COVERED,), "group", "slowly, from the first frame, or while the car stands: a picture from when it was clean"),
    Mode(25, "water_drops", (Fault.COVERED,), "group", "drop by drop, or all over the picture at once: several cameras"),
    Mode(26, "broken_lens", (Fault.COVERED,), "group", "from the first frame: a picture from when it was whole"),
    Mode(27, "covered", (Fault.COVERED,), "group", "a part from the first frame: a picture of what should be seen"),
    Mode(28, "moved", (Fault.MOVED,), "apart", "so far that little is left; slowly; from the first frame: a layout learnt by fit"),
    Mode(29, "flipped", (Fault.FLIPPED,), "apart", "from the first frame: a layout learnt by fit"),
    Mode(30, "vibration", (Fault.VIBRATION,), "apart", "a rough road: acceleration"),
    Mode(31, "flare", (Fault.WHITE,), "group", "slowly, as the sun comes: a map, a clock"),
    Mode(32, "macroblocks", (Fault.MACROBLOCKS,), "apart", "damage from before the last encoder, without smears"),
    Mode(33, "over_compression", (Fault.BLUR,), "group", "from the first frame: the stream's bit rate"),
    Mode(34, "test_pattern", (Fault.TEST_PATTERN,), "apart", "patterns without bars or frame; writing without a box"),
    Mode(35, "wrong_size", (Fault.WRONG_SIZE,), "apart", "a crop from the first frame: a calibration of the lens"),
    Mode(36, "bright_lines", (Fault.DEAD_PIXELS,), "group", "short, or in traffic of upright lines: a dark picture"),
)  # fmt: skip
"""The modes of ``engines.faults``, by its numbers and names."""
