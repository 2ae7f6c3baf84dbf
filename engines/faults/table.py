"""All 36 ways in which a camera fails, in one table.

After the taxonomy of Secci and Ceccarelli ("On failures of RGB cameras and their effects in autonomous driving
applications", ISSRE 2020), with the modes of time and stream that it leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from engines.faults import bitstream, geometry, glass, light, optics, pattern, sensor, timing
from engines.faults.timing import Timed
from engines.frames import Image

FrameFault = Callable[[Image, int, int], Image]
MomentFault = Callable[[Image, int, int, float], Image]
ClipFault = Callable[[Iterator[Timed], int, int], Iterator[Timed]]


@dataclass(frozen=True, slots=True)
class FaultMode:
    """One way a camera fails.

    number: its row of the table, 1 to 36. mode: its name.
    verdict: the mode that a detector reports it as; modes with the same verdict look too alike to be told apart.
    scope: what has to be looked at to see it: one frame, a clip, or the encoded stream.
    on_frame: (image, severity, seed) -> image, or None where one picture cannot show it.
    on_clip: the same for an iterator of Timed pictures; None where every picture of a clip is damaged alike.
    graded: false where it is all or nothing, whatever the severity.
    blank_from: the severity from which it leaves nothing of the scene; 6 where it never does.
    cue: what gives it away. confusable_with: healthy scenes, or other modes, that look like it.
    """

    number: int
    mode: str
    verdict: str
    scope: Literal["frame", "clip", "bitstream"]
    on_frame: FrameFault | None = None
    on_clip: ClipFault | None = None
    graded: bool = True
    blank_from: int = 6
    cue: str = ""
    confusable_with: tuple[str, ...] = ()

    def in_clip(self, frames: Iterator[Timed], severity: int, seed: int) -> Iterator[Timed]:
        """Return the clip with this fault."""
        if self.on_clip is not None:
            return self.on_clip(frames, severity, seed)
        assert self.on_frame is not None
        fault = self.on_frame
        return (Timed(time_s, fault(image, severity, seed)) for time_s, image in frames)


def fresh(fault: FrameFault) -> ClipFault:
    """Return the clip fault in which each picture draws its own randomness, as noise does and dirt does not."""

    def on_clip(frames: Iterator[Timed], severity: int, seed: int) -> Iterator[Timed]:
        for index, (time_s, image) in enumerate(frames):
            # A stride that keeps the pictures of one seed apart from those of the next.
            yield Timed(time_s, fault(image, severity, seed + index * 0x9E3779B1))

    return on_clip


def moving(fault: MomentFault) -> ClipFault:
    """Return the clip fault whose pictures depend on the time since its beginning."""

    def on_clip(frames: Iterator[Timed], severity: int, seed: int) -> Iterator[Timed]:
        first_s: float | None = None
        for time_s, image in frames:
            first_s = time_s if first_s is None else first_s
            yield Timed(time_s, fault(image, severity, seed, time_s - first_s))

    return on_clip


_ROWS = (
    FaultMode(1, "disconnected", "no_frames", "clip", None, timing.disconnected, blank_from=5,
              cue="no frames", confusable_with=("process stall",)),
    FaultMode(2, "irregular_frames", "irregular_frames", "clip", None, timing.irregular,
              cue="time between frames", confusable_with=("CPU load",)),
    FaultMode(3, "freeze", "freeze", "clip", None, timing.freeze, graded=False,
              cue="frames identical", confusable_with=("parked car in noiseless video",)),
    FaultMode(4, "reencoded_freeze", "freeze", "bitstream", None, bitstream.reencoded_freeze,
              cue="difference below the learnt noise", confusable_with=("parked car",)),
    FaultMode(5, "partial_freeze", "partial_freeze", "clip", None, timing.partial_freeze,
              cue="tiles identical", confusable_with=("sky", "bonnet")),
    FaultMode(6, "loop", "loop", "clip", None, timing.loop,
              cue="earlier frames come again", confusable_with=("nothing",)),
    FaultMode(7, "black", "black", "frame", light.black, fresh(light.black), blank_from=1,
              cue="mean and deviation near nothing", confusable_with=("tunnel", "lens cap")),
    FaultMode(8, "white", "white", "frame", light.white, blank_from=4,
              cue="share of clipped pixels", confusable_with=("sun", "snow")),
    FaultMode(9, "under_exposed", "under_exposed", "frame", light.under_exposed,
              cue="histogram", confusable_with=("night",)),
    FaultMode(10, "exposure_oscillation", "exposure_oscillation", "clip", None, moving(light.exposure_oscillation),
              cue="spectrum of brightness", confusable_with=("shade of trees",)),
    FaultMode(11, "blur", "blur", "frame", optics.blur,
              cue="fine detail lost in every tile, for long", confusable_with=("fog", "condensation")),
    FaultMode(12, "motion_blur", "blur", "frame", optics.motion_blur,
              cue="spectrum with a direction", confusable_with=("speed at night",)),
    FaultMode(13, "noise", "noise", "frame", sensor.noise, fresh(sensor.noise),
              cue="variance of flat patches", confusable_with=("rain",)),
    FaultMode(14, "banding", "banding", "frame", sensor.banding, moving(sensor.banding),
              cue="peak in the spectrum of rows", confusable_with=("flicker of LED lamps",)),
    FaultMode(15, "dead_pixels", "dead_pixels", "clip", sensor.dead_pixels,
              cue="outliers in fixed places", confusable_with=("dirt",)),
    FaultMode(16, "colour_cast", "colour_cast", "frame", light.colour_cast,
              cue="mean chroma", confusable_with=("sunset",)),
    FaultMode(17, "monochrome", "monochrome", "frame", light.monochrome,
              cue="channels alike", confusable_with=("infrared at night",)),
    FaultMode(18, "no_demosaic", "no_demosaic", "frame", sensor.no_demosaic,
              cue="peak at the Nyquist frequency", confusable_with=("fine texture",)),
    FaultMode(19, "channel_swap", "channel_swap", "frame", light.channel_swap, graded=False,
              cue="unlikely chroma", confusable_with=("sunset",)),
    FaultMode(20, "chromatic_aberration", "chromatic_aberration", "frame", optics.chromatic_aberration,
              cue="coloured rims", confusable_with=("JPEG chroma",)),
    FaultMode(21, "distortion", "distortion", "frame", optics.distortion,
              cue="straight lines bent", confusable_with=("another lens",)),
    FaultMode(22, "condensation", "blur", "frame", glass.condensation, moving(glass.condensation),
              cue="contrast lost, fixed to the screen, slowly", confusable_with=("fog",)),
    FaultMode(23, "frost", "covered", "frame", glass.frost,
              cue="fixed to the screen", confusable_with=("snow",)),
    FaultMode(24, "mud", "covered", "clip", glass.mud,
              cue="still while the rest moves", confusable_with=("bonnet", "mount")),
    FaultMode(25, "water_drops", "covered", "clip", glass.water_drops,
              cue="local warps", confusable_with=("rain in the scene",)),
    FaultMode(26, "broken_lens", "covered", "frame", glass.broken_lens,
              cue="edges in fixed places", confusable_with=("wires",)),
    FaultMode(27, "covered", "covered", "clip", glass.covered, blank_from=5,
              cue="sudden flat region", confusable_with=("truck ahead",)),
    FaultMode(28, "moved", "moved", "clip", geometry.moved,
              cue="horizon leaps", confusable_with=("hill",)),
    FaultMode(29, "flipped", "flipped", "frame", geometry.flipped, graded=False,
              cue="layout", confusable_with=("nothing",)),
    FaultMode(30, "vibration", "vibration", "clip", None, moving(geometry.vibration),
              cue="spectrum of global motion", confusable_with=("rough road",)),
    FaultMode(31, "flare", "white", "frame", optics.flare,
              cue="glow, and ghosts on an axis", confusable_with=("oncoming lamps",)),
    FaultMode(32, "macroblocks", "macroblocks", "bitstream", bitstream.macroblocks, bitstream.damaged_stream,
              cue="grid of 8 or 16, no chroma, decoder errors", confusable_with=("tiles",)),
    FaultMode(33, "over_compression", "blur", "bitstream", bitstream.over_compression, bitstream.over_compressed,
              cue="blockiness", confusable_with=("blur",)),
    FaultMode(34, "test_pattern", "test_pattern", "frame", pattern.bars_and_menus, blank_from=4,
              cue="bars and letters", confusable_with=("billboard",)),
    FaultMode(35, "wrong_size", "wrong_size", "frame", geometry.wrong_size,
              cue="geometry against what is declared", confusable_with=("another lens",)),
    FaultMode(36, "bright_lines", "dead_pixels", "clip", sensor.bright_lines,
              cue="lines in fixed places", confusable_with=("dead_pixels",)),
)  # fmt: skip

FAULTS: dict[str, FaultMode] = {fault.mode: fault for fault in _ROWS}
"""Every mode by name, in the order of the table."""
