"""The leaderboard as Markdown, with a verdict on everything that was to be reached. Nothing here is written by hand: every
figure, and whether it is met, comes from the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engines.encoders import DEFAULT
from training.leaderboard.figures import Bottle, Cost, Entry, Figure, Heat
from training.leaderboard.verdicts import ALONE, COLUMNS, WITH_OTHER, line, slower, verdicts, why
from training.thresholds import Decided

EVEN, REPORTED = 0.5, 0.89
"""Shares of other frames at which F1 is told: as many as normal ones, and the share at which calling everything other
scores the .94 that monitors of highways are reported with."""

INTRODUCTION = """# Leaderboard

Made by `python -m training.leaderboard --data DRIVING --mvtec BOTTLE --weights WEIGHTS --cache FOLDER --out docs/results.md`,
not by hand; with up to {frames} frames of every recording. `autoencoder`, `vae` and `lake` were trained for {epochs} epochs at
64 × 96 on the highways that are in the background of `road`.

AUROC of single frames, mean over pairs of drives, in brackets the 95 % interval from resampling drives of both kinds.
**A**: one rig (IDD), one highway drive left out. **B**: the cameras of the tested highway and of the tested other drives
are in no fit. **B'**: all of IDD against every other camera. **C**: the first half of a drive is taught, the second tested.
Densities `kde`, `gaussian` and `gmm` know normal drives alone and stand on 64 whitened directions (kernels of bandwidth 2);
relative and tilted ones stand on 10 directions (bandwidth 1) and know other drives in every fold, so they have no C.
Against the `shipped background` means divided by half of its density and tilted away from it, in 64 directions
(bandwidth 2) or 10. `reconstruction` is what a decoder misses, without a density. Features of more than 192 numbers
are cut to the principal axes of the suite, unlabelled, unless a background ships with their axes. Nothing is chosen
in the making of this page, but these are the drives on which the layers of `road`, and that the background that ships is
best taken in all directions, were found ([ablation.md](ablation.md)).

**Every row is on the same drives**: no camera is tested of which any recording trained an encoder or is in a background
that ships ({strangers} highways are left in B, of which IDD counts as one). Seconds to fit include the projection, and are
a family's shared by its densities.
"""

THRESHOLDS = """## What a threshold comes to

F1 says more of how many frames are other than of a detector: calling *everything* other scores {even:.3f} where half of the
frames are, and {reported:.3f} where {share:.0%} are, as in the data sets on which an F1 of .94 is reported. So both are here, beside
that. The threshold is the conformal 95 % quantile of each fold's own normal frames, held out by camera (in A by drive): no
tested frame, and no other drive, has a say in it. *False* is the share of normal frames above it, *found* that of other
frames; drives weigh the same. Where a row's axes are learnt in each fold from fewer pictures than it has directions (A, without
a background that ships), what is held out is scored in fewer directions than what is tested, and the threshold means little.
"""

BOTTLES = """## MVTec bottle

The threshold is the conformal 99 % quantile of the good training pictures, each fifth scored by a density of the other
four: no defect is looked at. `autoencoder`, `vae` and `lake` were trained for as many epochs, at 96 × 96, on four fifths of the
good training pictures, and their threshold is from the last fifth. Which layers `dfkde` takes was informed by about 115
configurations explored on these very pictures, so its figures are optimistic.
"""

HEATS = """## Heat maps

Of a bundle taught on the good training pictures of MVTec's bottle, against the masks of all test pictures. Pixel AUROC and
average precision (which is the share of defect pixels for a map that says nothing), and PRO: the share of a defect that is
found, mean over defects and over thresholds up to 30 % false pixels (.15 is chance).
"""


@dataclass(frozen=True, slots=True)
class Board:
    """Everything that was measured, and how: frames of each recording, epochs of encoders that learn, threads of the costs.
    missing: models that could be here and are not."""

    entries: Sequence[Entry]
    bottles: Sequence[Bottle]
    heats: Sequence[Heat]
    costs: Mapping[str, Cost]
    frames: int
    epochs: int
    threads: int
    missing: Sequence[str] = ()


def page(board: Board) -> str:
    """The whole document."""
    strangers = max((e.figures["B"].drives for e in board.entries if "B" in e.figures), default=0)
    parts = [INTRODUCTION.format(frames=board.frames, epochs=board.epochs, strangers=strangers)]
    if board.missing:
        parts += [f"**Not measured here:** {', '.join(board.missing)}. `--only NAME` adds one.", ""]
    parts += [*driving(board.entries), "", *why(board.entries, board.costs), ""]
    even, reported = (Decided(1.0, 1.0).f1(share) for share in (EVEN, REPORTED))
    parts += [
        THRESHOLDS.format(even=even, reported=reported, share=REPORTED),
        *threshold_table(board.entries),
        "",
        *threshold_why(board.entries),
    ]
    parts += ["", BOTTLES, *bottle_table(board.bottles), "", *bottle_why(board.bottles)]
    parts += ["", HEATS, *heat_table(board.heats), "", *cost_table(board.costs, board.threads), ""]
    parts += [
        "## What was to be reached",
        "",
        "The best row is picked in hindsight, from all on this page.",
        "",
    ]
    return "\n".join([*parts, *verdicts(board.entries, board.bottles)]) + "\n"


def driving(entries: Sequence[Entry]) -> list[str]:
    """Every entry on the driving suite. What ``fit`` takes by default is bold."""
    heads = ["model", "density", *COLUMNS.values(), "worst of B", "seconds to fit"]
    lines = ["## Driving suite", "", line(heads), line(["---"] * len(heads))]
    for e in entries:
        bold = "**" if e.model == DEFAULT and e.density in (ALONE, WITH_OTHER) else ""
        cells = [_interval(e.figures.get(p)) for p in COLUMNS]
        b = e.figures.get("B")
        worst = "—" if b is None else f"{b.worst:.2f} {b.worst_drive}"
        lines.append(line([f"{bold}{e.model}{bold}", e.density, *cells, worst, f"{e.fit_s:.2f}"]))
    lines.append(line(["one score for all", "by definition", *["0.500"] * len(COLUMNS), "0.50", "0.00"]))
    return lines


def threshold_table(entries: Sequence[Entry]) -> list[str]:
    """What each entry's threshold finds in A and B, and F1 at two shares of other frames."""
    heads = ["model", "density"]
    for name in ("A", "B"):
        heads += [f"{name}: false", "found", f"F1 of {EVEN:.0%}", f"F1 of {REPORTED:.0%}"]
    lines = [line(heads), line(["---"] * len(heads))]
    for e in entries:
        sides = [e.decided.get("A") or e.decided.get("A+"), e.decided.get("B")]
        if any(sides):
            lines.append(line([e.model, e.density, *_decided(sides[0]), *_decided(sides[1])]))
    return [*lines, line(["everything is other", "by definition", *_decided(Decided(1.0, 1.0)) * 2])]


