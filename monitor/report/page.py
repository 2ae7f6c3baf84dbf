"""The page of every report: one HTML file that opens anywhere, with no network, whole or absent."""

from __future__ import annotations

import base64
import hashlib
import os
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from plotly.offline import get_plotlyjs

from engines.errors import OutputError
from monitor.report.chart import PALETTE

MARK = (
    '<svg viewBox="0 0 32 32" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="2">'
    '<path d="M2 16c4-7 9-10 14-10s10 3 14 10c-4 7-9 10-14 10S6 23 2 16z"/><path d="M2 16h8m12 0h8"/>'
    '<circle cx="16" cy="16" r="5" fill="currentColor" stroke="none"/></svg>'
)


def write_page(path: Path | str, page: str) -> None:
    """Write ``page`` as one file; it appears whole or not at all. Raises OutputError."""
    path = Path(path)
    # Names of files that are no valid UTF-8 reach Python as lone surrogates, which no page can hold.
    data = page.encode("utf-8", "replace")
    part = path.parent / f".report-{os.getpid()}.part"
    try:
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            path,
            f"must be a file that can be written in a folder that exists, got {error.strerror or error}",
            "name another file for the report",
        ) from error


def page(title: str, version: str, body: str) -> str:
    """Return the whole page. Its content policy forbids every request, and every script but its own two."""
    here = files("monitor.report")
    plotly = get_plotlyjs().replace("\r\n", "\n")
    script = (here / "report.js").read_text("utf-8")
    allowed = " ".join(f"'sha256-{_digest(text)}'" for text in (plotly, script))
    return Template((here / "report.html.in").read_text("utf-8")).substitute(
        policy=f"default-src 'none'; img-src data: blob:; media-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'",
        version=escape(version),
        title=escape(title),
        light="; ".join(f"--{name}: {light}" for name, (light, _) in PALETTE.items()),
        dark="; ".join(f"--{name}: {dark}" for name, (_, dark) in PALETTE.items()),
        swap="{" + ", ".join(f'"{light}": "{dark}"' for light, dark in PALETTE.values()) + "}",
        plotly=plotly,
        script=script,
        body=body,
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
