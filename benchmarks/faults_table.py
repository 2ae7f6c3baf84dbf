"""How many of the 36 camera faults are noticed, told right and how soon; and what clean drives and new scenes are called.

    python benchmarks/faults_table.py --bundle B --drive PATH[@SECONDS]... --clean PATH... --before PATH... \\
        --after PATH... [--rendered 20] [--each 2] [--minutes 25] [--markdown docs/faults.md] [--json F]

Every mode is made to order at every severity on ``--each`` of the drives, in turn (``fault_trials`` says how), and
once, at severity 5, from the first frame of a stream. Two more rows damage what life damages: the packets of the
encoded stream, and a link that goes quiet for good. A fault is told right if an event of a mode of
``engines.health.MODES`` for it begins while it lasts. Clean drives are watched whole; each ``--before`` is cut to each
``--after``.

Choose thresholds on training drives; look at others once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
from fault_trials import (
    BEFORE_S,
    FAULT_S,
    FPS,
    PACKETS,
    SLOW_S,
    TOLD,
    WIDTH_PX,
    Answer,
    Stretch,
    Trial,
    Watched,
    pictures,
    try_fault,
    watch_clean,
    watch_cut,
    watch_rendered,
)

from engines.bundle import Bundle, open_bundle
from engines.console import progress
from engines.engine import Engine
from engines.faults import FAULTS, Timed
from engines.footage import find_drives
from engines.health import MODES
from engines.metrics import poisson_interval
from engines.opening import open_engine

SEVERITIES = (3, 4, 5)
AT_ONCE = {1, 2, 3, 6, 7, 17, 18, 19, 29, 32, 34, 35}
"""Numbers of the modes that are told apart at once."""
FIRST_SEED = 1041
"""Of the clean rendered drives: no test and no threshold has seen these."""


def stretch(text: str) -> Stretch:
    """A drive and, behind an @, where in it to begin."""
    path, _, begin = text.partition("@")
    (drive,) = find_drives([Path(path)])
    return Stretch(drive, float(begin or 0))


def planned(modes: Sequence[str], drives: int, each: int) -> Iterator[tuple[str, int, int, float]]:
    """Every trial's mode, severity, number of the drive, and second at which the fault begins: once round all modes
    and severities, then again with other drives."""
    for n in range(each):
        for mode in modes:
            if n == 0:
                yield mode, 5, zlib.crc32(mode.encode()) % drives, 0.0
            for severity in SEVERITIES:
                first = zlib.crc32(f"{mode}/{severity}".encode())
                yield mode, severity, (first + n * max(1, drives // each)) % drives, BEFORE_S


def try_faults(
    drives: Sequence[Stretch], modes: Sequence[str], each: int, minutes: float, bundle: Bundle, engine: Engine
) -> list[Trial]:
    """Every mode at every severity, on as many drives as ``each`` says, or as the minutes allow."""
    plan = list(planned(modes, len(drives), each))
    known: dict[int, list[Timed]] = {}
    trials: list[Trial] = []
    until = time.monotonic() + 60.0 * minutes
    with tempfile.TemporaryDirectory() as folder, progress("faults", len(plan), "trials") as advance:
        for mode, severity, number, since_s in plan:
            if len(trials) >= len(plan) // each and time.monotonic() > until:
                break
            if number not in known:
                known[number] = pictures(drives[number], BEFORE_S + SLOW_S)
            name = drives[number].name
            trials.append(
                try_fault(known[number], name, mode, severity, since_s, bundle, engine, Path(folder))
            )
            advance()
    return trials


def recall_lines(trials: Sequence[Trial]) -> list[str]:
    """A mode a row: told right by severity, how soon, what else was said, and what is beyond."""
    how = {mode.name: mode for mode in MODES}
    lines = [
        "| # | mode | told as | how | "
        + " | ".join(f"sev. {s}" for s in SEVERITIES)
        + " | delay, median / max | said besides | from the first frame | beyond, and what would make it checkable |",
        "|---|---|---|---|" + "---|" * (len(SEVERITIES) + 4),
    ]
    for name in dict.fromkeys(t.mode for t in trials):
        mine = [t for t in trials if t.mode == name and not t.from_first]
        cells = []
        for severity in SEVERITIES:
            here = [t for t in mine if t.severity == severity]
            cells.append(f"{sum(t.delay_s is not None for t in here)} of {len(here)}")
        delays = [t.delay_s for t in mine if t.delay_s is not None]
        delay = f"{statistics.median(delays):.1f} / {max(delays):.1f} s" if delays else "-"
        besides = Counter(a.mode or a.kind for t in mine for a in t.answers if a.mode not in TOLD[name])
        first = next(t for t in trials if t.mode == name and t.from_first)
        told = (
            "told"
            if first.delay_s is not None
            else (first.answers[0].mode or first.answers[0].kind)
            if first.answers
            else "no"
        )
        mode = how[name] if name in how else MODES[31]
        also = ", ".join(f"{m} {n}" for m, n in besides.items())
        lines.append(
            f"| {mode.number} | {name} | {TOLD[name][0]} | {mode.how} | {' | '.join(cells)} | {delay} | {also} | {told} | {mode.beyond} |"
        )
    return lines


def row_of(trial: Trial) -> str:
    """What the first answer to a fault was."""
    if not trial.answers:
        return "nothing"
    first = trial.answers[0]
    if first.camera:
        return "right" if first.mode in TOLD[trial.mode] else "other fault"
    return first.kind


def scene_row(watched: Watched) -> str:
    """What the first answer to a change of scene was."""
    if not watched.answers:
        return "nothing"
    first = watched.answers[0]
    return "other fault" if first.camera else first.kind


def macro_f1(trials: Sequence[Trial], cuts: Sequence[Watched]) -> float:
    """Mean F1 over the faults as they are told, and the change of scene, of the cases that were answered."""
    pairs = [
        (
            str(TOLD[t.mode][0]),
            str(TOLD[t.mode][0]) if row_of(t) == "right" else t.answers[0].mode or t.answers[0].kind,
        )
        for t in trials
        if row_of(t) not in ("nothing", "cant_tell")
    ]
    pairs += [
        ("left_domain", c.answers[0].mode or c.answers[0].kind)
        for c in cuts
        if scene_row(c) not in ("nothing", "cant_tell")
    ]
    scores = []
    for name in {truth for truth, _ in pairs}:
        hits = sum(truth == told == name for truth, told in pairs)
        scores.append(
            2 * hits / (sum(truth == name for truth, _ in pairs) + sum(told == name for _, told in pairs))
        )
    return statistics.fmean(scores)


def verdict_lines(trials: Sequence[Trial], cuts: Sequence[Watched]) -> list[str]:
    """The first answer to every fault, and to every change of scene."""
    columns = ("right", "other fault", "left_domain", "cant_tell", "nothing")
    lines = [
        "| truth | cases | right fault or group | another fault | left_domain | cant_tell | nothing |",
        "|---|" + "---|" * 6,
    ]
    rows = [
        ("camera fault", [row_of(t) for t in trials]),
        ("camera fault, of those told apart at once", [row_of(t) for t in at_once(trials)]),
        ("change of scene", [scene_row(c) for c in cuts]),
    ]
    for title, said in rows:
        counts = Counter(said)
        lines.append(f"| {title} | {len(said)} | " + " | ".join(str(counts[c]) for c in columns) + " |")
    said, new = Counter(rows[0][1]), Counter(rows[2][1])
    unsure = said["nothing"] + said["cant_tell"] + new["nothing"] + new["cant_tell"]
    mixed = said["left_domain"] + new["other fault"]
    total = len(trials) + len(cuts)
    return [
        *lines,
        "",
        f"Macro-F1 on answered cases {macro_f1(trials, cuts):.3f} (asked: .9); abstention (nothing or cant_tell) "
        f"{100 * unsure / total:.1f} % (asked: 15 %); a fault called a change of scene, or the reverse, "
        f"{100 * mixed / total:.1f} % (asked: 2 %).",
    ]


def at_once(trials: Sequence[Trial]) -> list[Trial]:
    """Those of modes told apart at once; of macroblocks the damaged packets, of which the decoder tells."""
    names = {mode.name for mode in MODES if mode.number in AT_ONCE} - {"macroblocks"} | {PACKETS}
    return [t for t in trials if t.mode in names]


def summary(trials: Sequence[Trial]) -> list[str]:
    """Recall over the modes that are told at once, over those apart, and over all: of faults, and of the right mode."""
    apart = {mode.name for mode in MODES if mode.how == "apart"} | {PACKETS}
    chosen = {
        "modes told apart at once": at_once(trials),
        "modes told apart": [t for t in trials if t.mode in apart],
        "all modes": list(trials),
    }
    lines = []
    for title, those in chosen.items():
        noticed, right = sum(t.noticed for t in those), sum(t.delay_s is not None for t in those)
        lines.append(
            f"- {title}: {noticed} of {len(those)} told as a fault of the camera, recall {noticed / len(those):.3f}; "
            f"{right} as what they are, {right / len(those):.3f}"
        )
    return lines


def clean_lines(what: str, seen: Sequence[Watched]) -> list[str]:
    """What drives with nothing wrong were called."""
    hours = sum(w.seconds for w in seen) / 3600.0
    count = sum(len(w.faults) for w in seen)
    low, high = poisson_interval(count)
    lines = [
        f"- {len(seen)} {what}, {hours:.3f} h: {count} camera faults told, {count / hours:.2f} per hour "
        f"(95 % interval {low / hours:.2f} to {high / hours:.2f})"
    ]
    told = [f"{w.drive}: " + ", ".join(map(str, w.faults)) for w in seen if w.faults]
    return lines + [f"  - {line}" for line in told]


def report(
    trials: Sequence[Trial],
    clean: Sequence[Watched],
    rendered: Sequence[Watched],
    cuts: Sequence[Watched],
    seconds: float,
    notes: Sequence[str],
) -> list[str]:
    """The page. notes: what whoever ran this says of the drives and the bundle."""
    late = [t for t in trials if not t.from_first]
    drives = sorted({t.drive for t in trials})
    return [
        "# Camera faults: what is noticed, and what it is called",
        "",
        "Made by `python benchmarks/faults_table.py`; written by that command, not by hand.",
        f"{len(trials)} broken drives of {len(drives)} ({', '.join(drives)}), {FPS:g} frames/s and {WIDTH_PX} pixels across, "
        f"each {BEFORE_S:g} s of clean driving and then {FAULT_S:g} s of the fault ({SLOW_S:g} s of condensation), encoded, "
        f"decoded and watched with engine, checks and detector, in {seconds / 60:.0f} minutes of one core.",
        *(line for note in notes for line in ("", note)),
        "",
        *recall_lines(trials),
        "",
        "Faults that begin in a drive, severities 3 to 5:",
        "",
        *summary(late),
        "",
        "## Verdicts",
        "",
        "The first thing said after the onset of a fault, or after one drive was cut to another:",
        "",
        *verdict_lines(late, cuts),
        "",
        "## Nothing wrong",
        "",
        *clean_lines("clean recordings", clean),
        *clean_lines("clean rendered drives with tunnel, city and night", rendered),
        *clean_lines("cuts from one drive to another", cuts),
    ]


def watch_all(options: argparse.Namespace) -> dict[str, Any]:
    """Break, cut, render and watch all that is asked for; returns the arguments of ``report``."""
    cv2.setNumThreads(1)
    bundle, begun = open_bundle(options.bundle), time.process_time()
    engine = open_engine(bundle, "onnxruntime")
    clean = [watch_clean(drive, bundle, engine) for drive in find_drives(options.clean)]
    cuts, rendered = [], []
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(a, b) for a in options.before for b in options.after]
        with progress("cuts", len(pairs), "cuts") as advance:
            for first, second in pairs:
                cuts.append(watch_cut(first, second, bundle, engine, Path(folder)))
                advance()
        with progress("rendered", options.rendered, "minutes") as advance:
            for seed in range(FIRST_SEED, FIRST_SEED + options.rendered):
                rendered.append(watch_rendered(seed, bundle, engine, Path(folder)))
                advance()
    trials = try_faults(options.drive, options.modes, options.each, options.minutes, bundle, engine)
    seconds = time.process_time() - begun
    return {"trials": trials, "clean": clean, "rendered": rendered, "cuts": cuts, "seconds": seconds}


def read_said(path: Path) -> dict[str, Any]:
    """What a former run kept, as ``watch_all`` returns it."""
    kept = json.loads(path.read_text())
    kinds = {"trials": Trial, "clean": Watched, "rendered": Watched, "cuts": Watched}
    said: dict[str, Any] = {
        key: [kind(**row | {"answers": tuple(Answer(**a) for a in row["answers"])}) for row in kept[key]]
        for key, kind in kinds.items()
    }
    return said | {"seconds": kept["seconds"]}


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--drive", type=stretch, nargs="+", default=[], help="drives to break")
    parser.add_argument("--clean", type=Path, nargs="+", default=[], help="drives to watch as they are")
    parser.add_argument("--before", type=stretch, nargs="+", default=[], help="drives to cut from")
    parser.add_argument("--after", type=stretch, nargs="+", default=[], help="drives to cut to")
    parser.add_argument("--rendered", type=int, default=20, help="clean minutes to render")
    parser.add_argument("--each", type=int, default=2, help="drives for every mode and severity")
    parser.add_argument("--minutes", type=float, default=25.0, help="after which no second drive is broken")
    parser.add_argument("--modes", nargs="*", default=[*FAULTS, PACKETS])
    parser.add_argument(
        "--note", nargs="*", default=[], help="paragraphs for the page: what the drives were used for"
    )
    parser.add_argument("--json", type=Path, help="where to keep all that was said")
    parser.add_argument("--read", type=Path, help="write the page again, of such a file, and watch nothing")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    if not (
        options.read
        or (options.bundle and options.drive and options.clean and options.before and options.after)
    ):
        parser.error("needs --read, or all of --bundle, --drive, --clean, --before and --after")
    said = read_said(options.read) if options.read else watch_all(options)
    if options.json:
        options.json.write_text(json.dumps(said, default=asdict))
    page = "\n".join(report(**said, notes=options.note)) + "\n"
    print(page)
    if options.markdown:
        options.markdown.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
