"""The publisher: alerts go to the journal, then to whoever listens, and again to whoever missed them."""

from __future__ import annotations

import errno
import socket as sockets
import threading
import time
from contextlib import suppress
from types import TracebackType

import msgspec
import zmq
from zmq.auth.thread import ThreadAuthenticator

from engines.errors import EndpointError, OutputError, SightlineError
from monitor.alerts import Alert, encode, numbered, topic
from monitor.journal import Entry, Journal
from monitor.wire import (
    HEARTBEAT_S,
    HEARTBEAT_TOPIC,
    LARGEST_FRAME,
    PAGE_LIMIT,
    PROTOCOL,
    ZAP_DOMAIN,
    Answer,
    Curve,
    Heartbeat,
    Request,
    Socket,
    catchup_endpoint,
    check_clients,
    configure,
    is_local,
    secure_server,
)

LINGER_MS = 200
BATCH = 64
# A page can be a mebibyte, and a client waits for one before it asks for the next.
PAGES_HIGH_WATER = 8
_HANDOFF = "inproc://handoff"
_request = msgspec.json.Decoder(Request)


class Publisher:
    """Publishes on ``endpoint`` and serves catch-up from ``journal`` on ``catchup_endpoint(endpoint)``.

    endpoint: tcp://HOST:PORT (PORT ``*`` picks a free pair) or ipc://PATH; the real one is
    ``publisher.endpoint``.
    curve: keys; without them only loopback and ipc may be bound. high_water: messages queued for one
    subscriber before the newest are withheld from it, to be fetched from the journal. handoff: alerts on
    their way to the thread. Raises EndpointError, and ConfigError for unusable keys. The caller closes the
    journal, after the publisher.
    """

    def __init__(
        self,
        endpoint: str,
        journal: Journal,
        *,
        curve: Curve | None = None,
        high_water: int = 1000,
        handoff: int = 1000,
    ) -> None:
        catchup_endpoint(endpoint)
        if curve is None and not is_local(endpoint):
            raise EndpointError(
                endpoint,
                "must be a loopback address unless CURVE keys are given, is open to the network",
                "bind tcp://127.0.0.1:PORT, or pass keys",
            )
        self._journal, self._wanted = journal, endpoint
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failure = ""
        self._context = zmq.Context()
        self._guard: ThreadAuthenticator | None = None
        self._reader: Journal | None = None
        try:
            self._live = self._socket(zmq.XPUB, high_water)
            self._live.set(zmq.XPUB_VERBOSE, 1)
            self._pages = self._socket(zmq.ROUTER, PAGES_HIGH_WATER)
            self._out = self._socket(zmq.PUSH, 1)
            self._in = self._socket(zmq.PULL, handoff)
            if curve is not None:
                self._secure(curve)
            self._in.bind(_HANDOFF)
            self._out.connect(_HANDOFF)
            self.endpoint, self.catchup = _bind_pair(self._live, self._pages, endpoint)
            self._reader = journal.reader()
        except BaseException:
            self._release()
            raise
        self._sent = self._reader.head
        self._thread = threading.Thread(target=self._run, args=(self._reader,), name="publisher", daemon=True)
        self._thread.start()

    def send(self, alert: Alert) -> int:
        """Journal ``alert``, hand it on, return its sequence number. Callable from any thread.

        Raises OutputError when it cannot be journalled (then nobody receives it), EndpointError when
        publishing has stopped (then it is in the journal, and delivered after a restart).
        """
        with self._lock:
            if self._stop.is_set():
                raise EndpointError(
                    self.endpoint, "must be open, the publisher was closed", "publish before closing"
                )
            entry = self._journal.append(topic(alert), lambda sequence: _payload(numbered(alert, sequence)))
            # With the hand-off full, subscribers notice the gap, or the next heartbeat, and ask.
            with suppress(zmq.Again):
                self._out.send_multipart(self._frames(entry), flags=zmq.NOBLOCK)
        if self._failure:
            raise EndpointError(
                self.endpoint, f"publishing stopped: {self._failure}", "restart the publisher"
            )
        return entry.sequence

    def close(self, deadline_s: float = 2.0) -> None:
        """Hand over what is under way and close; harmless twice. The journal has what remains unsent."""
        with self._lock:
            if self._stop.is_set():
                return
            self._stop.set()
            # With the hand-off full, the thread is busy and looks at the flag by itself.
            with suppress(zmq.Again):
                self._out.send(b"", flags=zmq.NOBLOCK)
        self._thread.join(deadline_s)
        if self._thread.is_alive():
            raise EndpointError(
                self.endpoint, f"must close within {deadline_s:g} s, did not", "end the process"
            )
        self._release()

    @property
    def failure(self) -> str:
        """Why nothing is published any more, empty while all is well."""
        return self._failure

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _socket(self, kind: int, high_water: int) -> Socket:
        socket = self._context.socket(kind)
        configure(socket, self._wanted, high_water=high_water, linger_ms=LINGER_MS)
        return socket

    def _secure(self, curve: Curve) -> None:
        check_clients(curve.peers)
        secure_server(self._live, curve)
        secure_server(self._pages, curve)
        self._guard = ThreadAuthenticator(self._context)
        self._guard.start()
        self._guard.configure_curve(domain=ZAP_DOMAIN.decode(), location=str(curve.peers))

    def _release(self) -> None:
        if self._guard is not None:
            self._guard.stop()
        if self._reader is not None:
            self._reader.close()
        self._context.destroy(linger=LINGER_MS)

    def _frames(self, entry: Entry) -> list[bytes]:
        return [entry.topic.encode(), self._journal.epoch.encode(), b"%d" % entry.sequence, entry.payload]

    def _run(self, reader: Journal) -> None:
        """The thread that owns the sockets, from its start to its end."""
        try:
            self._serve(reader)
        except Exception as error:  # noqa: BLE001
            # Whatever it was: what is handed over from now on must not seem published.
            self._failure = str(error) or type(error).__name__

    def _serve(self, reader: Journal) -> None:
        poller = zmq.Poller()
        for socket in (self._live, self._pages, self._in):
            poller.register(socket, zmq.POLLIN)
        due = time.monotonic()
        while not self._stop.is_set():
            ready = dict(poller.poll(max(0, round((due - time.monotonic()) * 1000))))
            if self._in in ready:
                self._publish()
            if self._pages in ready:
                self._answer_some(reader)
            joined = self._live in ready and self._subscribers()
            if joined or time.monotonic() >= due:
                self._beat(reader)
                due = time.monotonic() + HEARTBEAT_S
        while self._publish():
            pass
        # Who has asked is still answered; who asks later is told by the journal, after a restart.
        self._answer_some(reader)

    def _publish(self) -> bool:
        """Send a batch of handed-over alerts; return whether there were any."""
        for count in range(BATCH):
            try:
                frames = self._in.recv_multipart(flags=zmq.NOBLOCK)
            except zmq.Again:
                return count > 0
            if len(frames) > 1:
                self._live.send_multipart(frames, flags=zmq.NOBLOCK)
                self._sent = int(frames[2])
        return True

    def _subscribers(self) -> bool:
        """Read who subscribed or left; return whether somebody came, to be greeted with a heartbeat."""
        joined = False
        for _ in range(BATCH):
            try:
                joined |= self._live.recv(flags=zmq.NOBLOCK).startswith(b"\x01")
            except zmq.Again:
                break
        return joined

    def _beat(self, reader: Journal) -> None:
        heartbeat = Heartbeat(
            protocol=PROTOCOL,
            epoch=reader.epoch,
            head=max(reader.head, self._sent),
            interval_s=HEARTBEAT_S,
            catchup=self.catchup,
        )
        self._live.send_multipart([HEARTBEAT_TOPIC, msgspec.json.encode(heartbeat)], flags=zmq.NOBLOCK)

    def _answer_some(self, reader: Journal) -> None:
        for _ in range(BATCH):
            try:
                *address, body = self._pages.recv_multipart(flags=zmq.NOBLOCK)
            except zmq.Again:
                return
            # A ROUTER drops what its peer's queue cannot hold: the peer asks again.
            self._pages.send_multipart([*address, *self._answer(reader, body)], flags=zmq.NOBLOCK)

    def _answer(self, reader: Journal, body: bytes) -> list[bytes]:
        try:
            request = _request.decode(body)
            page = reader.since(max(0, request.since), max(1, min(request.limit, PAGE_LIMIT)))
        except (msgspec.DecodeError, RecursionError) as error:
            return [msgspec.json.encode(Answer(error=f"request must be JSON with 'since', got: {error}"))]
        except SightlineError as error:
            return [
                msgspec.json.encode(Answer(request=request.request, since=request.since, error=str(error)))
            ]
        answer = Answer(
            request=request.request,
            since=request.since,
            epoch=page.epoch,
            oldest=page.oldest,
            head=page.head,
            count=len(page.entries),
        )
        return [
            msgspec.json.encode(answer),
            *(frame for entry in page.entries for frame in self._frames(entry)),
        ]


