"""How many of the 36 camera faults are noticed, told right and how soon; and what clean drives are called.

    python benchmarks/faults_table.py --bundle B --drive PATH... --clean PATH... --splice PATH... [--json F] [--markdown F]

Every fault is made to order on the first seconds of each drive, encoded, decoded and watched as in life: the
real reader, engine, health checks and detector, domain events and all. Two more rows damage what life damages:
the packets of the encoded stream, and a link that goes quiet for good, of which the daemon's clock tells. A
fault is told right if an event of a mode of ``engines.health.MODES`` for it begins while it lasts. Clean drives are
watched whole, as they are.

Choose thresholds on training drives; look at others once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from engines.bundle import Bundle, open_bundle
from engines.console import progress
from engines.engine import Engine
from engines.faults import FAULTS, Timed, inject_timed
from engines.footage import Drive, Recording, find_drives
from engines.health import MODES
from engines.metrics import poisson_interval
from engines.opening import open_engine
from monitor.events import Event, Phase, Verdict
from monitor.pipeline import SILENT_AFTER_S, Stream, watch

PACKETS = "macroblocks (packets)"
TOLD = {mode.name: mode.told for mode in MODES} | {PACKETS: MODES[31].told}
BEFORE_S, FAULT_S, SLOW_S, SPLICED_S = 5.0, 6.0, 10.0, 3.0
"""Seconds of the drive before a fault, of most faults, and of condensation, which comes slowly; and of a drive in a splice, beside
those before."""
WIDTH_PX, FPS = 640, 15.0
"""Most pixels across and frames a second: faults are made on pictures, which takes time."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault on one drive. told_s: until the first event of a right mode, None without one. wrong: modes of the
    other camera faults that were told meanwhile. left_domain: whether a change of scene was."""

    drive: str
    mode: str
    severity: int
    told_s: float | None
    wrong: tuple[str, ...]
    left_domain: bool


@dataclass(frozen=True, slots=True)
class Clean:
    """A drive with nothing wrong: what was told of it all the same."""

    drive: str
    seconds: float
    faults: tuple[tuple[str, str, float], ...]
    left_domain: int


def pictures(drive: Drive, seconds: float) -> list[Timed]:
    """The first seconds of a drive as RGB pictures, thinned to FPS and WIDTH_PX."""
    height, width = next(iter(Recording(drive, (2, 2)))).luma.shape
    scale = min(1.0, WIDTH_PX / width)
    size = round(height * scale) // 2 * 2, round(width * scale) // 2 * 2
    taken: list[Timed] = []
    for frame in Recording(drive, size, every_s=1.0 / FPS):
        if frame.time_s > seconds:
            break
        taken.append(Timed(frame.time_s, frame.image))
    return taken


def encode(path: Path, frames: Iterable[Timed]) -> None:
    """Write frames as H.264 with their own times, in microseconds."""
    base = Fraction(1, 90_000)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "23", "preset": "veryfast"})
        stream.pix_fmt, stream.gop_size = "yuv420p", 30
        stream.time_base = stream.codec_context.time_base = base
        for number, (time_s, image) in enumerate(frames):
            if not number:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = round(time_s / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def damage(path: Path, severity: int, seed: int) -> None:
    """Overwrite bytes in the packets of a file from BEFORE_S on."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [
            (packet.pos, packet.size)
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None and packet.pts * packet.time_base >= BEFORE_S
        ]
    rng, data = np.random.default_rng(seed), bytearray(path.read_bytes())
    for start, size in packets:
        for _ in range(rng.poisson((0.05, 0.1, 0.3, 0.8, 2.0)[severity - 1])):
            first = start + 8 + int(rng.integers(max(1, size - 8)))
            for place in range(first, min(start + size, first + 6)):
                data[place] ^= int(rng.integers(1, 256))
    path.write_bytes(data)


def break_drive(path: Path, clean: Sequence[Timed], mode: str, severity: int, seed: int) -> None:
    """Write the drive with one fault from BEFORE_S to its end."""
    if mode == PACKETS:
        encode(path, clean)
        damage(path, severity, seed)
    else:
        encode(path, inject_timed(clean, mode, BEFORE_S, None, severity, seed))


