"""What each idea brought to telling a road from what is none, as Markdown.

Where something is chosen among several, it is chosen on one random half of the drives and reported on the other, many times.
Intervals are bootstrapped over drives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from engines.encoders import Background, open_encoder
from engines.tilt import Side
from training.ablation.cameras import among_many
from training.ablation.methods import (
    Known,
    Score,
    fused,
    gaussians,
    lda,
    pool,
    ratio,
    surprise,
    tilt,
    tilt_by,
    without_cameras,
)
from training.ablation.outcomes import (
    HALVINGS,
    Family,
    Setting,
    alone,
    nested,
    outcomes,
    unshipped,
    with_weather,
)
from training.protocols import (
    Clip,
    Fold,
    Outcome,
    onboarded,
    same_rig,
    unseen_camera,
    unseen_rig,
)

LEADING, BANDWIDTH = 10, 1.0
CHOICES = tuple((leading, bandwidth) for leading in (8, 10, 12, 16, 24) for bandwidth in (0.7, 1.0, 1.4))
SMOOTHING_S = 2.0

INTRODUCTION = """
Made by `python -m training.ablation --data DRIVING --weights WEIGHTS --cache FOLDER --out docs/ablation.md`; not by
hand.

AUROC of single frames, averaged over pairs of drives, so that every drive counts the same. **B**: the camera of the
highway and the camera of the other drive are both in no fit. **B'**: all of one rig (IDD) against every other camera.
**A**: one rig (IDD), unseen drives, with half of its other drives known. Intervals resample drives of both kinds.

