"""Which rows win, whether what was to be reached was, and what ships: every word follows from the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engines.encoders import DEFAULT
from training.leaderboard.figures import Bottle, Cost, Entry, Figure

COLUMNS = {"A": "A", "A+": "A with other", "B": "B", "B'": "B'", "C": "C", "C+": "C with other cameras"}
ALONE, WITH_OTHER = "kde", "kde, tilted"
"""Densities that ``fit`` takes without and with other footage."""
MOST_GFLOP = 0.15
"""What the encoder that ships by default may cost."""


@dataclass(frozen=True, slots=True)
class Target:
    """What was to be reached. protocol, density: of the figure. least: of ``value``."""

    name: str
    protocol: str
    density: str
    least: float
    value: Callable[[Figure], float] = lambda figure: figure.auroc


TARGETS = (
    Target("A, normal drives alone", "A", ALONE, 0.98),
    Target("A with other drives", "A+", WITH_OTHER, 0.995),
    Target("B, mean", "B", WITH_OTHER, 0.93),
    Target("B, worst drive", "B", WITH_OTHER, 0.75, lambda figure: figure.worst),
    Target("B'", "B'", WITH_OTHER, 0.96),
    Target("C", "C", ALONE, 0.995),
)
DEFAULTS = (
    ("A", ALONE),
    ("A+", WITH_OTHER),
    ("B", ALONE),
    ("B", WITH_OTHER),
    ("B'", WITH_OTHER),
    ("C", ALONE),
)
"""What ``fit`` takes, by protocol."""
BOTTLE_F1, BOTTLE_AUROC = 0.96, 0.995


def why(entries: Sequence[Entry], costs: Mapping[str, Cost]) -> list[str]:
    """What ships as default against every encoder that costs no more, and what a dearer one would bring."""
    within = {name for name, c in costs.items() if c.gflop <= MOST_GFLOP}
    affordable = [e for e in entries if e.model in within]
    names = ", ".join(f"`{n}`" for n in costs if n in within) or "none"
    lines = [
        f"**Default:** `{DEFAULT}`, with `{ALONE}` on normal drives alone and `{WITH_OTHER}` where others are given. The encoder that "
        f"ships by default may cost {MOST_GFLOP:g} GFLOP a frame; those that do are {names}.",
        "",
        line(
            [
                "protocol",
                "default",
                f"best of at most {MOST_GFLOP:g} GFLOP with the same density",
                "best of all",
            ]
        ),
        line(["---"] * 4),
    ]
    for protocol, density in DEFAULTS:
        mine = _figure(entries, protocol, density)
        rivals = [e for e in affordable if e.density == density]
        best, top = best_entry(rivals, protocol), best_entry(entries, protocol)
        if mine is None or top is None:
            continue
        said = [_named(e, protocol, costs) for e in (best, top)]
        lines.append(line([COLUMNS[protocol], f"{mine.auroc:.3f}", *said]))
    return [*lines, "", _won(entries, affordable)]


def _won(entries: Sequence[Entry], affordable: Sequence[Entry]) -> str:
    """In how many protocols no encoder that costs no more beats the default by the density that ``fit`` takes."""
    won: list[str] = []
    lost: list[str] = []
    for protocol, density in DEFAULTS:
        mine = _figure(entries, protocol, density)
        best = best_entry([e for e in affordable if e.density == density], protocol)
        if mine is not None and best is not None:
            name = f"{COLUMNS[protocol]} ({density})"
            (won if mine.auroc >= best.figures[protocol].auroc else lost).append(name)
    return f"At its cost `{DEFAULT}` is first in {', '.join(won) or 'nothing'}, and is beaten in {', '.join(lost) or 'nothing'}."


def _named(entry: Entry | None, protocol: str, costs: Mapping[str, Cost]) -> str:
    if entry is None:
        return "—"
    return f"{entry.figures[protocol].auroc:.3f} {entry.model}, {entry.density}{_times(costs, entry.model)}"


def best_entry(
    entries: Sequence[Entry], protocol: str, value: Callable[[Figure], float] = lambda f: f.auroc
) -> Entry | None:
    """The entry with the highest value in a protocol; baselines count."""
    asked = [e for e in entries if protocol in e.figures]
    return max(asked, key=lambda e: value(e.figures[protocol]), default=None)


def verdicts(entries: Sequence[Entry], bottles: Sequence[Bottle]) -> list[str]:
    """A line for every target: what the default reaches, and the best row."""
    heads = ["what", "target", f"default (`{DEFAULT}`)", "", "best row", ""]
    lines = [line(heads), line(["---"] * len(heads))]
    for target in TARGETS:
        mine, best = (
            _figure(entries, target.protocol, target.density),
            best_entry(entries, target.protocol, target.value),
        )
        default = None if mine is None else target.value(mine)
        top = None if best is None else target.value(best.figures[target.protocol])
        lines.append(
            _verdict(
                target.name,
                target.least,
                default,
                top,
                "" if best is None else f"{best.model}, {best.density}",
            )
        )
    values: tuple[tuple[str, float, Callable[[Bottle], float]], ...] = (
        ("MVTec bottle, F1", BOTTLE_F1, lambda b: b.f1),
        ("MVTec bottle, AUROC", BOTTLE_AUROC, lambda b: b.auroc),
    )
    for name, least, value in values:
        shipped = [value(b) for b in bottles if b.model == DEFAULT and b.density == ALONE]
        top_row = max(bottles, key=value, default=None)
        lines.append(
            _verdict(
                name,
                least,
                shipped[0] if shipped else None,
                None if top_row is None else value(top_row),
                "" if top_row is None else f"{top_row.model}, {top_row.density}",
            )
        )
    return lines


def _verdict(name: str, least: float, default: float | None, best: float | None, by: str) -> str:
    said = [
        ["not measured", ""] if v is None else [f"{v:.4f}", "met" if v >= least else "missed"]
        for v in (default, best)
    ]
    said[1][0] += f" {by}" if by else ""
    return line([name, f"≥ {least:g}", *said[0], *said[1]])


def _figure(entries: Sequence[Entry], protocol: str, density: str) -> Figure | None:
    found = (e.figures.get(protocol) for e in entries if e.model == DEFAULT and e.density == density)
    return next(found, None)


def slower(costs: Mapping[str, Cost], model: str) -> float:
    """How many times as long as the default's a frame of ``model`` is."""
    return costs[model].times / costs[DEFAULT].times if DEFAULT in costs else costs[model].times


def _times(costs: Mapping[str, Cost], model: str) -> str:
    if model not in costs or model == DEFAULT:
        return ""
    return f" ({slower(costs, model):.1f} times as long a frame)"


def line(cells: Sequence[str]) -> str:
    """Of a Markdown table."""
    return f"| {' | '.join(cells)} |"
