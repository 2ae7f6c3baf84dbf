"""Making one fault on one drive, and watching drives as in life: what ``faults_table`` counts.

Faults are made on pictures, encoded, decoded, and watched with the real reader, engine, health checks and
detector, domain events and all."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from engines.bundle import Bundle
from engines.engine import Engine
from engines.faults import Timed, inject_timed
from engines.footage import Drive, Recording, find_drives
from engines.health import MODES
from engines.rendered import Segment, render
from engines.video import write_timed
from monitor.events import Event, Phase, Verdict
from monitor.pipeline import SILENT_AFTER_S, Stream, watch

PACKETS = "macroblocks (packets)"
TOLD = {mode.name: mode.told for mode in MODES} | {PACKETS: MODES[31].told}
BEFORE_S, FAULT_S, SLOW_S = 5.0, 6.0, 10.0
"""Seconds of the drive before a fault, of most faults, and of condensation, which comes slowly."""
CUT_S, AFTER_CUT_S = 8.0, 6.0
"""Seconds of the drive before a change of scene, and after it."""
WIDTH_PX, FPS = 640, 15.0
"""Most pixels across and frames a second: faults are made on pictures, which takes time."""
KEY_EVERY, CRF = 30, 23
"""Frames from one key frame to the next, and the quality of the encoder."""
SCENES = tuple(
    Segment(scene, seconds)
    for scene, seconds in (
        ("highway", 20.0),
        ("tunnel", 8.0),
        ("highway", 12.0),
        ("city", 10.0),
        ("night", 10.0),
    )
)
"""A clean rendered minute in which the scene changes as it does on a way."""
RENDERED_SIZE, RENDERED_FPS = (480, 270), 10.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a drive, which begins ``begin_s`` after the drive does."""

    drive: Drive
    begin_s: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.drive.name}@{self.begin_s:g}" if self.begin_s else self.drive.name


@dataclass(frozen=True, slots=True)
class Answer:
    """The start of one event: its kind, its mode where it is a fault, the channel that spoke, when it was believed."""

    kind: str
    mode: str
    channel: str
    at_s: float

    def __str__(self) -> str:
        return f"{self.mode} ({self.channel}) at {self.at_s:g} s"

    @property
    def camera(self) -> bool:
        """Whether it lays the blame on the camera."""
        return self.kind in ("camera_fault", "no_signal", "stale")


@dataclass(frozen=True, slots=True)
class Trial:
    """A drive with one fault from ``since_s`` on, and what was said from then on. from_first: of a camera that was
    never all right."""

    drive: str
    mode: str
    severity: int
    since_s: float
    answers: tuple[Answer, ...]

    @property
    def from_first(self) -> bool:
        return self.since_s == 0.0

    @property
    def noticed(self) -> bool:
        """Whether the camera was blamed, whatever for."""
        return any(a.camera for a in self.answers)

    @property
    def delay_s(self) -> float | None:
        """Until a right mode was told; None if none was."""
        right = (a.at_s - self.since_s for a in self.answers if a.mode in TOLD[self.mode])
        return next(right, None)


@dataclass(frozen=True, slots=True)
class Watched:
    """A drive with nothing wrong, or a change of scene, and what was said."""

    drive: str
    seconds: float
    answers: tuple[Answer, ...]

    @property
    def faults(self) -> tuple[Answer, ...]:
        return tuple(a for a in self.answers if a.camera)


def pictures(stretch: Stretch, seconds: float) -> list[Timed]:
    """The first seconds of a stretch as RGB pictures, thinned to FPS and WIDTH_PX; times from its beginning."""
    height, width = next(iter(Recording(stretch.drive, (2, 2)))).luma.shape
    scale = min(1.0, WIDTH_PX / width)
    size = round(height * scale) // 2 * 2, round(width * scale) // 2 * 2
    taken: list[Timed] = []
    for frame in Recording(stretch.drive, size, every_s=1.0 / FPS):
        time_s = frame.time_s - stretch.begin_s
        if time_s > seconds:
            break
        if time_s >= 0.0:
            taken.append(Timed(time_s, frame.image))
    return taken


