"""The subscriber: every alert once and in order, whatever happens to it, the network or the publisher.

::

    with Subscriber("tcp://127.0.0.1:5556") as alerts:
        for alert in alerts:
            print(alert.data.camera, alert.data.kind, alert.data.mode)

While it waits for a page of the journal it leaves the live socket alone, whose bounded queue is the buffer;
what overflows there is asked for again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType

import msgspec
import zmq

from engines.errors import EndpointError, InputError, OutputError
from monitor.alerts import TOPIC_ROOT, Alert, decode
from monitor.cursor import Cursor, Happening, Notice
from monitor.wire import (
    HEARTBEAT_TOPIC,
    PAGE_LIMIT,
    PROTOCOL,
    STALE_S,
    Answer,
    Curve,
    Heartbeat,
    Request,
    Socket,
    catchup_endpoint,
    configure,
    secure_client,
)

POLL_S = 0.25
ANSWER_S = 1.0
DRAIN = 1000

_log = logging.getLogger(__name__)
_heartbeat = msgspec.json.Decoder(Heartbeat)
_answer = msgspec.json.Decoder(Answer)


class State(StrEnum):
    """Whether the publisher is known to be alive and its journal within reach."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    STALE = "stale"


class Position(msgspec.Struct, frozen=True):
    """What a state file remembers: the last alert dealt with, and the journal it was in."""

    epoch: str
    sequence: int


@dataclass(slots=True)
class _Question:
    """A request under way; ``silent_since`` is when the first of its kind went unanswered."""

    number: int
    since: int
    deadline: float
    silent_since: float
    sent: bool = False


def log_notice(notice: Notice) -> None:
    """Tell a notice to the log: what a subscriber does unless told otherwise."""
    _log.warning("%s", notice.text)


