"""What a model is taught on: PATHs or a manifest to drives, drives to a training and a held-out side, and the frames of
either with bounded memory."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, groupby
from pathlib import Path

import msgspec
import numpy as np

from engines.console import progress
from engines.errors import InputError
from engines.footage import IMAGES_PER_SECOND, Drive, Recording, find_drives
from engines.frames import Image
from engines.inpainting import Inpainting
from engines.regions import NOWHERE, Regions
from training.manifest import Row, read_manifest

BUFFER = 1024
"""Frames among which those that did not fit in memory are shuffled."""
REPEATED = 0.1
"""Share of a drive's pictures that must be in another drive for the two to be one recording, as far as a split goes."""
STILL = 1
"""Footage whose pixels differ by no more than this, in grey levels, shows one picture."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Drives to learn from. groups: of each normal drive, what it must not be parted from by a split. held_out: names
    of drives that are to be held out; None leaves the choice to ``split``."""

    normal: tuple[Drive, ...]
    groups: tuple[str, ...]
    other: tuple[Drive, ...] = ()
    held_out: frozenset[str] | None = None


def gather(normal: Sequence[Path], other: Sequence[Path] = ()) -> Sources:
    """Drives below PATHs; a folder in the layout of MVTec AD (``train/good``) stands for its good training pictures."""
    drives = tuple(find_drives([_good(path) for path in normal]))
    for path in (*normal, *other):
        _refuse_empty(path)
    return Sources(drives, tuple(d.name for d in drives), tuple(find_drives(other) if other else ()))


def _good(path: Path) -> Path:
    good = path / "train" / "good"
    return good if good.is_dir() else path


