"""``sightline evaluate``: how good a bundle is, judged by drives it was not taught on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from engines.bundle import open_bundle
from engines.console import console
from engines.errors import InputError
from engines.faults import FAULTS
from engines.whole_file import check_outputs
from monitor.evaluation.cases import Case, checked, from_manifest, from_mvtec, from_paths
from monitor.evaluation.evaluate import Evaluated, FaultPlan, evaluate
from monitor.evaluation.faults import check_modes
from monitor.evaluation.tell import tell
from monitor.output import whole_file


def evaluate_command(
    bundle: Annotated[Path, typer.Argument(help="The bundle to judge.")],
    normal: Annotated[
        list[Path] | None, typer.Option(help="Normal drives; DATASET=PATH says where they come from.")
    ] = None,
    anomalous: Annotated[
        list[Path] | None, typer.Option(help="Drives outside the domain from their first frame on.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Instead: a CSV with path, label, drive, split (and perhaps dataset, ordered)."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only the manifest's rows of this split.")] = None,
    normal_label: Annotated[
        list[str] | None, typer.Option(help="Labels of a manifest that are normal (highway, normal, good).")
    ] = None,
    mvtec: Annotated[
        Path | None, typer.Option(help="Instead: a category of MVTec AD, with test/good and test/DEFECT.")
    ] = None,
    stills: Annotated[
        bool, typer.Option("--stills", help="Every picture stands alone: no order, no events.")
    ] = False,
    faults: Annotated[
        bool, typer.Option("--faults", help="Also break the camera on normal drives, in every known way.")
    ] = False,
    fault_severities: Annotated[str, typer.Option(help="Severities to try, 1 to 5.")] = "3,5",
    fault_modes: Annotated[str, typer.Option(help="Modes to try; all of them if not given.")] = "",
    fault_drives: Annotated[int, typer.Option(min=1, help="Normal drives to try them on, at most.")] = 4,
    json: Annotated[Path | None, typer.Option(help="Write every figure as JSON.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML report that opens without a network.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(min=0.1, help="Images per second of folders of images (10 if not given).")
    ] = None,
) -> None:
    """Judge a bundle by drives of both kinds, as honestly as the footage allows.

    Every drive is watched as in life; one that the bundle was taught on is scored as though it had not been.
    Beside every figure stands what it must beat. Example:

        sightline evaluate highway.bundle --normal drives/ --anomalous cities/ --report evaluation.html
    """
    check_outputs(json, report)
    opened = open_bundle(bundle)
    plan = _plan(fault_modes, fault_severities, fault_drives) if faults else None
    cases, notes = _cases(normal, anomalous, manifest, split, normal_label, mvtec, stills)
    reads = [bundle, *(file for case in cases for file in case.drive.reads), *filter(None, [manifest])]
    check_outputs(json, report, reads=reads)
    command = " ".join(["sightline", *sys.argv[1:]])
    evaluated = evaluate(opened, cases, command=command, faults=plan, images_per_second=fps, notes=notes)
    say = console()
    tell(say, evaluated.result)
    if json is not None:
        with whole_file(json) as file:
            file.write(msgspec.json.format(msgspec.json.encode(evaluated.result), indent=2).decode() + "\n")
        say.print(f"[bold]wrote[/]     {json}")
    if report is not None:
        _report(report, evaluated)
        say.print(f"[bold]report[/]    {report}")


def _plan(modes: str, severities: str, drives: int) -> FaultPlan:
    chosen = tuple(word.strip() for word in modes.split(",") if word.strip()) or tuple(FAULTS)
    try:
        levels = tuple(sorted({int(word) for word in severities.split(",")}))
    except ValueError:
        raise InputError(
            "--fault-severities", f"must be numbers such as 3,5, got {severities}", "correct them"
        ) from None
    check_modes(chosen, levels)
    return FaultPlan(chosen, levels, drives)


def _cases(
    normal: list[Path] | None,
    anomalous: list[Path] | None,
    manifest: Path | None,
    split: str | None,
    normal_label: list[str] | None,
    mvtec: Path | None,
    stills: bool,
) -> tuple[list[Case], tuple[str, ...]]:
    given = [bool(normal or anomalous), manifest is not None, mvtec is not None]
    if sum(given) != 1:
        raise InputError(
            "evaluate",
            f"must be given drives in one way, got {sum(given)}",
            "use --normal and --anomalous, or --manifest, or --mvtec",
        )
    notes: tuple[str, ...] = ()
    if manifest is not None:
        cases, notes = from_manifest(manifest, split, tuple(normal_label or ("highway", "normal", "good")))
    elif mvtec is not None:
        cases = from_mvtec(mvtec)
    else:
        cases = from_paths(normal or (), anomalous or (), stills=stills)
    cases, more = checked(cases)
    return cases, notes + more


def _report(path: Path, evaluated: Evaluated) -> None:
    from monitor.evaluation.report import write_report  # plotly takes a third of a second to load

    write_report(path, evaluated)
