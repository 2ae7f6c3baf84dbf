"""``sightline wrap``: bring your own model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engines.adapt import Higher, Kind
from engines.bundle import check_target
from engines.console import console
from engines.footage import find_drives
from engines.pixels import Layout
from engines.regions import regions_from_text
from training.fit import DensityKind
from training.teach import Lesson, tell
from training.wrap import Wrapped, teach_wrapped, wrap


def wrap_command(
    model: Annotated[Path, typer.Argument(help="An ONNX file with one input, the picture.")],
    normal: Annotated[
        list[Path],
        typer.Option(help="Footage of normal driving: a video, a folder of images, or a folder of such."),
    ],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    other: Annotated[
        list[Path] | None,
        typer.Option(help="Footage of anything else: widens the background of an embedding's density."),
    ] = None,
    layout: Annotated[Layout | None, typer.Option(help="Axes of the model's input.")] = None,
    size: Annotated[str | None, typer.Option(help="Height x width of the model's input: 256x256.")] = None,
    bgr: Annotated[
        bool | None, typer.Option("--bgr/--rgb", help="Which colour the model wants first.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="What pixels of 0 to 255 are multiplied by, first: 1/255.")
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="What is subtracted then: 0, or 0.485,0.456,0.406 in the model's order."),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(help="What is divided by last: 1, or 0.229,0.224,0.225 in the model's order."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(help="The tensor to read, an output or any other; needed if there are several."),
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            "--as", help="What it is. A probability is a score between 0 and 1; its log odds are taken."
        ),
    ] = None,
    higher_is: Annotated[Higher | None, typer.Option(help="What a higher score means.")] = None,
    heat: Annotated[str | None, typer.Option(help="A tensor N×h×w that maps where it is strange.")] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, max=3, help="The axis of an embedding's features, if it is not 1.")
    ] = None,
    density: Annotated[
        DensityKind, typer.Option(help="What stands on an embedding; a score stands for itself.")
    ] = DensityKind.KDE,
    budget: Annotated[
        float | None,
        typer.Option(
            min=1e-6, help="False alarms per hour to allow; by default the least the footage supports."
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Frames per second to learn from.")] = 10.0,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="Region to hide from the network and all who watch; as for fit.", metavar="REGION"),
    ] = None,
) -> None:
    """Make a bundle of any ONNX image network that gives an embedding or an anomaly score.

    How it wants its pictures is stated by flags or read from its metadata (keys sightline.layout and so on, or the ONNX
    standard's Image.*), never guessed. Example, a PatchCore exported by anomalib:

        sightline wrap patchcore.onnx --normal drives/ --out patchcore.bundle --rgb --scale 1/255 --mean 0 --std 1
        --output pred_score --as score --higher-is stranger --heat anomaly_map
    """
    check_target(out)
    ignored = regions_from_text("--ignore", ignore or [])
    said = {
        "layout": layout, "size": size, "order": None if bgr is None else "bgr" if bgr else "rgb", "scale": scale,
        "mean": mean, "std": std, "output": output, "as": kind, "higher-is": higher_is, "heat": heat,
        "channels": channels,
    }  # fmt: skip
    flags = {name: str(value) for name, value in said.items() if value is not None}
    drives, beside = find_drives(normal), find_drives(other) if other else []
    wrapped = wrap(model, flags, drives)
    say = console()
    say.print(f"[bold]wrapped[/]  {_described(model, wrapped)}")
    lesson = Lesson(density, budget_per_hour=budget, rate=rate, ignored=ignored)
    bundle, warnings = teach_wrapped(out, wrapped, drives, beside, lesson)
    tell(say, bundle)
    for warning in warnings:
        say.print(f"[yellow]note[/]     {warning}")


def _described(model: Path, wrapped: Wrapped) -> str:
    answer = wrapped.answer
    meaning = "" if answer.kind == Kind.EMBEDDING else f", higher is {answer.higher}"
    batch = "any number of frames at once" if wrapped.batch is None else f"{wrapped.batch} at a time"
    return f"{model.name}: {wrapped.pixels}; {answer.output} is its {answer.kind}{meaning}; {batch}"