def _refuse_empty(path: Path) -> None:
    """A class or a drive that was forgotten is a mistake to be told, not footage that nobody misses."""
    for folder in (p for p in sorted(path.rglob("*")) if p.is_dir()) if path.is_dir() else ():
        if not any(folder.iterdir()):
            raise InputError(folder, "must hold videos or images; it is empty", "fill it, or remove it")


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of a manifest: the normal ones have ``label`` and ``split``, the held-out ones ``label`` and
    ``held_out_split``, the other ones ``other_label`` and ``split``; None takes none."""

    label: str
    split: str = "train"
    held_out_split: str | None = None
    other_label: str | None = None


def select(manifest: Path, selection: Selection) -> Sources:
    """Drives of a manifest. Recordings of one drive are never parted by a split; one that is on both sides of the stated
    split raises InputError."""
    rows = read_manifest(manifest)

    def chosen(label: str | None, split: str | None) -> list[Row]:
        return [row for row in rows if (row.label, row.split) == (label, split)]

    normal = chosen(selection.label, selection.split)
    apart = chosen(selection.label, selection.held_out_split)
    if not normal:
        known = ", ".join(sorted({f"{row.label} {row.split}" for row in rows}))
        raise InputError(
            manifest,
            f"must have rows of label {selection.label} and split {selection.split}, has {known}",
            "choose another label or split",
        )
    if shared := {row.drive for row in normal} & {row.drive for row in apart}:
        raise InputError(
            manifest,
            f"must have a drive on one side of the split, has {min(shared)} on both",
            "correct its rows",
        )
    drives = _uniquely_named([*normal, *apart])
    return Sources(
        drives,
        tuple(row.drive for row in (*normal, *apart)),
        tuple(row.recording for row in chosen(selection.other_label, selection.split)),
        frozenset(drive.name for drive in drives[len(normal) :]) if apart else None,
    )


def _uniquely_named(rows: Sequence[Row]) -> tuple[Drive, ...]:
    """The recordings, named after their file; where that says too little, after drive and file, or drive, folder and
    file."""
    short = [row.recording.name for row in rows]
    middle = [f"{row.drive}/{name}" for row, name in zip(rows, short, strict=True)]
    long = [f"{row.drive}/{row.recording.path.parent.name}/{row.recording.name}" for row in rows]
    names = [
        next(name for i, name in enumerate(every) if i == 2 or (short, middle)[i].count(name) == 1)
        for every in zip(short, middle, long, strict=True)
    ]
    return tuple(
        Drive(name, row.recording.path, row.recording.files) for name, row in zip(names, rows, strict=True)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """The frames of one drive at a working size. images: N of h×w×3, None where they did not fit in memory. aspect: width
    over height of the camera's own pictures. digests: N, equal for equal pictures."""

    drive: Drive
    count: int
    aspect: float
    digests: tuple[bytes, ...]
    images: tuple[Image, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One frame to learn from."""

    image: Image
    aspect: float


@dataclass(slots=True, eq=False)
class Frames:
    """The frames of drives at a working size (height, width): kept in memory up to ``limit`` bytes, and decoded anew in
    every epoch beyond. notes: what was damaged, or repeats itself. ignored: what is hidden in them."""

    size: tuple[int, int]
    every_s: float
    limit: int
    clips: list[Clip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    images_per_second: float = IMAGES_PER_SECOND
    ignored: Regions = NOWHERE

    def read(self, drives: Sequence[Drive], what: str) -> None:
        """Decode ``drives`` once; unreadable ones raise InputError."""
        free = self.limit
        with progress(what, len(drives), "drives") as advance:
            for drive in drives:
                clip = self._read_one(drive, free)
                free -= sum(image.nbytes for image in clip.images or ())
                self.clips.append(clip)
                advance(1, drive.name)

    def _read_one(self, drive: Drive, free: int) -> Clip:
        recording = self._recording(drive)
        images: list[Image] | None = []
        digests: list[bytes] = []
        aspect, inpainting = 1.0, Inpainting(self.ignored)
        for frame in recording:
            aspect, image = frame.luma.shape[1] / frame.luma.shape[0], inpainting.image(frame)
            digests.append(hashlib.blake2b(image.tobytes(), digest_size=12).digest())
            if images is not None:
                images.append(image)
                images = None if len(images) * image.nbytes > free else images
        self.notes += [f"{drive.name}: {note}" for note in recording.notes]
        repeats = len(digests) - len(set(digests))
        if repeats > REPEATED * len(digests):
            self.notes.append(f"{drive.name}: {repeats} of {len(digests)} pictures repeat an earlier one")
        return Clip(drive, len(digests), aspect, tuple(digests), None if images is None else tuple(images))

    def __len__(self) -> int:
        return sum(clip.count for clip in self.clips)

    @property
    def streamed(self) -> int:
        """How many frames did not fit in memory."""
        return sum(clip.count for clip in self.clips if clip.images is None)

    @property
    def varies(self) -> bool:
        """Whether the footage shows more than one picture."""
        if len({digest for clip in self.clips for digest in clip.digests}) < 2:
            return False
        if self.streamed:
            return True
        images = [image for clip in self.clips for image in clip.images or ()]
        first = images[0].astype(np.int16)
        return any(np.abs(image - first).max() > STILL for image in images)

    @property
    def digest(self) -> str:
        """Identity of all frames at their working size."""
        joined = hashlib.blake2b(digest_size=16)
        for clip in self.clips:
            joined.update(clip.drive.name.encode("utf-8", "replace"))
            joined.update(b"".join(clip.digests))
        return joined.hexdigest()

    def only(self, wanted: Callable[[Drive], bool]) -> Frames:
        """The part of the drives that ``wanted`` says yes to, sharing memory."""
        return replace(self, clips=[c for c in self.clips if wanted(c.drive)])

    def in_order(self) -> Iterator[tuple[str, Sample]]:
        """Every frame with the name of its drive, one drive after another."""
        for clip in self.clips:
            for image in self._images(clip):
                yield clip.drive.name, Sample(image, clip.aspect)

    def shuffled(self, random: np.random.Generator) -> Iterator[Sample]:
        """Every frame once: those in memory in any order, among them the others, shuffled within a buffer."""
        kept = [(clip, i) for clip in self.clips if clip.images is not None for i in range(clip.count)]
        stream = self._stream(random)
        for place in random.permutation(len(self)):
            if place < len(kept):
                clip, index = kept[place]
                assert clip.images is not None
                yield Sample(clip.images[index], clip.aspect)
            elif (sample := next(stream, None)) is not None:
                yield sample

    def _stream(self, random: np.random.Generator) -> Iterator[Sample]:
        clips = [clip for clip in self.clips if clip.images is None]
        buffer: list[Sample] = []
        for index in random.permutation(len(clips)):
            for image in self._images(clips[index]):
                sample = Sample(image, clips[index].aspect)
                if len(buffer) < BUFFER:
                    buffer.append(sample)
                    continue
                place = int(random.integers(BUFFER))
                sample, buffer[place] = buffer[place], sample
                yield sample
        yield from (buffer[i] for i in random.permutation(len(buffer)))

    def _images(self, clip: Clip) -> Iterator[Image]:
        if clip.images is not None:
            yield from clip.images
        else:
            yield from map(Inpainting(self.ignored).image, self._recording(clip.drive))

    def _recording(self, drive: Drive) -> Recording:
        return Recording(drive, self.size, every_s=self.every_s, images_per_second=self.images_per_second)


def split(sources: Sources, frames: Frames, share: float, seed: int) -> frozenset[str]:
    """Names of the drives to hold out: those that ``sources`` states, else about ``share`` of the groups, at least one.

    Empty where there is but one group: nothing can be left out of it that would not look like the rest. Drives that
    share pictures are one group."""
    if sources.held_out is not None:
        return sources.held_out
    groups = _joined(sources, frames)
    names = sorted(set(groups.values()))
    if len(names) < 2 or share == 0.0:
        return frozenset()
    count = min(len(names) - 1, max(1, round(share * len(names))))
    chosen = {names[i] for i in np.random.default_rng(seed).permutation(len(names))[:count]}
    return frozenset(drive for drive, group in groups.items() if group in chosen)


def _joined(sources: Sources, frames: Frames) -> dict[str, str]:
    """The group of every drive, after groups that share more than chance pictures were made one."""
    group = {d.name: g for d, g in zip(sources.normal, sources.groups, strict=True)}
    seen: dict[bytes, set[int]] = defaultdict(set)
    for index, clip in enumerate(frames.clips):
        for digest in clip.digests:
            seen[digest].add(index)
    shared = Counter(pair for places in seen.values() for pair in combinations(sorted(places), 2))
    for (i, j), count in sorted(shared.items()):
        one, two = frames.clips[i], frames.clips[j]
        mine, theirs = group[one.drive.name], group[two.drive.name]
        if mine != theirs and count > REPEATED * min(one.count, two.count):
            frames.notes.append(
                f"{two.drive.name}: {count} pictures are in {one.drive.name} too; the two are held out together"
            )
            group = {drive: mine if g == theirs else g for drive, g in group.items()}
    return group


def by_drive(samples: Iterator[tuple[str, Sample]]) -> Iterator[tuple[str, Iterator[Sample]]]:
    """Group ``Frames.in_order`` by drive."""
    for name, rows in groupby(samples, key=lambda row: row[0]):
        yield name, (sample for _, sample in rows)