def events_of(path: Drive, bundle: Bundle, engine: Engine, until_s: float | None = None) -> Iterator[Event]:
    """Watch a recording and, from its last frame to ``until_s``, the silence after it, as the daemon would."""
    stream, last_s = Stream(path.name, bundle, SILENT_AFTER_S), 0.0
    for watched in watch(Recording(path, engine.input_size), engine, stream):
        last_s = watched.frame.time_s
        yield from watched.judged.events
    if until_s is not None and until_s - last_s > SILENT_AFTER_S:
        yield from stream.detector.no_frames(last_s + SILENT_AFTER_S, last_s, SILENT_AFTER_S)


def try_fault(
    path: Path, name: str, mode: str, severity: int, seconds: float, bundle: Bundle, engine: Engine
) -> Trial:
    """Watch one broken drive, which was to last ``seconds``."""
    told_s: float | None = None
    wrong: list[str] = []
    left = False
    for event in events_of(find_drives([path])[0], bundle, engine, seconds):
        if event.phase != Phase.START or event.detected_s < BEFORE_S:
            continue
        if event.kind == Verdict.LEFT_DOMAIN:
            left = True
        elif event.mode in TOLD[mode]:
            told_s = event.detected_s - BEFORE_S if told_s is None else told_s
        else:
            wrong.append(event.mode)
    return Trial(name, mode, severity, told_s, tuple(wrong), left)


def try_faults(
    drives: Sequence[Drive],
    modes: Sequence[str],
    severities: Sequence[int],
    bundle: Bundle,
    engine: Engine,
    keep: Path,
) -> list[Trial]:
    """Every mode at every severity on every drive that is long enough; broken drives are kept in a folder."""
    trials = []
    with progress("faults", len(drives) * len(modes) * len(severities)) as advance:
        for drive in drives:
            clean = pictures(drive, BEFORE_S + SLOW_S)
            (keep / drive.name).mkdir(parents=True, exist_ok=True)
            for mode in modes:
                frames = [
                    t for t in clean if t.time_s <= BEFORE_S + (SLOW_S if mode == "condensation" else FAULT_S)
                ]
                if frames[-1].time_s < BEFORE_S + 0.5 * FAULT_S:
                    advance(len(severities))
                    continue
                for severity in severities:
                    path = keep / drive.name / f"{mode}_{severity}.mp4"
                    if not path.exists():
                        seed = zlib.crc32(f"{drive.name}/{mode}/{severity}".encode()) % 100_000
                        break_drive(path, frames, mode, severity, seed)
                    trials.append(
                        try_fault(path, drive.name, mode, severity, frames[-1].time_s, bundle, engine)
                    )
                    advance()
    return trials


def watch_clean(drives: Sequence[Drive], bundle: Bundle, engine: Engine, quiet: bool = False) -> list[Clean]:
    """Watch drives as they are."""
    seen = []
    with nullcontext(lambda: None) if quiet else progress("clean drives", len(drives)) as advance:
        for drive in drives:
            begun = [e for e in events_of(drive, bundle, engine) if e.phase == Phase.START]
            faults = tuple(
                (e.mode, e.channel, round(e.detected_s, 1)) for e in begun if e.kind == Verdict.CAMERA_FAULT
            )
            times = [frame.time_s for frame in Recording(drive, (2, 2))]
            seen.append(Clean(drive.name, times[-1], faults, len(begun) - len(faults)))
            advance()
    return seen


def watch_splices(drives: Sequence[Drive], bundle: Bundle, engine: Engine) -> list[Clean]:
    """Watch the beginning of each drive, cut to that of the next and of the one after it: a change of scene, and of
    camera, but no fault."""
    seen = []
    with progress("cuts", 2 * len(drives)) as advance, tempfile.TemporaryDirectory() as folder:
        begun = {drive.name: pictures(drive, BEFORE_S + SPLICED_S) for drive in drives}
        for n, first in enumerate(drives):
            for second in (drives[(n + 1) % len(drives)], drives[(n + 2) % len(drives)]):
                before = begun[first.name]
                size = before[0].image.shape[1::-1]
                cut_s = before[-1].time_s + 1.0 / FPS
                after = [
                    Timed(cut_s + t.time_s, np.asarray(cv2.resize(t.image, size), np.uint8))
                    for t in begun[second.name]
                ]
                path = Path(folder) / f"{first.name} to {second.name}.mp4"
                encode(path, [*before, *after])
                (cut,) = watch_clean(find_drives([path]), bundle, engine, quiet=True)
                path.unlink()
                seen.append(cut)
                advance()
    return seen


