"""``sightline verify``: is a bundle whole, and are its engines equal to the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engines.bundle import Bundle, open_bundle
from engines.cache import Report
from engines.console import console
from engines.engine import Precision
from engines.errors import EngineError
from engines.opening import Wanted, load, verified, wanted
from engines.proof.verify import Reference, reference_of
from engines.results import write_json
from engines.whole_file import check_outputs


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle to check.")],
    backend: Annotated[str | None, typer.Option(help="Check this backend alone.")] = None,
    precision: Annotated[Precision | None, typer.Option(help="Check this precision alone.")] = None,
    every: Annotated[
        bool, typer.Option("--every", help="Also compile what has not been compiled yet: minutes for int8.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Write the comparisons as JSON.")] = None,
) -> None:
    """Prove a bundle whole and its engines equal to the float64 reference.

    Checks every backend that is installed: in fp32, and in each precision that was compiled. Remembers the outcome:
    run and replay load no engine that failed. Ends with 0 if every comparison passes, with 5 if one fails. Example:

        sightline verify highway.bundle --backend openvino
    """
    check_outputs(json, reads=[bundle])
    opened = open_bundle(bundle)
    say = console()
    say.print(f"{len(opened.manifest.files)} files have the sha256 that bundle.json states")
    engines = wanted(opened, backend, precision, every=every)
    reference = reference_of(opened)
    reports = []
    for one in engines:
        try:
            reports.append(_verify(opened, one, reference, say))
        except EngineError as error:
            if backend is not None and not every:
                raise
            say.print(f"[yellow]left out[/] {one.backend.name} {one.precision}: {error}")
    say.print(_table(opened, reports))
    for report in reports:
        if backend is not None or not report.passed:
            say.print(_details(report))
    write_json(json, {"bundle": opened.sha256, "engines": [_plain(report) for report in reports]})
    failed = [f"{r.backend} {r.precision} ({r.failed})" for r in reports if not r.passed]
    if failed:
        raise EngineError(
            bundle, f"must equal the reference, fails: {'; '.join(failed)}", "do not use what fails"
        )


def _verify(bundle: Bundle, one: Wanted, reference: Reference, say: Console) -> Report:
    opened = load(bundle, one.backend, one.precision, say.print)
    try:
        return verified(bundle, opened, say.print, reference)
    finally:
        opened.engine.close()


def _table(bundle: Bundle, reports: list[Report]) -> Table:
    """One row an engine."""
    columns = {
        "surprise": "density |Δ| nats",
        "domain rank correlation": "rank",
        "alerts of the probe clips": "alerts",
    }
    table = Table(title=f"{bundle.manifest.name}: engines against the float64 reference")
    table.add_column("engine")
    for heading in columns.values():
        table.add_column(heading, justify="right")
    table.add_column("")
    for report in reports:
        checks = {check.name: check for check in report.checks}
        row = [checks[name].found if name in checks else "" for name in columns]
        row[-1] = "the same" if checks["alerts of the probe clips"].passed else "others"
        table.add_row(f"{report.backend} {report.precision}", *row, _word(report.passed))
    return table


def _details(report: Report) -> Table:
    """One row a comparison."""
    table = Table(title=f"{report.backend} {report.precision}")
    for heading in ("comparison", "found", "limit", ""):
        table.add_column(heading, justify="left" if heading in {"comparison", ""} else "right")
    for check in report.checks:
        table.add_row(check.name, check.found, check.limit, _word(check.passed))
    return table


def _word(passed: bool) -> str:
    return "[green]pass[/]" if passed else "[bold red]FAIL[/]"


def _plain(report: Report) -> dict[str, object]:
    return {
        "backend": report.backend,
        "precision": report.precision,
        "passed": report.passed,
        "checks": report.checks,
    }
