"""``sightline fit``: from minutes of footage to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engines.bundle import check_target
from engines.console import console
from engines.encoders import DEFAULT, open_encoder
from engines.footage import find_drives
from engines.regions import regions_from_text
from training.fit import DensityKind
from training.teach import Lesson, teach, tell


def fit_command(
    normal: Annotated[
        list[Path],
        typer.Option(help="Footage of normal driving: a video, a folder of images, or a folder of such."),
    ],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    other: Annotated[
        list[Path] | None,
        typer.Option(help="Footage of anything else: widens the background, never taught as normal."),
    ] = None,
    encoder: Annotated[str, typer.Option(help="A shipped encoder or an ONNX file.")] = DEFAULT,
    density: Annotated[DensityKind, typer.Option(help="What stands on the latent.")] = DensityKind.KDE,
    budget: Annotated[
        float | None,
        typer.Option(
            min=1e-6, help="False alarms per hour to allow; by default the least the footage supports."
        ),
    ] = None,
    own_projection: Annotated[
        bool | None,
        typer.Option(
            "--own-projection/--shipped-projection",
            help="Whiten by the footage's own principal axes, or by the encoder's background; by default the former where "
            "five drives or more of either kind are given.",
        ),
    ] = None,
    relative: Annotated[
        bool | None,
        typer.Option(
            "--relative/--absolute",
            help="Score against the density of --other footage, or else of the world at large that ships with the encoder (for "
            "many drives of one rig; see docs/results.md); by default only with --other.",
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Frames per second to learn from.")] = 10.0,
    fps: Annotated[
        float | None, typer.Option(min=0.1, help="Images per second of folders of images (10 if not given).")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            help="Region to hide from the encoder and from all who watch with the bundle: left,top,right,bottom or x,y of "
            "three corners or more, in shares of the picture such as 0,0.85,1,1 for a bonnet.",
            metavar="REGION",
        ),
    ] = None,
) -> None:
    """Teach a bundle from footage of normal driving.

    Needs no GPU, no torch and no network. Example:

        sightline fit --normal drives/ --out highway.bundle
    """
    check_target(out)
    ignored = regions_from_text("--ignore", ignore or [])
    opened = open_encoder(encoder)
    lesson = Lesson(density, relative, own_projection, budget, rate, fps, ignored=ignored)
    bundle, _ = teach(out, opened, find_drives(normal), find_drives(other) if other else [], lesson)
    tell(console(), bundle)