Here the background is learnt in each fold from footage that may not ship: this is what is possible with such footage
(as `--other` and `--own-projection` have it), not what ships; that stands below. Features are those of `road-large`
unless said otherwise, pooled to their plain average, 64 whitened directions, kernels of bandwidth 1 (2 in 64
directions). The first ideas were compared on these same drives, which makes their order a little optimistic; where a
setting is chosen among many, the nested figure says by how much.
"""

SHIPS = """
Whitened by `background.npz`, or, as `fit` does where many drives of both kinds are given, by the footage's own axes;
tested only on cameras of which no recording is in the background. Taught are the highways of all other cameras
(B, B') or of the same rig (A). For C, one half of a drive is taught and the other half tested against all other drives.
"""

CAMERAS = """
Protocol C in 64 directions of the axes that ship: the first half of a drive is taught, alone or with the highways of all other
cameras, and the second half asked against all other drives. Each camera keeps its own support points; the ways differ in which
camera's a frame is asked of. A stream that says by name which taught camera it is, or is told it by its first frames and then
keeps it (the last two of each), is judged as if it had been taught alone; to ask again of each recording, or of each frame,
loses most of that, for a town is then excused by whichever camera it resembles.
"""

MISSED = """
What was to be reached, what was tried for it, how far it goes, and why no further. Figures are those of
`docs/results.md`, on the same drives for every row, unless a table above has them.

**A, one rig, normal drives alone, AUROC ≥ .98.** *Tried:* Gaussian, kernel and mixture densities, 10, 16 and 64
directions, both encoders that ship, one distilled from the other's last features, networks of torchvision, the ratio to the
background that ships and its tilt. *Ceiling* at the cost of `road`: .981 (.97 to .99), the distilled one with the
background that ships as divisor and as what is other, in all directions; `road` so has .968, and .954 with the density that
`fit` takes. `dfkde` on MobileNetV2's middle layers has .982, with a mixture .985, at three times the cost. *Why:* 14
drives of 4 or 5 stills say what their rig's highways look like, and not which differences matter; the world behind says that.

**A with other drives of the rig, ≥ .995.** *Met* by `road` (.996). *Tried besides:* discriminant, ratio, fusion by
p-values, without directions of cameras, weather and faults, layout. One highway (0172) and a handful of city drives (0080,
0161, 0322, 0216) make most of the errors, and labels of IDD are said to be a few per cent wrong.

**B, unseen camera, ≥ .93 and worst ≥ .75.** *Met* by `road-large` with other drives (.978, worst .91). *Missed* at
the cost of `road`, with other drives (.875 `road`, .896 its deep layers alone with those at stride 16), and by all without
them (`road-large` tilted by what ships .93 above, worst .60; `road` .74). *Why:* more pixels and later layers do more
than anything else (.870 at 96 × 144, .931 at 160 × 240, .960 at 224 × 336, above); small pictures of an unseen camera say
more of the camera. Distilling the trunk from the last features at 224 × 336 took from B (.749 against .870 on all
drives); distilling `road-large`'s own features was not tried, for want of processor time.

**C, more cameras must not make one worse.** *Tried:* the ways of the table "One camera among many". One density of
all cameras costs `road-large` .038; asked of the camera by its name, or of the one that its first second or two
resembles, the loss is none or nearly none. The least of all cameras' own surprises, compared by what is typical of each, is
worse than one density. *Ceiling:* what is reached alone. `road` loses .004 (1.000 to .996) without any of it, and .015 by the
frames of the table above: a density of middle layers mixes cameras up less.

## How the default was found

MobileNetV2 untouched, at 96 × 144, each row a choice of layers whose maps are joined; measured once on the drives of
`docs/results.md` (up to 16 frames each), so the choice is a little optimistic. *Alone* is the surprise of normal drives on the
axes that ship, in 64 directions; *with others* is tilted, on axes of its own.

| layers | A alone | C alone | C with other cameras | A with others | B with others, worst | B' with others |
|---|---|---|---|---|---|---|
| strides 8 and 16 | .954 | 1.000 | .991 | .996 | .826, .46 | .972 |
| strides 8 and 16 at 104 × 156, as dear | .956 | .999 | .987 | .996 | .834, .50 | .976 |
| stride 32 (160 channels) | .896 | .997 | .826 | .993 | .897, .69 | .969 |
| strides 16 and 32 | .909 | .998 | .877 | .993 | .896, .72 | .973 |
| strides 8, 16 and 32 | .932 | 1.000 | .930 | .996 | .865, .59 | .980 |
| **the same, either part of a length of its own, axes that ship of strides 8 and 16** | .954 | 1.000 | .991 | .996 | .880, .68 | .979 |
| the same, the deep part 2 instead of 1.5 times as long as the middle one | .954 | 1.000 | .991 | .995 | .889, .69 | .977 |
| the same, 1 time | .954 | 1.000 | .991 | .996 | .854, .54 | .980 |

Middle layers know one camera's roads best, deep ones what roads have in common. Normal drives alone cannot say which of these
matters, and deep layers then do harm; where other drives are given, the principal axes of both kinds take in either part.
"""

PER_DRIVE = """
Protocol B, road-large, half the background tilted by the discriminant: where it fails."""


def densities(k: Known) -> dict[str, Score]:
    """The densities that are compared on one network."""
    return {
        "surprise, 64 directions": surprise(k, 0, 2.0),
        f"surprise, {LEADING} directions": surprise(k, LEADING, BANDWIDTH),
        f"ratio, {LEADING} directions": ratio(k, LEADING, BANDWIDTH),
        f"ratio with half the background, {LEADING} directions": ratio(k, LEADING, BANDWIDTH, 0.5),
        "ratio, 20 directions": ratio(k, 20, BANDWIDTH),
        f"ratio of two Gaussians, {LEADING} directions": gaussians(k, LEADING, 1),
        f"ratio of two mixtures of 4 Gaussians, {LEADING} directions": gaussians(k, LEADING, 4),
        "linear discriminant, 64 directions": lda(k),
        "**half the background, tilted by the discriminant (ships)**": tilt(k, LEADING, BANDWIDTH),
        "the same without 5 directions of cameras": without_cameras(k, LEADING, BANDWIDTH),
        "surprise, ratio and discriminant, fused by calibrated p-values": fused(k, LEADING, BANDWIDTH),
    }


def brief(k: Known) -> dict[str, Score]:
    """What is asked of every network."""
    return {
        "ratio": ratio(k, LEADING, BANDWIDTH),
        "discriminant": lda(k),
        "tilted": tilt(k, LEADING, BANDWIDTH),
    }


def choices(k: Known) -> dict[str, Score]:
    return {f"{leading}, {bandwidth:g}": tilt(k, leading, bandwidth) for leading, bandwidth in CHOICES}


def absolute(k: Known) -> dict[str, Score]:
    return {"surprise, 64 directions": surprise(k, 0, 2.0), "surprise, 16 directions": surprise(k, 16, 1.0)}


def table(
    folds: Mapping[str, Callable[[], Iterable[Fold]]], family: Family, setting: Setting
) -> dict[str, dict[str, Outcome]]:
    """Protocol -> method -> outcome."""
    return {name: outcomes(make(), family, setting) for name, make in folds.items()}


def protocols(clips: Sequence[Clip]) -> dict[str, Callable[[], Iterable[Fold]]]:
    return {
        "B": lambda: unseen_camera(clips),
        "B'": lambda: unseen_rig(clips),
        "A": lambda: same_rig(clips, other_taught=True),
    }


def row(name: str, found: dict[str, Outcome]) -> str:
    """A line of a markdown table: B with its interval and worst drive, B', A."""
    b = found["B"]
    low, high = b.interval()
    more = " | ".join(f"{found[p].auroc:.3f}" if p in found else "" for p in ("B'", "A"))
    return f"| {name} | {b.auroc:.3f} ({low:.2f} to {high:.2f}) | {b.worst[1]:.2f} {b.worst[0]} | {more} |"


HEAD = "| idea | B: unseen camera (95 %) | worst drive | B': unseen rig | A with other drives |\n|---|---|---|---|---|"


def rows(found: dict[str, dict[str, Outcome]], prefix: str = "") -> list[str]:
    names = next(iter(found.values()))
    return [row(prefix + name, {p: by_name[name] for p, by_name in found.items()}) for name in names]


def shipped_lines(name: str, clips: Sequence[Clip]) -> list[str]:
    """A, B and C of an encoder with the background that it ships with, tested on drives that are not in it."""
    background = shipped_background(name)
    layout = layout_of(background)
    features = pool(clips, layout, most=10**6)
    setting = Setting(background.projection)
    world = Side(background.density.support, np.exp(background.density.log_weights))

    def with_others(k: Known) -> dict[str, Score]:
        return brief(replace(k, shipped=world))

    def with_world(k: Known) -> dict[str, Score]:
        against = {"ratio to the shipped background": ratio(replace(k, shipped=world), LEADING, BANDWIDTH)}
        return (
            absolute(k)
            | against
            | {
                "tilted by the shipped background": tilt(replace(k, other=world), LEADING, BANDWIDTH),
                "tilted by the shipped background, 64 directions": tilt_by(k, world, 0, 2.0),
            }
        )

    lines = []
    for taught, family, make in (
        ("normal drives alone", with_world, alone),
        ("with other drives", with_others, iter),
    ):
        found = {
            p: outcomes(make(unshipped(folds(), clips)), family, setting)
            for p, folds in protocols(features).items()
        }
        lines += rows(found, f"{name}, {taught}: ")
    own = pool(clips, layout)
    found = {
        p: outcomes(unshipped(folds(), clips), only_tilted, Setting()) for p, folds in protocols(own).items()
    }
    lines += rows(found, f"{name}, with other drives, axes of their own: ")
    for cameras in (False, True):
        c = outcomes(alone(unshipped(onboarded(features, with_cameras=cameras), clips)), absolute, setting)
        for method, outcome in c.items():
            low, high = outcome.interval()
            lines.append(
                f"| {name}, C {'with the other cameras' if cameras else 'onboarded alone'}: {method} | "
                f"{outcome.auroc:.4f} ({low:.3f} to {high:.3f}) | {outcome.worst[1]:.3f} {outcome.worst[0]} | | |"
            )
    return lines


def ideas(suite: dict[str, list[Clip]]) -> list[str]:
    """Every idea on the features of the large encoder, whose background is learnt in each fold."""
    plain = pool(suite["road-large"], 0.0)
    narrow = table(protocols(plain), lambda k: {"64": surprise(k, 0, 2.0)}, Setting(narrow=True))
    lines = rows(
        {
            p: {"surprise, whitened by the normal drives alone, 64 directions": o["64"]}
            for p, o in narrow.items()
        }
    )
    lines += rows(table(protocols(plain), densities, Setting()))
    variants = {
        f"layout: thirds of three rows, weight {layout:g}": pool(suite["road-large"], layout)
        for layout in (0.25, 0.5)
    }
    variants["harmonised: one resolution, one JPEG quality"] = pool(suite["road-large, harmonised"], 0.0)
    for name, clips in variants.items():
        lines += rows(table(protocols(clips), only_tilted, Setting()), f"{name}: ")
    weathered = pool(suite["road-large, weathered"], 0.0)
    augmented = {p: partial(with_weather, make, weathered) for p, make in protocols(plain).items()}
    lines += rows(table(augmented, only_tilted, Setting()), "taught weather and faults too: ")
    smooth = Setting(smoothing_s=SMOOTHING_S)
    return lines + rows(
        table(protocols(plain), only_tilted, smooth), f"scores averaged over {SMOOTHING_S:g} s: "
    )


def camera_lines(suite: dict[str, list[Clip]]) -> list[str]:
    """Protocol C on the encoders that ship, by whom a frame is asked of."""
    lines = ["| encoder | asked of | C (95 %) | worst drive |", "|---|---|---|---|"]
    for name in ("road", "road-large"):
        background = shipped_background(name)
        clips = pool(suite[name], layout_of(background), most=10**6)
        for way, outcome in among_many(clips, Setting(background.projection)).items():
            low, high = outcome.interval()
            drive, worst = outcome.worst
            lines.append(
                f"| {name} | {way} | {outcome.auroc:.3f} ({low:.2f} to {high:.2f}) | {worst:.2f} {drive} |"
            )
    return lines


def shipped_background(name: str) -> Background:
    background = open_encoder(name)[2]
    assert background is not None
    return background


def layout_of(background: Background) -> float:
    """The weight of the layout in what ships: none where it pools to one number per channel."""
    return 0.25 if background.pooling.shape[1] > 1 else 0.0


def only_tilted(k: Known) -> dict[str, Score]:
    return {"tilted": tilt(k, LEADING, BANDWIDTH)}


def chosen_lines(clips: Sequence[Clip]) -> list[str]:
    """How many directions and which bandwidth, by the nested protocol."""
    candidates = outcomes(unseen_camera(clips), choices, Setting())
    mean, worst, chosen = nested(candidates)
    lines = ["| directions, bandwidth | B | worst drive | chosen |", "|---|---|---|---|"]
    for name, outcome in candidates.items():
        share = chosen[name] / HALVINGS
        lines.append(
            f"| {name} | {outcome.auroc:.3f} | {outcome.worst[1]:.2f} {outcome.worst[0]} | {share:.0%} |"
        )
    lines.append("")
    lines.append(
        f"Chosen on half of the drives of both kinds and reported on the other half, {HALVINGS} times: mean {mean:.3f}, worst drive of a "
        f"half {worst:.2f} on average."
    )
    return lines


def per_drive(outcome: Outcome) -> list[str]:
    lines = ["| highway | mean AUROC |", "|---|---|"]
    return lines + [
        f"| {d} | {v:.3f} |" for d, v in sorted(outcome.per_drive.items(), key=lambda item: item[1])
    ]


def write(suite: dict[str, list[Clip]], say: Callable[[str], None]) -> str:
    """The whole document."""
    say("ideas")
    parts = [
        "# What each idea brought",
        INTRODUCTION,
        HEAD,
        *ideas(suite),
        "",
        "## Networks and resolutions",
        HEAD,
    ]
    for name in suite:
        if "," not in name or "×" in name:
            say(name)
            found = table(protocols(pool(suite[name], 0.0)), brief, Setting())
            parts += rows(found, f"{name}: ")
    say("choices")
    large = pool(suite["road-large"], 0.0)
    parts += ["", "## Directions and bandwidth", *chosen_lines(large)]
    say("what ships")
    parts += ["", "## With the background that ships", SHIPS, HEAD]
    for name in ("road", "road-large"):
        parts += shipped_lines(name, suite[name])
    say("cameras")
    parts += ["", "## One camera among many", CAMERAS, *camera_lines(suite)]
    best = outcomes(unseen_camera(large), only_tilted, Setting())["tilted"]
    parts += ["", "## Highway by highway", PER_DRIVE, *per_drive(best)]
    parts += ["", "## What was missed", MISSED.rstrip(), ""]
    return "\n".join(parts)
