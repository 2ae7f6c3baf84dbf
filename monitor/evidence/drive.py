"""What is kept of the events of one recording: the pictures of the moment, and a clip cut out of the recording itself."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from engines.errors import InputError
from engines.footage import Drive
from monitor.alerts import Evidence
from monitor.events import Event, Phase
from monitor.evidence.clips import Clip, clip_suffix, cut
from monitor.evidence.explain import Explanation
from monitor.evidence.folder import CLIP, EvidenceFolder, without_clip

PRE_ROLL_S, CLIP_S = 5.0, 10.0
"""What a clip shows before the onset, and after detection at most."""


class DriveEvidence:
    """Keeps it in ``folder``, in a folder called DRIVE-NUMBER for each event. clips: those that were cut, by event."""

    def __init__(self, drive: Drive, folder: EvidenceFolder, images_per_second: float) -> None:
        self.clips: dict[int, Clip] = {}
        self.notes: dict[int, tuple[str, ...]] = {}
        self._drive, self._folder, self._pace = drive, folder, images_per_second
        self._suffix = clip_suffix(drive)
        self._kept: dict[int, Evidence] = {}

    def tell(self, event: Event, shown: Explanation | None) -> Evidence | None:
        """Keep what there is of an event when it begins, and its clip when it ends; return what there is of it by now.
        shown: at its start. Raises OutputError where nothing can be written."""
        name = f"{quote(self._drive.name, safe='')}-{event.number:06d}"
        kept = self._kept.get(event.number)
        if event.phase is Phase.START and shown is not None:
            kept = self._folder.keep(name, shown)
            clip = f"{name}/{CLIP}{self._suffix}" if self._suffix else None
            kept = msgspec.structs.replace(kept, clip=clip)
        elif event.phase is Phase.END and kept is not None:
            kept = self._cut(event, name, kept)
        if kept is not None:
            self._kept[event.number], self.notes[event.number] = kept, kept.notes
        return kept

    def _cut(self, event: Event, name: str, kept: Evidence) -> Evidence:
        wanted_s = max(0.0, event.onset_s - PRE_ROLL_S)
        until_s = min(event.time_s, event.detected_s + CLIP_S)
        stem = self._folder.folder / name / CLIP
        try:
            clip = cut(self._drive, stem, wanted_s, until_s, self._pace)
        except InputError as error:
            return without_clip(kept, f"no clip: {error.problem}")
        self.clips[event.number] = clip
        return msgspec.structs.replace(
            kept, clip=f"{name}/{clip.path.name}", clip_from=clip.begins_s, notes=kept.notes + clip.notes
        )