def recall_table(trials: Sequence[Trial], severities: Sequence[int]) -> list[str]:
    """Lines of Markdown, a mode a row."""
    how = {mode.name: mode for mode in MODES}
    lines = [
        "| # | mode | told as | "
        + " | ".join(f"severity {s}" for s in severities)
        + " | delay, median / max | also told |",
        "|---|---|---|" + "---|" * (len(severities) + 2),
    ]
    for name in dict.fromkeys(t.mode for t in trials):
        mine = [t for t in trials if t.mode == name]
        cells = []
        for severity in severities:
            here = [t for t in mine if t.severity == severity]
            cells.append(f"{sum(t.told_s is not None for t in here)} / {len(here)}")
        delays = [t.told_s for t in mine if t.told_s is not None]
        delay = f"{statistics.median(delays):.1f} / {max(delays):.1f} s" if delays else "-"
        wrong = {m: sum(m in t.wrong for t in mine) for m in sorted({m for t in mine for m in t.wrong})}
        if any(t.left_domain for t in mine):
            wrong["left_domain"] = sum(t.left_domain for t in mine)
        also = ", ".join(f"{m} {n}" for m, n in wrong.items())
        number = how[name].number if name in how else 32
        lines.append(f"| {number} | {name} | {TOLD[name][0]} | {' | '.join(cells)} | {delay} | {also} |")
    return lines


def summary(trials: Sequence[Trial]) -> list[str]:
    """Recall over the modes that are told at once, and over all."""
    at_once = {1, 2, 3, 6, 7, 17, 18, 19, 29, 32, 34, 35}
    names = {mode.name for mode in MODES if mode.number in at_once} - {"macroblocks"} | {PACKETS}
    lines = []
    for title, chosen in (
        ("modes told apart at once", [t for t in trials if t.mode in names]),
        ("all modes", list(trials)),
    ):
        if chosen:
            right = sum(t.told_s is not None for t in chosen)
            lines.append(f"{title}: {right} of {len(chosen)} told right, recall {right / len(chosen):.3f}")
    return lines


def clean_lines(what: str, seen: Sequence[Clean]) -> list[str]:
    """What clean drives were called."""
    hours = sum(c.seconds for c in seen) / 3600.0
    count = sum(len(c.faults) for c in seen)
    low, high = poisson_interval(count)
    lines = [
        f"{len(seen)} {what}, {hours:.3f} h: {count} camera faults told, {count / hours:.2f} per hour "
        f"(95 % interval {low / hours:.2f} to {high / hours:.2f})"
    ]
    return lines + [f"  {c.drive}: {c.faults}" for c in seen if c.faults]


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--drive", type=Path, nargs="*", default=[], help="drives to break")
    parser.add_argument("--clean", type=Path, nargs="*", default=[], help="drives to watch as they are")
    parser.add_argument("--splice", type=Path, nargs="*", default=[], help="drives to cut together")
    parser.add_argument("--modes", nargs="*", default=[*FAULTS, PACKETS])
    parser.add_argument("--severities", type=int, nargs="*", default=[3, 4, 5])
    parser.add_argument("--keep", type=Path, help="folder in which broken drives are kept, and found again")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    bundle = open_bundle(options.bundle)
    engine = open_engine(bundle, "onnxruntime")
    lines: list[str] = []
    trials: list[Trial] = []
    seen: list[Clean] = []
    if options.drive:
        with tempfile.TemporaryDirectory() as folder:
            trials = try_faults(
                find_drives(options.drive),
                options.modes,
                options.severities,
                bundle,
                engine,
                options.keep or Path(folder),
            )
        lines += [*recall_table(trials, options.severities), "", *summary(trials)]
    if options.clean:
        seen = watch_clean(find_drives(options.clean), bundle, engine)
        lines += ["", *clean_lines("clean drives", seen)]
    if options.splice:
        cuts = watch_splices(find_drives(options.splice), bundle, engine)
        lines += ["", *clean_lines("cuts from one drive to another", cuts)]
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")
    if options.json:
        options.json.write_text(
            json.dumps({"trials": [asdict(t) for t in trials], "clean": [asdict(c) for c in seen]})
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