class Subscriber:
    """Follows the alerts of ``endpoint``. Use it from one thread.

    since: begin after this number, 0 for all that the journal keeps, None from now on.
    camera, kind: hand out these alone. state: a file that remembers the position and, once it exists, is
    where to begin. notify: told of losses, a stale publisher, its return, a lost journal.
    high_water: alerts queued here before the journal has to help.

    An alert counts as dealt with, for ``state``, when the next one is asked for or the subscriber is closed
    without an exception: after a crash the one in hand comes again. Raises EndpointError for an endpoint
    that cannot be used, InputError and OutputError for the state file, ConfigError for keys.
    """

    def __init__(
        self,
        endpoint: str,
        since: int | None = None,
        camera: str | None = None,
        kind: str | None = None,
        state: Path | str | None = None,
        *,
        curve: Curve | None = None,
        notify: Callable[[Notice], None] = log_notice,
        high_water: int = 1000,
    ) -> None:
        self.endpoint, self.catchup = endpoint, catchup_endpoint(endpoint)
        self.state = State.CONNECTING
        self._camera, self._kind, self._notify = camera, kind, notify
        self._file = None if state is None else Path(state)
        self._saved = self._load()
        begin = self._saved or Position("", -1)
        self._cursor = Cursor(endpoint, begin.epoch, begin.sequence if self._saved else since, notify)
        self._question: _Question | None = None
        self._asked = 0
        self._heard = time.monotonic()
        self._context = zmq.Context()
        try:
            self._live = self._connect(zmq.SUB, endpoint, high_water, curve)
            self._pages = self._connect(zmq.DEALER, self.catchup, high_water, curve)
        except BaseException:
            self._context.destroy(linger=0)
            raise

    @property
    def repaired(self) -> int:
        """How many alerts came from the journal instead of live."""
        return self._cursor.repaired

    @property
    def lost(self) -> int:
        """How many alerts are known to be lost."""
        return self._cursor.lost

    def receive(self, timeout_s: float) -> Alert | None:
        """Return the next alert, or None when none came in ``timeout_s`` seconds."""
        self._save()
        deadline = time.monotonic() + timeout_s
        while True:
            alert = self._take()
            if alert is not None:
                return alert
            left = deadline - time.monotonic()
            busy = self._turn(min(max(left, 0.0), POLL_S))
            if not busy and left <= 0:
                return None

    def __iter__(self) -> Iterator[Alert]:
        while not self._context.closed:
            alert = self.receive(1.0)
            if alert is not None:
                yield alert

    def close(self) -> None:
        """Remember the position and close; harmless twice."""
        if not self._context.closed:
            try:
                self._save()
            finally:
                self._context.destroy(linger=0)

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._context.destroy(linger=0)

    def _connect(self, kind: int, endpoint: str, high_water: int, curve: Curve | None) -> Socket:
        socket = self._context.socket(kind)
        configure(socket, endpoint, high_water=high_water, linger_ms=0)
        # Requests queued for a publisher that is away would all arrive when it returns.
        socket.set(zmq.IMMEDIATE, 1)
        if curve is not None:
            secure_client(socket, curve)
        if kind == zmq.SUB:
            # Heartbeats first: the greeting that follows a subscription must not be missed.
            socket.subscribe(HEARTBEAT_TOPIC)
            socket.subscribe(TOPIC_ROOT.encode())
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise EndpointError(endpoint, f"cannot be used: {error.strerror}", "check the address") from error
        return socket

    def _take(self) -> Alert | None:
        """Return the next alert at hand that passes the filter."""
        while self._cursor.ready:
            epoch, sequence, payload = self._cursor.ready.popleft()
            if epoch == self._cursor.epoch:  # else its number says nothing in the journal that is in force
                self._cursor.dealt = sequence
            try:
                alert = decode(payload)
            except msgspec.DecodeError as error:
                self._cursor.lose(sequence, sequence, f"cannot be read: {error}")
                continue
            if self._camera in (None, alert.data.camera) and self._kind in (None, alert.data.kind):
                return alert
        return None

    def _turn(self, wait_s: float) -> bool:
        """Wait for one message of the socket whose turn it is; return whether there was one."""
        if self._cursor.behind and self._question is None:
            self._ask(time.monotonic())
        question, wait_ms = self._question, round(wait_s * 1000)
        if question is None:
            busy = bool(self._live.poll(wait_ms))
            if busy:
                self._on_live(self._live.recv_multipart())
        elif not question.sent:
            busy = bool(self._pages.poll(wait_ms, zmq.POLLOUT))
            if busy:
                request = Request(request=question.number, since=question.since)
                self._pages.send(msgspec.json.encode(request), flags=zmq.NOBLOCK)
                question.sent = True
        else:
            busy = bool(self._pages.poll(wait_ms))
            if busy:
                self._on_page(self._pages.recv_multipart(), question)
        if not busy:
            self._look_at_clock(time.monotonic())
        return busy

    def _ask(self, silent_since: float) -> None:
        self._asked += 1
        deadline = time.monotonic() + ANSWER_S
        self._question = _Question(self._asked, self._cursor.since or 0, deadline, silent_since)

    def _look_at_clock(self, now: float) -> None:
        question = self._question
        if question is not None and now > question.deadline:
            self._drain()
            self._ask(question.silent_since)
        if now - self._heard > STALE_S:
            self._become_stale(f"{self.endpoint}: nothing heard for {STALE_S:g} s; is the publisher running?")
        elif question is not None and now - question.silent_since > STALE_S:
            self._become_stale(f"{self.catchup}: no answer, though the publisher lives; is the port open?")

    def _drain(self) -> None:
        """Hear whether the publisher lives though its journal is silent, which has what is passed over."""
        for _ in range(DRAIN):
            if not self._live.poll(0):
                return
            self._on_live(self._live.recv_multipart())

    def _become_stale(self, text: str) -> None:
        if self.state is not State.STALE:
            self.state = State.STALE
            self._notify(Notice(Happening.STALE, text))

    def _become_connected(self) -> None:
        was, self.state = self.state, State.CONNECTED
        if was is State.STALE:
            self._notify(Notice(Happening.BACK, f"{self.endpoint}: the publisher is back"))

    def _on_live(self, frames: list[bytes]) -> None:
        try:
            if frames[0] == HEARTBEAT_TOPIC:
                _, body = frames
                message = _heartbeat.decode(body)
            else:
                _, epoch, number, payload = frames
                sequence, journal = int(number), epoch.decode()
                message = None
        except (ValueError, msgspec.DecodeError) as error:
            self._ignore(self.endpoint, error)
            return
        self._heard = time.monotonic()
        if self._question is None:
            self._become_connected()
        if message is None:
            self._cursor.alert(journal, sequence, payload)
        else:
            self._check(message)
            self._cursor.heartbeat(message.epoch, message.head)

    def _check(self, heartbeat: Heartbeat) -> None:
        if heartbeat.protocol > PROTOCOL:
            problem = f"must speak alert protocol {PROTOCOL}, speaks {heartbeat.protocol}"
            raise EndpointError(self.endpoint, problem, "update sightline")

    def _on_page(self, frames: list[bytes], question: _Question) -> None:
        try:
            answer = _answer.decode(frames[0])
            rows = [(int(frames[i + 2]), frames[i + 3]) for i in range(1, len(frames), 4)]
            if answer.error or len(rows) > PAGE_LIMIT:
                raise ValueError(answer.error or f"{len(rows)} alerts in one page")
        except (ValueError, IndexError, msgspec.DecodeError) as error:
            self._ignore(self.catchup, error)
            return
        if answer.request == question.number:
            self._question = None
            self._heard = time.monotonic()
            self._become_connected()
            self._cursor.answer(answer, rows)

    def _ignore(self, where: str, error: Exception) -> None:
        self._notify(Notice(Happening.IGNORED, f"{where}: a message is not understood: {error}"))

    def _load(self) -> Position | None:
        if self._file is None or not self._file.exists():
            return None
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Position)
        except (OSError, msgspec.DecodeError) as error:
            problem = f"must be the state of a subscriber, got: {error}"
            raise InputError(self._file, problem, "delete it to begin anew") from error

    def _save(self) -> None:
        """Remember the last alert dealt with; the rename makes the file whole at every moment."""
        if self._file is None or self._cursor.dealt is None or not self._cursor.epoch:
            return
        position = Position(self._cursor.epoch, self._cursor.dealt)
        if position == self._saved:
            return
        fresh = self._file.with_name(f"{self._file.name}.new")
        try:
            fresh.write_bytes(msgspec.json.encode(position))
            fresh.replace(self._file)
        except OSError as error:
            raise OutputError(self._file, f"cannot be written: {error.strerror}", "choose another") from error
        self._saved = position