def damage(path: Path, since_s: float, severity: int, seed: int) -> None:
    """Overwrite bytes in the packets of a file from ``since_s`` on."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [
            (packet.pos, packet.size)
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None and packet.pts * packet.time_base >= since_s
        ]
    rng, data = np.random.default_rng(seed), bytearray(path.read_bytes())
    for start, size in packets:
        for _ in range(rng.poisson((0.05, 0.1, 0.3, 0.8, 2.0)[severity - 1])):
            first = start + 8 + int(rng.integers(max(1, size - 8)))
            for place in range(first, min(start + size, first + 6)):
                data[place] ^= int(rng.integers(1, 256))
    path.write_bytes(data)


def events_of(drive: Drive, bundle: Bundle, engine: Engine, until_s: float = 0.0) -> Iterator[Event]:
    """Watch a recording and, from its last frame to ``until_s``, the silence after it, as the daemon would."""
    stream, last_s = Stream(drive.name, bundle, SILENT_AFTER_S), 0.0
    for watched in watch(Recording(drive, engine.input_size), engine, stream):
        last_s = watched.frame.time_s
        yield from watched.judged.events
    if until_s - last_s > SILENT_AFTER_S:
        yield from stream.detector.no_frames(last_s + SILENT_AFTER_S, last_s, SILENT_AFTER_S)


def answers(events: Iterable[Event], since_s: float = 0.0) -> tuple[Answer, ...]:
    """The events that began to be told from ``since_s`` on."""
    return tuple(
        Answer(str(e.kind), e.mode, e.channel, round(e.detected_s, 2))
        for e in events
        if e.phase == Phase.START and e.detected_s >= since_s and e.kind != Verdict.OK
    )


def try_fault(
    clean: Sequence[Timed],
    name: str,
    mode: str,
    severity: int,
    since_s: float,
    bundle: Bundle,
    engine: Engine,
    folder: Path,
) -> Trial:
    """Break a drive, encode it, watch it."""
    lasts = SLOW_S if mode == "condensation" else FAULT_S
    frames = [t for t in clean if t.time_s <= since_s + lasts]
    seed = zlib.crc32(f"{name}/{mode}/{severity}".encode()) % 100_000
    path = folder / "broken.mp4"
    path.unlink(missing_ok=True)
    if mode == PACKETS:
        write_timed(path, frames, KEY_EVERY, CRF)
        damage(path, since_s, severity, seed)
    elif broken := list(inject_timed(frames, mode, since_s, None, severity, seed)):
        write_timed(path, broken, KEY_EVERY, CRF)
    if path.exists():
        (drive,) = find_drives([path])
        said = answers(events_of(drive, bundle, engine, frames[-1].time_s), since_s)
    else:  # not a single frame came
        silence = Stream(name, bundle).detector.no_frames(SILENT_AFTER_S, 0.0, SILENT_AFTER_S)
        said = answers(silence)
    return Trial(name, mode, severity, since_s, said)


def watch_clean(drive: Drive, bundle: Bundle, engine: Engine) -> Watched:
    """Watch a drive as it is."""
    last_s = 0.0
    for frame in Recording(drive, (2, 2)):
        last_s = frame.time_s
    return Watched(drive.name, last_s, answers(events_of(drive, bundle, engine)))


def watch_rendered(seed: int, bundle: Bundle, engine: Engine, folder: Path) -> Watched:
    """Render a clean minute with changes of scene, and watch it."""
    path = folder / f"rendered_{seed}.mp4"
    write_timed(
        path,
        ((t, image) for _, t, image in render(SCENES, seed, RENDERED_SIZE, RENDERED_FPS)),
        KEY_EVERY,
        CRF,
    )
    (drive,) = find_drives([path])
    seen = watch_clean(drive, bundle, engine)
    path.unlink()
    return seen


def watch_cut(first: Stretch, second: Stretch, bundle: Bundle, engine: Engine, folder: Path) -> Watched:
    """Watch one drive cut to another: a change of scene, and of camera, but no fault."""
    before, after = pictures(first, CUT_S), pictures(second, AFTER_CUT_S)
    size, cut_s = before[0].image.shape[1::-1], before[-1].time_s + 1.0 / FPS
    path = folder / "cut.mp4"
    moved = (Timed(cut_s + t.time_s, np.asarray(cv2.resize(t.image, size), np.uint8)) for t in after)
    write_timed(path, [*before, *moved], KEY_EVERY, CRF)
    (drive,) = find_drives([path])
    said = answers(events_of(drive, bundle, engine), cut_s)
    return Watched(f"{first.name} to {second.name}", cut_s + after[-1].time_s, said)
