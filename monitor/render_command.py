"""``sightline render``: footage that any machine can make, with known events in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from engines.console import progress
from engines.errors import InputError
from engines.frames import Image
from engines.rendered import (
    NORMAL,
    Drive,
    Script,
    Segment,
    check,
    demo_script,
    duration_s,
    planted,
    write_video,
)
from engines.rendered import render as rendered
from engines.whole_file import write_whole


class Stretch(msgspec.Struct, omit_defaults=True):
    """One segment of the script as the truth file tells it; times in media seconds."""

    scene: str
    start_s: float
    end_s: float
    fault: str = ""
    severity: int = 0


class TruthEvent(msgspec.Struct):
    """One planted event: what a monitor taught ``normal`` scenery has to find."""

    kind: str
    mode: str
    start_s: float
    end_s: float


class Truth(msgspec.Struct):
    """What is in a rendered video."""

    video: str
    seed: int
    fps: float
    seconds: float
    normal: str
    events: list[TruthEvent]
    segments: list[Stretch]


def render(
    out: Annotated[Path, typer.Option(help="The video to write: .mp4, .mkv or .mov.", metavar="FILE.mp4")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another drive.")] = 0,
    seconds: Annotated[float, typer.Option(help="How long; not with --demo.")] = 60.0,
    scene: Annotated[str, typer.Option(help="highway, city, tunnel, night or rural.")] = NORMAL,
    demo: Annotated[bool, typer.Option("--demo", help="The drive of the demonstration.")] = False,
    size: Annotated[str, typer.Option(help="Width and height in pixels.")] = "640x360",
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 15.0,
    fault: Annotated[str, typer.Option(help="A camera fault in the middle third.", metavar="MODE")] = "",
    severity: Annotated[int, typer.Option(help="Of the fault, from 1 to 5.")] = 3,
) -> None:
    """Render the synthetic drive as a video.

    With --demo or --fault, FILE.truth.json beside the video says what happens in it, and when.

    Example: sightline render --out drive.mp4 --demo --seed 7
    """
    script = demo_script() if demo else single_script(scene, seconds, fault, severity)
    check(script)
    width, height = parse_size(size)
    drive = Drive(script, seed, (width, height), fps)
    with progress(f"rendering {out.name}", len(drive)) as advance:

        def frames() -> Iterator[Image]:
            for _, _, image in rendered(script, seed, (width, height), fps):
                yield image
                advance()

        count = write_video(out, frames(), fps)
    typer.echo(f"{out}: {count} frames, {count / fps:.1f} s, {width}x{height}, seed {seed}")
    if demo or fault:
        truth = out.with_suffix(".truth.json")
        write_truth(truth, describe(script, out.name, seed, fps))
        typer.echo(f"{truth}: {len(planted(script))} planted events")


def single_script(scene: str, seconds: float, fault: str, severity: int) -> Script:
    """Return the script of one scene, with the fault, if one is named, in its middle third."""
    if not fault:
        return (Segment(scene, seconds),)
    third = seconds / 3
    return Segment(scene, third), Segment(scene, third, fault, severity), Segment(scene, third)


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) of a size such as 640x360; raise InputError for anything else."""
    match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text.strip().lower())
    if match is None:
        raise InputError("--size", f"must be WIDTHxHEIGHT, such as 640x360, not {text!r}")
    return int(match[1]), int(match[2])


def describe(script: Script, video: str, seed: int, fps: float) -> Truth:
    """Return what is in the video of a script."""
    stretches, start = [], 0.0
    for segment in script:
        end = start + segment.seconds
        severity = segment.severity if segment.fault else 0
        stretches.append(Stretch(segment.scene, start, end, segment.fault, severity))
        start = end
    events = [TruthEvent(*event) for event in planted(script)]
    return Truth(video, seed, fps, duration_s(script), NORMAL, events, stretches)


def write_truth(path: Path, truth: Truth) -> None:
    """Write the truth as JSON, whole or not at all; raise OutputError where it cannot be written."""
    data = msgspec.json.format(msgspec.json.encode(truth), indent=2) + b"\n"
    write_whole(path, data, "choose another folder")
