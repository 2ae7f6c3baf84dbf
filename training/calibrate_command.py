"""``sightline calibrate``: a bundle for a new camera, from minutes of its footage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from engines import __version__
from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import Bundle, Manifest, Onboarding, check_target, open_bundle, write_bundle
from engines.console import console
from engines.decision import units
from engines.density import Floats
from engines.errors import InputError, OutputError
from engines.footage import Drive, find_drives, fingerprint
from engines.graph import encoder_of, fuse, load_graph
from engines.normal import joined
from engines.regions import NOWHERE, Regions, regions_from_text
from engines.scores import pooled
from training.alarms import Tally
from training.encode import Encoded, encode, pictured, sampled_moments
from training.onboard import Onboarded, Strange, onboard
from training.teach import probed, taught_drives


@dataclass(frozen=True, slots=True)
class Footing:
    """How to move a bundle. rate: frames per second to learn from. images_per_second: at which folders of images are
    played, None for ``engines.footage``'s. ignored: regions of this camera, beside those that the bundle was taught with.
    The rest is as in ``training.onboard.onboard``."""

    shift: bool = True
    leave_out: bool = False
    budget_per_hour: float | None = None
    rate: float = 10.0
    images_per_second: float | None = None
    ignored: Regions = NOWHERE


def calibrate_command(
    bundle: Annotated[Path, typer.Argument(help="The bundle to move; it stays as it is.")],
    normal: Annotated[
        list[Path],
        typer.Option(help="Normal driving with the new camera: a video, a folder of images or of such."),
    ],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    budget: Annotated[
        float | None,
        typer.Option(
            min=1e-6, help="False alarms per hour to allow; by default the least the footage supports."
        ),
    ] = None,
    shift: Annotated[
        bool,
        typer.Option(
            "--shift/--no-shift",
            help="Move the camera's mean towards the taught one, as far as held-out parts gain by it.",
        ),
    ] = True,
    exclude_strange: Annotated[
        bool,
        typer.Option(
            "--exclude-strange", help="Learn nothing from parts that stand as far above the rest as an alarm."
        ),
    ] = False,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Frames per second to learn from.")] = 10.0,
    fps: Annotated[
        float | None, typer.Option(min=0.1, help="Images per second of folders of images (10 if not given).")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            help="Region of this camera to ignore beside those that the bundle was taught with; as for fit.",
            metavar="REGION",
        ),
    ] = None,
) -> None:
    """Move a bundle's calibration to a new camera, from minutes of its footage.

    The encoder and what was taught stay; thresholds, typical levels and the mean of the latent move. Example:

        sightline calibrate highway.bundle --normal rear-camera/ --out rear.bundle
    """
    parent = open_bundle(bundle)
    ignored = regions_from_text("--ignore", ignore or [])
    footing = Footing(shift, exclude_strange, budget, rate, fps, ignored)
    moved, found = calibrate_bundle(out, parent, find_drives(normal), footing)
    tell(console(), parent, moved, found)


def calibrate_bundle(
    out: Path, parent: Bundle, camera: Sequence[Drive], footing: Footing
) -> tuple[Bundle, Onboarded]:
    """Write ``out``: ``parent`` moved to the camera that recorded these drives.

    The camera's pictures join those of taught drives in ``normal/``, in the place of an earlier camera's."""
    _check(out, parent, camera)
    density, model = parent.density, load_graph(parent.model_path)
    engine = OnnxRuntimeEngine(parent.model_path)

    def latent(late: NDArray[np.float32]) -> Floats:
        return density.projection.latent(pooled(late, density.pooling))

    ignored = parent.ignored.joined(footing.ignored)
    encoded = encode(
        camera, engine, latent, 1.0 / footing.rate, "reading footage", images_per_second=footing.images_per_second,
        ignored=ignored,
    )  # fmt: skip
    first = len(parent.manifest.drives) + len(parent.manifest.others)
    found = onboard(
        density,
        parent.calibration,
        encoded,
        first_drive=first,
        shift=footing.shift,
        leave_out=footing.leave_out,
        budget_per_hour=footing.budget_per_hour,
    )
    manifest = msgspec.structs.replace(_manifest(out, parent, camera, encoded, found), ignored=ignored.shapes)
    probes = probed(encoded, engine, found.density)
    pictures = {
        name.removeprefix("normal/"): (parent.path / name).read_bytes()
        for name in parent.manifest.files
        if name.startswith("normal/") and int(Path(name).stem.partition("_")[0]) < first
    }
    moments = parent.moments()
    if moments is not None:
        # The camera moves towards what was taught, which stays where it is.
        moved = sampled_moments(encoded, lambda latent: latent - found.shift, first)
        moments = joined([moments.of(pictures), moved])
    pictures |= pictured(encoded, first)
    fused = fuse(encoder_of(model), found.density).SerializeToString()
    return write_bundle(out, manifest, found.density, fused, probes, pictures, moments), found


def _check(out: Path, parent: Bundle, camera: Sequence[Drive]) -> None:
    if parent.path.resolve() in (out.resolve(), *out.resolve().parents):
        raise OutputError(
            out, "must be another name than the bundle's, which stays as it is", "choose another --out"
        )
    check_target(out)
    taught = {d.fingerprint: d.name for d in (*parent.manifest.drives, *parent.manifest.others)}
    for drive in camera:
        known = taught.get(fingerprint(drive))
        if known is not None:
            raise InputError(
                drive.path, f"must be new to the bundle, which was taught on it as {known}",
                "give footage that the new camera recorded since",
            )  # fmt: skip


def _manifest(
    out: Path, parent: Bundle, camera: Sequence[Drive], encoded: Sequence[Encoded], found: Onboarded
) -> Manifest:
    names = [e.name for e in encoded]
    length = float(np.linalg.norm(found.shift))
    step = Onboarding(
        parent=parent.manifest.name,
        parent_sha256=parent.sha256,
        parent_created=parent.manifest.created,
        moved=("thresholds", "typical levels", *(["latent mean"] if length else [])),
        shift=round(length, 6),
        drives=taught_drives(camera, encoded),
        left_out=tuple(_part(s, names) for s in found.left_out),
    )
    damaged = tuple(f"{e.name}: {note}" for e in encoded for note in e.notes)
    return msgspec.structs.replace(
        parent.manifest,
        name=out.stem,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        calibration=found.calibration,
        notes=(*parent.manifest.notes, *damaged, *_doubts(parent, names, found)),
        lineage=(*parent.manifest.lineage, step),
    )


def _part(part: Strange, names: Sequence[str]) -> str:
    return f"{names[part.drive]}, {part.start_s:.1f} to {part.end_s:.1f} s"


def _doubts(parent: Bundle, names: Sequence[str], found: Onboarded) -> tuple[str, ...]:
    """What in the footage may not be normal driving."""
    doubts = [
        f"{_part(part, names)}: as far above the rest of this footage as an alarm; if that is not normal driving with "
        "a sound camera, calibrate with --exclude-strange or cut it out"
        for part in found.strange
    ]
    old, new = parent.calibration.channel("domain"), found.calibration.channel("domain")
    if new.typical > old.threshold:
        unit = units(parent.density.normal)["domain"]
        doubts.append(
            f"all of this footage is stranger than what raised an alarm before (domain {new.typical:.1f} against "
            f"{old.threshold:.1f} {unit}): another kind of scene, or a covered camera? Look at the pictures in normal/"
        )
    return tuple(doubts)


def tell(say: Console, parent: Bundle, bundle: Bundle, found: Onboarded) -> None:
    """Say what moved, how many false alarms that takes away, and what it promises."""
    step, calibration = bundle.manifest.lineage[-1], bundle.calibration
    frames, minutes = sum(d.frames for d in step.drives), sum(d.seconds for d in step.drives) / 60
    drives, taught = (
        f"{len(of)} drive" + "s" * (len(of) != 1) for of in (step.drives, bundle.manifest.drives)
    )
    say.print(f"[bold]read[/]     {frames} frames, {minutes:.1f} min in {drives} of the new camera")
    say.print(f"         for {step.parent} ({step.parent_sha256[:12]}), taught on {taught}")
    for part in step.left_out:
        say.print(f"         left out: {part}")
    towards = f"the latent's mean by {step.shift:.1f} standard deviations" if step.shift else "not the latent"
    say.print(f"[bold]moved[/]    thresholds, typical levels, {towards}")
    known = {channel.name: channel for channel in parent.calibration.channels}
    for new in calibration.channels:
        old, unit = known.get(new.name, new), units(bundle.density.normal)[new.name]
        say.print(
            f"         {new.name:<10} typically {old.typical:.2f} → {new.typical:.2f}, "
            f"alarm above {old.threshold:.2f} → {new.threshold:.2f} {unit}"
        )
    say.print(
        f"[bold]checked[/]  on {calibration.units} held-out {calibration.unit}s of {calibration.unit_s:.0f} s on average, "
        "each moved and judged by what the others taught"
    )
    say.print(f"         false alarms before {_told(found.before)}")
    say.print(f"         false alarms after  {_told(found.after)}")
    say.print(
        f"[bold]budget[/]   this footage supports {calibration.false_alarms_per_hour:.3g} false alarms per hour of driving like it"
    )
    for note in bundle.manifest.notes[len(parent.manifest.notes) :]:
        say.print(f"[yellow]note[/]     {note}")
    say.print(f"[bold]wrote[/]    {bundle.path} ({bundle.sha256[:12]})")


def _told(tally: Tally) -> str:
    low, high = tally.interval
    return (
        f"{tally.alarms} in {tally.seconds / 60:.1f} min: {tally.per_hour:.3g} per hour (95 %: {low:.3g} to {high:.3g}), "
        f"in alarm {tally.share:.0%} of the time"
    )
