"""Evidence on disk: one folder for each event, with its pictures and its clip; the oldest go when there is no room."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engines.errors import OutputError
from engines.whole_file import write_whole
from monitor.alerts import Evidence, Nearest
from monitor.evidence.clips import notes, suffix, write_clip
from monitor.evidence.explain import Explanation
from monitor.evidence.packets import Take

SNAPSHOT, HEAT_MAP, CLIP = "snapshot.jpg", "heat_map.jpg", "clip"
_EVENT = re.compile(r".+-[0-9a-f]+-[0-9a-f]{8}-\d{6}")
_FILE = re.compile(r"(snapshot|heat_map|before|normal_\d)\.jpg|clip\.(mp4|mkv)|\..*\.part|\.\w+\.jpg\.\w+")
"""The last two are what a process that was killed while it wrote has left."""


@dataclass(frozen=True, slots=True)
class EvidenceFolder:
    """A folder that holds at most ``most_bytes`` of evidence once ``tidy`` has been called.

    An event's own folder is called STREAM-SESSION-NUMBER; of anything else in it nothing is deleted."""

    folder: Path
    most_bytes: float

    def keep(self, name: str, shown: Explanation) -> Evidence:
        """Write the pictures of the event ``name``; raises OutputError where that cannot be done."""
        pictures = files(shown)
        place = self._made(name) if pictures else self.folder / name
        for file, data in pictures.items():
            write_whole(place / file, data)
        return described(name, shown, str(self.folder.absolute()))

    def keep_clip(self, name: str, take: Take, evidence: Evidence, lead_s: float) -> Evidence:
        """Write the clip of the event ``name`` and return its evidence with that; ``lead_s`` is what the event's media
        time is ahead of the take's. Raises OutputError and InputError where there is none after all."""
        if take.coding is None or take.begins_s is None or not take.packets:
            return without_clip(evidence, "no clip: no key frame came")
        file = f"{CLIP}{suffix(take.coding)}"
        write_clip(self._made(name) / file, take.coding, take.packets)
        begins_s = take.begins_s + lead_s
        return msgspec.structs.replace(
            evidence,
            clip=f"{name}/{file}",
            clip_from=begins_s,
            notes=evidence.notes + notes(begins_s, take.wanted_s + lead_s, take.over),
        )

    def tidy(self, still_open: Collection[str] = ()) -> list[str]:
        """Delete the oldest events until the rest fits, none that is ``still_open``; return the names of those gone."""
        events = sorted((path.stat().st_mtime, path) for path in self._events())
        sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for _, path in events}
        total, gone = sum(sizes.values()), []
        for _, path in events:
            if total <= self.most_bytes:
                break
            if path.name in still_open:
                continue
            for file in path.iterdir():
                if _FILE.fullmatch(file.name):
                    file.unlink()
            with suppress(OSError):  # somebody put something of his own into it
                path.rmdir()
            total -= sizes[path]
            gone.append(path.name)
        return gone

    def _events(self) -> list[Path]:
        with os.scandir(self.folder) as entries:
            return [
                Path(entry.path)
                for entry in entries
                if _EVENT.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            ]

    def _made(self, name: str) -> Path:
        make_folder(self.folder / name)
        return self.folder / name


def files(shown: Explanation) -> Mapping[str, bytes]:
    """The pictures of an explanation by the names of their files."""
    all_files = {SNAPSHOT: shown.snapshot, HEAT_MAP: shown.heat_map}
    all_files |= {f"normal_{i}.jpg": one.jpeg for i, one in enumerate(shown.nearest, 1)}
    return {name: data for name, data in all_files.items() if data}


def described(name: str, shown: Explanation, folder: str) -> Evidence:
    """What an alert says of the files of an explanation, which lie in ``folder``/``name``."""
    kept = files(shown)
    nearest = tuple(
        Nearest(one.drive, round(one.time_s, 3), round(one.distance, 3), f"{name}/normal_{i}.jpg")
        for i, one in enumerate(shown.nearest, 1)
    )
    return Evidence(
        folder=folder,
        snapshot=f"{name}/{SNAPSHOT}" if SNAPSHOT in kept else None,
        heat_map=f"{name}/{HEAT_MAP}" if HEAT_MAP in kept else None,
        nearest=nearest,
        usual_distance=round(shown.usual, 3) if nearest else None,
        notes=shown.notes,
    )


def without_clip(evidence: Evidence, why: str) -> Evidence:
    """The same without a clip, and why."""
    return msgspec.structs.replace(evidence, clip=None, notes=(*evidence.notes, why))


def make_folder(folder: Path) -> None:
    """Make a folder where there is none; raises OutputError where that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            folder, f"must be a folder that can be made: {error.strerror}", "choose another"
        ) from error
