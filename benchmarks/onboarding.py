"""What minutes of a new camera's footage change: false alarms before and after, and whether other scenes are still found.

    python benchmarks/onboarding.py --data DRIVING --page docs/results.md

Real: every highway camera of the manifest that has enough footage is new once, to a bundle taught on all training
highways of other cameras. Its recordings are seconds long, so it is judged on stretches that were held out of its own
onboarding (as ``sightline calibrate`` prints it). Other scenes were filmed by other cameras: what is found may be the
camera. Rendered: a camera of another make (cropped, blurred, tinted; one that sees heat) is onboarded on the first half of a long drive and
judged on its second; the other scenes are its own.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.console import progress
from engines.decision import Calibration, Rule, run_channels
from engines.density import Floats, Projection
from engines.encoders import Background, open_encoder
from engines.errors import CalibrationError
from engines.faults import apply
from engines.footage import Drive, find_drives
from engines.frames import Image
from engines.metrics import Ranking, auroc
from engines.rendered import Segment, render, write_video
from engines.scores import Density, pooled
from engines.whole_file import write_whole
from training.alarms import Tally, alarms, tally
from training.encode import Encoded, encode
from training.fit import fit, join
from training.leaderboard.page import with_onboarding
from training.manifest import Row, read_manifest
from training.onboard import Onboarded, onboard
from training.teach import MANY

MADE = """Made by `python benchmarks/onboarding.py --data DRIVING --page docs/results.md`, not by hand: false alarms before and after
`sightline calibrate`, whose thresholds are for the budget that the footage supports.

Real: every highway camera with 28 s of footage or more is new once, to a bundle taught on the training highways of all other
cameras. False alarms are counted on the stretches held out of its onboarding, as there is no second half. *AUROC*: of the
smoothed domain channel against each drive of another scene of 5 s or more; *splices found*: an alarm that begins within 30 s
behind a normal stretch. The other scenes were filmed by other cameras, so both say that this camera is known now, more than
that its scenes are. Rendered: eight plain drives teach, the first half of a long drive through a camera of another make
onboards it, its second half is watched as one stream, and the other scenes are its own.
"""

SCENE_S, SPLICE_S = 5.0, 30.0
"""Least length of a drive of another scene, and how long it is watched behind a normal one."""
SETTINGS = ("before", "--no-shift", "as shipped")
TAUGHT, TAUGHT_S, OTHER_S, FPS, SIZE = 8, 20.0, 30.0, 5.0, (320, 180)
LOOKS: dict[str, Callable[[Image], Image]] = {
    "crop, blur": lambda image: apply(_cropped(image), "blur", 2),
    "grey, blur": lambda image: apply(apply(image, "monochrome", 3), "blur", 2),
    "crop, tint": lambda image: apply(_cropped(image), "colour_cast", 2),
    "heat": lambda image: 255 - apply(image, "monochrome", 3),
    "crop, grey, blur": lambda image: apply(apply(_cropped(image), "monochrome", 3), "blur", 2),
}


def _cropped(image: Image) -> Image:
    height, width = image.shape[:2]
    inner = image[height // 8 : -(height // 8), width // 8 : -(width // 8)]
    return np.asarray(cv2.resize(inner, (width, height)), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A normal stretch: N times in seconds, N × d latents as moved, N damages in nats."""

    times_s: Floats
    latent: Floats
    damage: Floats


@dataclass(frozen=True, slots=True)
class Result:
    """Of one camera in one setting. spliced, found: other drives behind a normal stretch, and those that alarmed."""

    tally: Tally
    auroc: float
    spliced: int
    found: int


@dataclass(frozen=True, slots=True)
class Case:
    """One new camera. learnt_s: seconds it was onboarded on. results: one of each of SETTINGS."""

    camera: str
    learnt_s: float
    results: tuple[Result, ...]


def domain(density: Density, latent: Floats) -> Floats:
    surprise = density.normal.surprise(latent)
    return surprise if density.background is None else surprise - density.background.surprise(latent)


def levels(density: Density, piece: Piece) -> dict[str, Floats]:
    return run_channels(
        list(piece.times_s),
        domain(density, piece.latent),
        piece.latent,
        piece.damage,
        density.within,
        Rule(),
    )


def judged(
    density: Density,
    calibration: Calibration,
    normal: Sequence[Piece],
    other: Sequence[Piece],
    known: Tally | None = None,
) -> Result:
    """Alarms in normal pieces (``known`` where they were counted by thresholds learnt without them), AUROC of the
    smoothed domain channel, averaged over other drives, and each other drive behind the last normal piece."""
    heard = [levels(density, piece) for piece in normal]
    if known is None:
        spans = [float(p.times_s[-1] - p.times_s[0]) for p in normal]
        found = [alarms(p.times_s, h, calibration) for p, h in zip(normal, heard, strict=True)]
        known = tally(list(zip(spans, found, strict=True)))
    calm = np.concatenate([h["domain"] for h in heard])
    areas, hits = [], 0
    for piece in other:
        strange = levels(density, piece)["domain"]
        kinds = np.r_[np.zeros(len(calm), bool), np.ones(len(strange), bool)]
        areas.append(auroc(Ranking(np.r_[calm, strange], kinds).curve(np.ones(len(kinds)))))
        hits += _found(density, calibration, normal[-1], piece)
    return Result(known, float(np.mean(areas)), len(other), hits)