def _payload(alert: Alert) -> bytes:
    """Refuse, before it is journalled, an alert that no subscriber would accept."""
    payload = encode(alert)
    if len(payload) > LARGEST_FRAME:
        raise OutputError(
            f"alert {alert.id}",
            f"must be at most {LARGEST_FRAME} bytes, is {len(payload)}",
            "put evidence in files and name them",
        )
    return payload


def _bind_pair(live: Socket, pages: Socket, endpoint: str) -> tuple[str, str]:
    """Bind both sockets and return where; with a port of choice, look for two free ones in a row."""
    chosen = catchup_endpoint(endpoint).endswith(":*")
    for attempt in range(20):
        bound = _bind(live, endpoint)
        try:
            return bound, _bind(pages, catchup_endpoint(bound))
        except EndpointError:
            if not chosen or attempt == 19:
                raise
            live.unbind(bound)
    raise AssertionError


def _bind(socket: Socket, endpoint: str) -> str:
    try:
        if endpoint.startswith("ipc://"):
            _refuse_stolen(endpoint)
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        if error.errno == errno.EADDRINUSE:
            problem, remedy = "must be free, is in use", "stop the other program or choose another endpoint"
        else:
            problem, remedy = (
                f"cannot be bound: {error.strerror}",
                "check the address, the path and the permissions",
            )
        raise EndpointError(endpoint, problem, remedy) from error
    return socket.get_string(zmq.LAST_ENDPOINT)


def _refuse_stolen(endpoint: str) -> None:
    """Raise when somebody listens at an ipc path: ZeroMQ would take the path away from it without a word."""
    path = endpoint.removeprefix("ipc://")
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        except OSError:
            return
    raise zmq.ZMQError(errno.EADDRINUSE)