def threshold_why(entries: Sequence[Entry]) -> list[str]:
    """What is best on an unseen camera at such a threshold."""
    best = max((e for e in entries if "B" in e.decided), key=lambda e: e.decided["B"].f1(EVEN), default=None)
    if best is None:
        return []
    d = best.decided["B"]
    return [
        f"On an unseen camera the best row by F1 at half is {best.model}, {best.density}: it finds {d.found:.0%} of the frames at "
        f"{d.false:.0%} false, although its AUROC is {best.figures['B'].auroc:.3f}. Cameras are not exchangeable, and the most unusual of "
        "those held out sets the level; that is why a camera is onboarded (`sightline calibrate`; false alarms before and "
        "after stand at the end of this page)."
    ]


def _decided(d: Decided | None) -> list[str]:
    if d is None:
        return ["—"] * 4
    return [f"{d.false:.2f}", f"{d.found:.2f}", f"{d.f1(EVEN):.3f}", f"{d.f1(REPORTED):.3f}"]


def bottle_table(bottles: Sequence[Bottle]) -> list[str]:
    heads = ["model", "density", "AUROC", "F1 at the threshold", "best F1 in hindsight", "F1 of all positive"]
    rows = [
        [b.model, b.density, *(f"{v:.3f}" for v in (b.auroc, b.f1, b.best_f1, b.f1_all_positive))]
        for b in bottles
    ]
    return [line(heads), line(["---"] * len(heads)), *map(line, rows)]


def bottle_why(bottles: Sequence[Bottle]) -> list[str]:
    """The best, and what the default is worth there."""
    if not bottles:
        return []
    best = max(bottles, key=lambda b: (b.f1, b.auroc))
    return [
        f"Best by F1 at its own threshold: {best.model}, {best.density} ({best.f1:.3f}; all positive {best.f1_all_positive:.3f}). "
        f"`fit` takes `{DEFAULT}` here too, which is made for roads; for defects choose `sightline train --model dfkde`."
    ]


def heat_table(heats: Sequence[Heat]) -> list[str]:
    heads = ["map of", "cells", "pixel AUROC", "average precision", "PRO"]
    rows = [
        [
            h.model,
            f"{h.cells[0]} × {h.cells[1]}",
            *(f"{v:.3f}" for v in (h.auroc, h.precision, h.region_overlap)),
        ]
        for h in heats
    ]
    return [line(heads), line(["---"] * len(heads)), *map(line, rows)]


def cost_table(costs: Mapping[str, Cost], threads: int) -> list[str]:
    heads = ["encoder", "time of a frame, default = 1", "frames/s", "MB", "GFLOP"]
    rows = [
        [name, f"{slower(costs, name):.2f}", f"{c.frames_per_s:.0f}", f"{c.megabytes:.2f}", f"{c.gflop:.3f}"]
        for name, c in costs.items()
    ]
    plural = "s" if threads > 1 else ""
    said = (
        f"ONNX Runtime on a processor, fp32, {threads} thread{plural}; encoders alone. Ratios are medians over batches of 16 of the "
        "encoder and of one and the same other in turns, and hold on a busy machine; frames per second are of the fastest batch on one, "
        "and only say the order of magnitude."
    )
    lines = ["## Cost", "", said, "", line(heads), line(["---"] * len(heads)), *map(line, rows)]
    if DEFAULT in costs:
        cheaper = [f"`{name}`" for name, c in costs.items() if c.gflop < costs[DEFAULT].gflop]
        lines += ["", f"Fewer operations than the default, `{DEFAULT}`: {', '.join(cheaper) or 'none'}."]
    return lines


def _interval(figure: Figure | None) -> str:
    return "—" if figure is None else f"{figure.auroc:.3f} ({figure.low:.2f} to {figure.high:.2f})"


ONBOARDING = "## Onboarding a camera"
"""Heads the page's last section, which ``benchmarks/onboarding.py`` writes."""


def with_onboarding(text: str, section: str) -> str:
    """Return a page with ``section`` (without its heading) as its last."""
    return f"{text.partition(ONBOARDING)[0].rstrip()}\n\n{ONBOARDING}\n\n{section.strip()}\n"


def onboarding(text: str) -> str:
    """That section of a page, without its heading; empty where it has none."""
    return text.partition(ONBOARDING)[2].strip()