def _found(density: Density, calibration: Calibration, before: Piece, after: Piece) -> bool:
    """Whether an alarm begins within SPLICE_S of the splice: one that was on already is not found."""
    end_s = float(before.times_s[-1])
    behind_s = end_s + 0.1 + after.times_s - after.times_s[0]
    kept = behind_s < end_s + SPLICE_S
    joined = Piece(
        np.r_[before.times_s, behind_s[kept]],
        np.r_[before.latent, after.latent[kept]],
        np.r_[before.damage, after.damage[kept]],
    )
    return any(a.detected_s > end_s for a in alarms(joined.times_s, levels(density, joined), calibration))


def pieces(density: Density, drives: Sequence[Encoded], shift: Floats) -> list[Piece]:
    return [
        Piece(e.times_s, e.features.astype(np.float64) - shift, density.damage(e.early, len(e.times_s)))
        for e in drives
    ]


class Suite:
    """Encodes footage with a shipped encoder, and teaches as ``sightline fit`` does. shipped_projection: never whiten by
    the footage's own axes."""

    def __init__(self, encoder: str, shipped_projection: bool) -> None:
        self._shipped_projection = shipped_projection
        _, model, background = open_encoder(encoder)
        assert background is not None
        self._background: Background = background
        self._engine = OnnxRuntimeEngine(model.SerializeToString())

    def encode(self, drives: Sequence[Drive], what: str) -> list[Encoded]:
        """Pooled features; ``latents`` makes latents of them once a bundle has been taught."""
        return encode(drives, self._engine, lambda late: pooled(late, self._background.pooling), 0.1, what)

    def teach(self, normal: Sequence[Encoded], other: Sequence[Encoded]) -> tuple[Density, Calibration]:
        known = self._background
        own = min(len(normal), len(other)) >= MANY and not self._shipped_projection
        if not own:
            normal, other = latents(normal, known.projection), latents(other, known.projection)
        fitted = fit(
            normal, other, known, known.pooling, projection=None if own else known.projection, relative=bool(other),
            rule=Rule(), budget_per_hour=None,
        )  # fmt: skip
        return fitted.density, fitted.calibration


def latents(drives: Sequence[Encoded], projection: Projection) -> list[Encoded]:
    wide = [projection.latent(e.features.astype(np.float64)) for e in drives]
    return [replace(e, features=w.astype(np.float32)) for e, w in zip(drives, wide, strict=True)]


def real(suite: Suite, data: Path, relative: bool) -> list[Case]:
    """Leave one camera out. relative: other scenes of every second camera widen the background, the rest are tested."""
    rows = [r for r in read_manifest(data) if r.label in {"highway", "other"} and r.rig != "idd"]
    encoded = dict(
        zip((r.recording for r in rows), suite.encode([r.recording for r in rows], "encoding"), strict=True)
    )
    highways, others = ([r for r in rows if r.label == label] for label in ("highway", "other"))
    beside = sorted({r.rig for r in others})[::2] if relative else []
    background = [encoded[r.recording] for r in others if r.rig in beside]
    tested = [
        encoded[r.recording]
        for r in others
        if r.rig not in beside and encoded[r.recording].seconds >= SCENE_S
    ]
    cases = []
    rigs = sorted({r.rig for r in highways})
    with progress("cameras", len(rigs), "cameras") as advance:
        for rig in rigs:
            case = _real_case(suite, rig, highways, encoded, background, tested)
            cases += [case] if case else []
            advance(1, rig)
    return cases


def _real_case(
    suite: Suite,
    rig: str,
    highways: Sequence[Row],
    encoded: dict[Drive, Encoded],
    background: Sequence[Encoded],
    tested: Sequence[Encoded],
) -> Case | None:
    """One camera; None where its footage is too little to be onboarded."""
    mine = [encoded[r.recording] for r in highways if r.rig == rig]
    taught = [encoded[r.recording] for r in highways if r.rig != rig and r.split == "train"]
    density, calibration = suite.teach(taught, background)
    mine, tested = latents(mine, density.projection), latents(tested, density.projection)
    try:
        plain, moved = (onboard(density, calibration, mine, shift=shift) for shift in (False, True))
    except CalibrationError:
        return None
    footage = join(mine)
    damage = density.damage(footage.early, len(footage.early))

    def stretches(found: Onboarded) -> list[Piece]:
        rows = [slice(s.unit.start, s.unit.stop) for s in found.stretches]
        return [
            Piece(s.times_s, footage.features[r] - s.shift, damage[r])
            for s, r in zip(found.stretches, rows, strict=True)
        ]

    still = stretches(plain)
    results = (
        judged(density, calibration, still, pieces(density, tested, plain.shift), plain.before),
        judged(density, plain.calibration, still, pieces(density, tested, plain.shift), plain.after),
        judged(
            density, moved.calibration, stretches(moved), pieces(density, tested, moved.shift), moved.after
        ),
    )
    return Case(rig, sum(e.seconds for e in mine), results)


