"""The outbox: a disk that is slow or full, and a publisher that broke, hold up alerts but never the watching.

One thread writes evidence, journals and publishes, in order. What cannot be journalled waits, up to
``CAPACITY`` alerts, and is tried again; what exceeds that is counted. Evidence that cannot be written is not tried
again: the alerts go without, and say so.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from engines.errors import EndpointError, InputError, OutputError, SightlineError
from monitor.alerts import Alert, CaptureTime, Evidence, Model, alert, encode, numbered, proposal_alert, topic
from monitor.drift import Proposal
from monitor.events import Event, Phase
from monitor.evidence.explain import Explanation
from monitor.evidence.folder import CLIP, EvidenceFolder, make_folder, without_clip
from monitor.evidence.packets import Take
from monitor.journal import Journal
from monitor.publisher import Publisher

CAPACITY = 1000
RETRY_S = 1.0
SOURCE = "sightline/run"
MOST_CLIP_BYTES = 64 << 20
"""Of clips that wait to be written, by their packets; further ones are given up."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event, or a proposal, to be told.

    captured_unix_s: wall clock at media time ``event.time_s``. muted: wakes nobody. shown: what is to be seen, at its
    start. clip_suffix: of the clip that is to come; empty where none is. clip: that clip, finished, whose media time is
    ``lead_s`` behind the event's. quiet: nothing is to be told, only the clip to be kept, since the event goes on.
    bundle: its name, for the advice of a proposal.
    """

    event: Event | Proposal
    model: Model
    captured_unix_s: float
    shown: Explanation | None = None
    clip_suffix: str = ""
    clip: Take | None = None
    lead_s: float = 0.0
    quiet: bool = False
    muted: bool = False
    bundle: str = ""


class Outbox:
    """Delivers messages in a thread of its own.

    journal: where alerts are written. endpoint: where they are published, or None. snapshots: folder for
    stills alone, or None. evidence: where all that is seen of events is kept, or None. session: tells this run's
    event numbers from another's. log: told in one line when something stops working and when it works again; called
    from any thread.

    Raises EndpointError when the endpoint cannot be opened now, OutputError when a folder or the journal
    cannot be used now; later failures are only logged.
    """

    def __init__(
        self,
        journal: Path,
        session: str,
        log: Callable[[str], None],
        *,
        endpoint: str | None = None,
        snapshots: Path | None = None,
        evidence: EvidenceFolder | None = None,
    ) -> None:
        self._evidence = evidence
        self._kept: dict[str, Evidence] = {}
        self._clip_bytes, self._clips_lock = 0, threading.Lock()
        self._session, self._log, self._endpoint, self._snapshots = session, log, endpoint, snapshots
        self._queue: queue.Queue[Message] = queue.Queue(CAPACITY)
        self._stop = threading.Event()
        self._revived_s, self._clips_until_s = -math.inf, math.inf
        self._failing: set[str] = set()
        self._lost = 0
        for folder in (journal.parent, snapshots, None if evidence is None else evidence.folder):
            if folder is not None:
                make_folder(folder)
        self._journal = Journal(journal)
        try:
            self._publisher = None if endpoint is None else Publisher(endpoint, self._journal)
        except BaseException:
            self._journal.close()
            raise
        # A port of choice stays the same when the publisher has to be opened again.
        self.endpoint = None if self._publisher is None else self._publisher.endpoint
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Accept ``message`` without waiting; with the outbox full it is lost, which is logged."""
        if message.clip is not None and not self._room(message.clip.bytes):
            message = replace(message, clip=None)
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            self._lost += 1
            self._problem("outbox", f"{CAPACITY} alerts wait to be journalled; further ones are lost")
            self._written(message)

    def close(self, deadline_s: float = 1.0) -> None:
        """Deliver what waits, within ``deadline_s``, and close. Says what had to be left behind."""
        self._clips_until_s = time.monotonic() + 0.4 * deadline_s
        self._stop.set()
        self._thread.join(deadline_s)
        left = self._queue.qsize() + self._lost + self._thread.is_alive()
        if left:
            self._log(f"{left} alerts could not be journalled and are lost")
        if self._thread.is_alive():
            # It is stuck in the journal, and closing that would wait for it; the process ends them both.
            self._log(
                f"{self._journal.path}: must be writable within {deadline_s:g} s, is not; left as it is"
            )
            return
        if self._publisher is not None:
            self._close_publisher(self._publisher)
        self._journal.close()

    def _run(self) -> None:
        while not (self._stop.is_set() and self._queue.empty()):
            try:
                message = self._queue.get(timeout=0.1)
            except queue.Empty:
                self._revive()
                continue
            if not self._deliver(message):
                self._lost += 1
                return

    def _deliver(self, message: Message) -> bool:
        """Try until it is in the journal; False when stopped before that."""
        evidence = self._keep(message)
        self._written(message)
        if message.quiet:
            return True
        ready = self._composed(message, evidence)
        while True:
            last = self._stop.is_set()
            try:
                self._send(ready)
            except OutputError as error:
                self._problem("journal", f"{error}; trying again")
                if last:
                    return False
                self._stop.wait(RETRY_S)
                continue
            self._works("journal", "alerts are journalled again")
            if self._queue.empty():
                self._works("outbox", f"the outbox has room again; {self._lost} alerts were lost")
            return True

    def _composed(self, message: Message, evidence: Evidence | None) -> Alert:
        captured = CaptureTime(message.captured_unix_s, "wallclock")
        if isinstance(message.event, Proposal):
            return proposal_alert(
                message.event, message.bundle, source=SOURCE, session=self._session, model=message.model,
                capture_time=captured, muted=message.muted,
            )  # fmt: skip
        return alert(
            message.event,
            source=SOURCE,
            session=self._session,
            model=message.model,
            capture_time=captured,
            evidence=evidence,
            muted=message.muted,
        )

    def _send(self, ready: Alert) -> None:
        publisher = self._open_publisher()
        if publisher is None:
            self._journal.append(topic(ready), lambda sequence: encode(numbered(ready, sequence)))
            return
        try:
            publisher.send(ready)
        except EndpointError as error:
            # It is in the journal; a new publisher begins with a heartbeat that leads subscribers to it.
            self._give_up(publisher, str(error))
            self._open_publisher()

    def _revive(self) -> None:
        """Open the publisher again if it failed, or could not be opened: without heartbeats subscribers take the camera for
        lost, however long nothing is to be told."""
        if self._publisher is not None and self._publisher.failure:
            self._give_up(self._publisher, self._publisher.failure)
        if time.monotonic() >= self._revived_s + RETRY_S:
            self._revived_s = time.monotonic()
            self._open_publisher()

    def _open_publisher(self) -> Publisher | None:
        if self._publisher is None and self.endpoint is not None:
            try:
                self._publisher = Publisher(self.endpoint, self._journal)
            except SightlineError as error:
                self._problem("publisher", f"{error}; trying again")
            else:
                self._works("publisher", f"publishing on {self.endpoint} again")
        return self._publisher

    def _give_up(self, publisher: Publisher, why: str) -> None:
        self._problem("publisher", f"{why}; opening it again")
        self._close_publisher(publisher)
        self._publisher = None

    def _close_publisher(self, publisher: Publisher) -> None:
        try:
            publisher.close(0.5)
        except EndpointError as error:
            self._log(str(error))

    def _keep(self, message: Message) -> Evidence | None:
        """Write what is to be seen of an event, and return what there is of it by now."""
        if self._evidence is None:
            return self._keep_snapshot(message)
        if isinstance(message.event, Proposal):
            return None
        folder, event, shown, clip = self._evidence, message.event, message.shown, message.clip
        name = f"{event.stream}-{self._session}-{event.number:06d}"
        kept = self._kept.pop(name, None)
        if shown is not None:
            kept = self._try(lambda: folder.keep(name, shown), kept)
        if message.clip_suffix:
            kept = msgspec.structs.replace(kept or Evidence(), clip=f"{name}/{CLIP}{message.clip_suffix}")
        if clip is not None and time.monotonic() > self._clips_until_s:
            # On a slow disk the ends of events come first.
            kept = without_clip(kept or Evidence(), "no clip: there was no time for it before the end")
        elif clip is not None:
            begun = kept or Evidence()
            kept = self._try(lambda: folder.keep_clip(name, clip, begun, message.lead_s), begun)
        elif (
            event.phase is Phase.END and kept is not None and kept.clip is not None and kept.clip_from is None
        ):
            kept = without_clip(
                kept, f"no clip: over {MOST_CLIP_BYTES >> 20} MiB of clips waited for the disk"
            )
        if event.phase is not Phase.END and kept is not None:
            self._kept[name] = kept
        if shown is not None or clip is not None:
            self._tidy(folder)
        return kept

    def _try(self, write: Callable[[], Evidence], before: Evidence | None) -> Evidence:
        """Return what ``write`` does, or what there was before and why no more."""
        try:
            evidence = write()
        except InputError as error:
            return without_clip(before or Evidence(), f"no clip: {error.problem}")
        except OutputError as error:
            self._problem("evidence", f"{error}; alerts go without")
            return without_clip(before or Evidence(), f"not all could be kept: {error.problem}")
        self._works("evidence", "evidence is kept again")
        return evidence

    def _tidy(self, folder: EvidenceFolder) -> None:
        try:
            folder.tidy(self._kept)
        except OSError as error:
            self._problem("tidying", f"{folder.folder}: old evidence must be deletable: {error.strerror}")
        else:
            self._works("tidying", "old evidence is deleted again")

    @property
    def waiting_clip_bytes(self) -> int:
        """Of clips that were accepted and are not written yet."""
        with self._clips_lock:
            return self._clip_bytes

    def _room(self, size: int) -> bool:
        """Take up room for a clip, if there is any."""
        with self._clips_lock:
            if self._clip_bytes and self._clip_bytes + size > MOST_CLIP_BYTES:
                return False
            self._clip_bytes += size
            return True

    def _written(self, message: Message) -> None:
        with self._clips_lock:
            self._clip_bytes -= 0 if message.clip is None else message.clip.bytes

    def _keep_snapshot(self, message: Message) -> Evidence | None:
        if self._snapshots is None or message.shown is None or not message.shown.snapshot:
            return None
        event = message.event
        path = self._snapshots / f"{event.stream}-{self._session}-{event.number:06d}.jpg"
        partial = path.with_name(f".{path.name}.part")
        try:
            partial.write_bytes(message.shown.snapshot)
            partial.replace(path)
        except OSError as error:
            self._problem("snapshots", f"{path}: must be writable, got: {error.strerror}; alerts go without")
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            return None
        self._works("snapshots", "snapshots are kept again")
        return Evidence(snapshot=str(path))

    def _problem(self, part: str, text: str) -> None:
        if part not in self._failing:
            self._failing.add(part)
            self._log(text)

    def _works(self, part: str, text: str) -> None:
        if part in self._failing:
            self._failing.discard(part)
            self._log(text)
