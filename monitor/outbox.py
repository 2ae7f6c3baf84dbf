"""The outbox: a disk that is slow or full, and a publisher that broke, hold up alerts but never the watching.

One thread writes snapshots, journals and publishes, in order. What cannot be journalled waits, up to
``CAPACITY`` alerts, and is tried again; what exceeds that is counted.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engines.errors import EndpointError, OutputError, SightlineError
from monitor.alerts import Alert, CaptureTime, Evidence, Model, alert, encode, numbered, topic
from monitor.events import Event
from monitor.journal import Journal
from monitor.publisher import Publisher

CAPACITY = 1000
RETRY_S = 1.0
SOURCE = "sightline/run"


@dataclass(frozen=True, slots=True)
class Message:
    """An event to be told.

    captured_unix_s: wall clock at media time ``event.time_s``. picture: JPEG, or empty.
    """

    event: Event
    model: Model
    captured_unix_s: float
    picture: bytes = b""


class Outbox:
    """Delivers messages in a thread of its own.

    journal: where alerts are written. endpoint: where they are published, or None. snapshots: folder for
    pictures, or None. session: tells this run's event numbers from another's. log: told in one line when
    something stops working and when it works again; called from any thread.

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
    ) -> None:
        self._session, self._log, self._endpoint, self._snapshots = session, log, endpoint, snapshots
        self._queue: queue.Queue[Message] = queue.Queue(CAPACITY)
        self._stop = threading.Event()
        self._failing: set[str] = set()
        self._lost = 0
        for folder in (journal.parent, *([snapshots] if snapshots is not None else [])):
            _make(folder)
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
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            self._lost += 1
            self._problem("outbox", f"{CAPACITY} alerts wait to be journalled; further ones are lost")

    def close(self, deadline_s: float = 1.0) -> None:
        """Deliver what waits, within ``deadline_s``, and close. Says what had to be left behind."""
        self._stop.set()
        self._thread.join(deadline_s)
        left = self._queue.qsize() + self._lost
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
            with suppress(queue.Empty):
                message = self._queue.get(timeout=0.1)
                if not self._deliver(message):
                    self._lost += 1
                    return

    def _deliver(self, message: Message) -> bool:
        """Try until it is in the journal; False when stopped before that."""
        ready = self._composed(message)
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

    def _composed(self, message: Message) -> Alert:
        return alert(
            message.event,
            source=SOURCE,
            session=self._session,
            model=message.model,
            capture_time=CaptureTime(message.captured_unix_s, "wallclock"),
            evidence=self._keep(message),
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
            self._problem("publisher", f"{error}; opening it again")
            self._close_publisher(publisher)
            self._publisher = None
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

    def _close_publisher(self, publisher: Publisher) -> None:
        try:
            publisher.close(0.5)
        except EndpointError as error:
            self._log(str(error))

    def _keep(self, message: Message) -> Evidence | None:
        if self._snapshots is None or not message.picture:
            return None
        event = message.event
        path = self._snapshots / f"{event.stream}-{self._session}-{event.number:06d}.jpg"
        partial = path.with_name(f".{path.name}.part")
        try:
            partial.write_bytes(message.picture)
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


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            folder, f"must be a folder that can be made: {error.strerror}", "choose another"
        ) from error