def rendered(suite: Suite, minutes: float, looks: Sequence[str]) -> list[Case]:
    """Cameras of other makes: ``minutes`` to be onboarded on, as many to be judged on."""
    with tempfile.TemporaryDirectory() as name, progress("rendering", 0, "frames") as advance:
        folder = Path(name)

        def film(path: str, scene: str, seconds: float, seed: int, look: Callable[[Image], Image]) -> Drive:
            (folder / path).parent.mkdir(exist_ok=True, parents=True)
            frames = []
            for _, _, image in render((Segment(scene, seconds),), seed, SIZE, FPS):
                frames.append(look(image))
                advance(1)
            write_video(folder / path, frames, FPS)
            return find_drives([folder / path])[0]

        taught = [film(f"taught/{s}.mp4", "highway", TAUGHT_S, s, lambda i: i) for s in range(TAUGHT)]
        density, calibration = suite.teach(suite.encode(taught, "encoding"), [])
        cases = []
        for seed, make in enumerate(looks, 100):
            long = film(f"{seed}/highway.mp4", "highway", 120.0 * minutes, seed, LOOKS[make])
            scenes = [
                film(f"{seed}/{scene}.mp4", scene, OTHER_S, seed, LOOKS[make])
                for scene in ("city", "rural", "tunnel", "night")
            ]
            drive, *other = latents(suite.encode([long, *scenes], "encoding"), density.projection)
            cases.append(_halves(make, density, calibration, drive, other))
    return cases


def _halves(
    make: str, density: Density, calibration: Calibration, drive: Encoded, other: Sequence[Encoded]
) -> Case:
    half_s = 0.5 * drive.seconds
    first, second = (_part(drive, keep) for keep in (drive.times_s < half_s - 1, drive.times_s >= half_s + 1))
    plain, moved = (onboard(density, calibration, [first], shift=shift) for shift in (False, True))
    results = tuple(
        judged(density, found, pieces(density, [second], shift), pieces(density, other, shift))
        for found, shift in (
            (calibration, plain.shift),
            (plain.calibration, plain.shift),
            (moved.calibration, moved.shift),
        )
    )
    return Case(make, first.seconds, results)


def _part(drive: Encoded, keep: np.ndarray) -> Encoded:
    return replace(drive, times_s=drive.times_s[keep], features=drive.features[keep], early=drive.early[keep])


def table(title: str, cases: Sequence[Case]) -> str:
    """A markdown table of cameras and settings, and their sum."""
    lines = [
        f"### {title}\n",
        "| camera | onboarded on | setting | false alarms | per hour (95 %) | in alarm | AUROC | splices found |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        for setting, r in zip(SETTINGS, case.results, strict=True):
            lines.append(_line(case.camera, f"{case.learnt_s:.0f} s", setting, r))
    for index, setting in enumerate(SETTINGS):
        every = [case.results[index] for case in cases]
        total = Tally(
            sum(r.tally.alarms for r in every),
            sum(r.tally.seconds for r in every),
            sum(r.tally.alarmed_s for r in every),
        )
        spliced, found = sum(r.spliced for r in every), sum(r.found for r in every)
        lines.append(
            _line(
                "**all**",
                "",
                setting,
                Result(total, float(np.mean([r.auroc for r in every])), spliced, found),
            )
        )
    return "\n".join(lines) + "\n"


def _line(camera: str, learnt: str, setting: str, r: Result) -> str:
    low, high = r.tally.interval
    return (
        f"| {camera} | {learnt} | {setting} | {r.tally.alarms} in {r.tally.seconds / 60:.1f} min | "
        f"{r.tally.per_hour:.0f} ({low:.0f} to {high:.0f}) | {r.tally.share:.0%} | {r.auroc:.3f} | {r.found} of {r.spliced} |"
    )


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the driving footage: a folder with manifest.csv")
    parser.add_argument("--encoder", default="road")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each half of a rendered drive")
    parser.add_argument("--looks", nargs="*", choices=LOOKS, default=list(LOOKS), help="rendered cameras")
    parser.add_argument("--page", type=Path, help="write the tables as the last section of this page, too")
    options = parser.parse_args()
    own, shipped = (Suite(options.encoder, shipped_projection) for shipped_projection in (False, True))
    parts = []
    if options.data:
        # Absolute scores are whitened by the shipped background anyway.
        parts.append(table("Real cameras, absolute scores", real(own, options.data, relative=False)))
        for name, suite in (("the footage's own axes", own), ("the axes that ship", shipped)):
            title = f"Real cameras, relative to a background of other drives, in {name}"
            parts.append(table(title, real(suite, options.data, relative=True)))
    if options.looks:
        parts.append(table("Rendered cameras", rendered(own, options.minutes, options.looks)))
    print("\n".join(parts))
    if options.page:
        section = "\n".join([MADE, *parts])
        write_whole(options.page, with_onboarding(options.page.read_text(encoding="utf-8"), section).encode())


if __name__ == "__main__":
    main()
