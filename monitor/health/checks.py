"""Every check in one table, and how each of the 36 known camera faults is told.

Order is certainty: where several checks speak, the first names the fault. Suspicion is instant and keeps a frame
out of everybody's past; belief takes ``confirm_s``. With the frame period, and the time that the statistic
itself looks back on, that is the bound on detection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from monitor.events import Fault


@dataclass(frozen=True, slots=True)
class Check:
    """One rule: the statistic at or above the threshold is suspicious.

    past: judged is its rise above the stream's own past. sudden: only when this share of the threshold came
    within two frames of a scene that went on; what comes slowly may be dusk or a tunnel. keeps: share of the
    threshold below which a suspicion is dropped. lag_s: how far the statistic looks back, beyond confirm_s.
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

    def bound_frames(self, fps: float) -> int:
        """Within how many frames from its onset the fault is believed."""
        return math.ceil((self.confirm_s + self.lag_s) * fps) + 2


CHECKS = (
    Check(Fault.BLACK, "black", "share of pixels", 0.98, 0.5),
    Check(Fault.WHITE, "white", "share of pixels", 0.98, 0.5),
    Check(Fault.TEST_PATTERN, "columns", "ratio", 3.5, 0.5),
    Check(Fault.MACROBLOCKS, "repaired", "share of frames", 0.15, 0.3, keeps=0.3),
    Check(Fault.WRONG_SIZE, "slip", "px a row", 0.5, 0.5),
    Check(Fault.WRONG_SIZE, "bars", "share of width", 0.15, 1.0, past=True),
    Check(Fault.WRONG_SIZE, "magnified", "likeness", 0.02, 0.5),
    Check(Fault.FLIPPED, "flipped", "likeness", 0.02, 0.5),
    Check(Fault.MOVED, "moved", "likeness", 0.02, 1.0),
    Check(Fault.DISTORTION, "bent", "likeness", 0.02, 1.0),
    Check(Fault.DEAD_PIXELS, "lines", "lines", 3.0, 1.0, lag_s=1.0),
    Check(Fault.NO_DEMOSAIC, "checker", "ratio to noise", 0.07, 0.5),
    Check(Fault.MACROBLOCKS, "decay", "share of picture", 0.08, 0.5, lag_s=0.8),
    Check(Fault.EXPOSURE_OSCILLATION, "swing", "log gain", 0.2, 0.5, lag_s=3.0),
    Check(Fault.UNDER_EXPOSED, "darkness", "log light", 0.35, 1.5, sudden=1.0, keeps=0.5),
    Check(Fault.WHITE, "glare", "share of picture", 0.12, 1.0, past=True, sudden=0.6, keeps=0.5),
    Check(Fault.WHITE, "flare", "share of picture", 0.3, 0.5, lag_s=1.3),
    Check(Fault.TEST_PATTERN, "panel", "share of picture", 0.08, 0.5, lag_s=1.3),
    Check(Fault.COVERED, "covered", "share of patches", 0.2, 1.0),
    Check(Fault.BANDING, "stripes", "log light", 0.09, 1.0, lag_s=1.0),
    Check(Fault.BLUR, "blur", "log sharpness", 1.2, 1.0),
    Check(Fault.COVERED, "blocked_s", "s", 0.5, 1.5),
    Check(Fault.LOOP, "loop", "log ratio", 1.2, 0.5, keeps=0.5, lag_s=0.7),
    Check(Fault.VIBRATION, "shake", "log", 1.5, 1.0, past=True, lag_s=2.0),
    Check(Fault.BLUR, "mush", "log detail", 0.65, 2.0, lag_s=2.0),
    Check(Fault.PARTIAL_FREEZE, "held", "share of patches", 0.25, 0.5, lag_s=2.0),
    Check(Fault.FREEZE, "still_s", "s", 0.5, 2.5),
    Check(Fault.IRREGULAR_FRAMES, "irregular", "share of frames", 0.35, 1.0, lag_s=1.5),
    Check(Fault.MONOCHROME, "fading", "log colourfulness", 0.8, 1.0, past=True, sudden=0.7, keeps=0.5),
    Check(Fault.CHANNEL_SWAP, "swapped", "share", 0.5, 0.5),
    Check(Fault.COLOUR_CAST, "cast", "log balance", 0.25, 1.0, sudden=1.0, keeps=0.6),
    Check(Fault.NOISE, "noise", "grey levels", 4.0, 0.5),
    Check(Fault.COVERED, "marks", "per million", 1000.0, 1.0, lag_s=2.0),
    Check(Fault.COVERED, "overlay", "share of picture", 0.13, 0.5, lag_s=1.3),
    Check(Fault.DEAD_PIXELS, "dots", "per million", 1000.0, 1.0, lag_s=2.0),
    Check(Fault.CHROMATIC_ABERRATION, "fringe", "per mille", 3.0, 1.0),
    Check(Fault.BLUR, "veil", "log contrast", 0.75, 2.0, lag_s=6.0),
)  # fmt: skip
"""The most certain first."""

HOW = Literal["apart", "group", "not here"]
