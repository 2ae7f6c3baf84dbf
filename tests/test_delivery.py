"""Alerts over real sockets: each subscriber ends with every alert exactly once and in order."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from engines.errors import EndpointError, InputError
from monitor import alerts, wire
from monitor.alerts import Alert, Evidence
from monitor.cursor import Cursor, Happening, Notice
from monitor.journal import Journal
from monitor.publisher import Publisher
from monitor.subscriber import State, Subscriber
from tests.delivered import ANYWHERE, MANY, SMALL, alert, numbers, pump_until, receive


def test_late_subscriber_gets_every_alert(journal: Journal, endpoint: str) -> None:
    with Publisher(endpoint, journal, high_water=SMALL) as publisher:
        for number in range(1, MANY // 2):
            publisher.send(alert(number))
        with Subscriber(publisher.endpoint, 0, high_water=SMALL) as subscriber:
            received = receive(subscriber, 100)
            for number in range(MANY // 2, MANY + 1):
                publisher.send(alert(number))
            received += receive(subscriber, MANY - len(received))
            assert numbers(received) == list(range(1, MANY + 1))
            assert subscriber.receive(0.2) is None
            assert subscriber.repaired >= MANY // 2 - 1


def test_slow_subscriber_gets_every_alert(journal: Journal, endpoint: str) -> None:
    """It takes one alert for every ten that are sent; the rest overflows every queue on the way."""
    with (
        Publisher(endpoint, journal, high_water=SMALL) as publisher,
        Subscriber(publisher.endpoint, 0, high_water=SMALL) as subscriber,
    ):
        pump_until(subscriber, lambda: subscriber.state is State.CONNECTED)
        received: list[Alert] = []
        padding = Evidence(snapshot="x" * 2000)
        for number in range(1, MANY + 1):
            publisher.send(
                msgspec.structs.replace(
                    alert(number), data=msgspec.structs.replace(alert(number).data, evidence=padding)
                )
            )
            if number % 10 == 0:
                received += receive(subscriber, 1)
        received += receive(subscriber, MANY - len(received))
        assert numbers(received) == list(range(1, MANY + 1))
        assert subscriber.receive(0.2) is None
        assert subscriber.repaired > SMALL, "the test must overflow the queues"


def test_nothing_is_lost_when_the_hand_off_overflows(journal: Journal) -> None:
    with (
        Publisher(ANYWHERE, journal, handoff=1) as publisher,
        Subscriber(publisher.endpoint, 0) as subscriber,
    ):
        for number in range(1, MANY + 1):
            publisher.send(alert(number))
        assert numbers(receive(subscriber, MANY)) == list(range(1, MANY + 1))


def test_subscriber_lives_through_publisher_restarts(journal: Journal, endpoint: str) -> None:
    received: list[Alert] = []
    restarts = 4
    publisher = Publisher(endpoint, journal, high_water=SMALL)
    with Subscriber(publisher.endpoint, 0, high_water=SMALL) as subscriber:
        for _ in range(restarts):
            for number in range(MANY // restarts):
                publisher.send(alert(number))
                if number % 5 == 0:
                    received += receive(subscriber, 1)
            publisher.close()
            publisher = Publisher(publisher.endpoint, journal, high_water=SMALL)
        received += receive(subscriber, MANY - len(received))
        assert numbers(received) == list(range(1, MANY + 1))
        assert subscriber.receive(0.2) is None
        assert subscriber.lost == 0
    publisher.close()


PUBLISH_FOR_EVER = """
import sys, time
from monitor import alerts
from monitor.events import Event, Phase, Verdict
from monitor.journal import Journal
from monitor.publisher import Publisher

times = dict(onset_s=1.0, detected_s=2.0, time_s=2.0, end_s=None, peak_s=2.0)
levels = dict(channel="domain", value=9.0, threshold=3.0, peak=6.0)
said = Event("cam1", 1, Phase.START, Verdict.LEFT_DOMAIN, "", **times, **levels)
made = alerts.alert(said, source="/sightline/test", session="s", model=alerts.Model("highway", "0" * 64))
with Journal(sys.argv[2]) as journal, Publisher(sys.argv[1], journal) as publisher:
    print(publisher.endpoint, flush=True)
    while True:
        publisher.send(made)
        time.sleep(0.001)
"""


@pytest.fixture
def process(journal_path: Path) -> Iterator[Callable[[str], tuple[subprocess.Popen[str], str]]]:
    """Start publishers in processes of their own, whose journals are at ``journal_path``."""
    started: list[subprocess.Popen[str]] = []

    def start(endpoint: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-c", PUBLISH_FOR_EVER, endpoint, str(journal_path)]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(running)
        assert running.stdout is not None
        return running, running.stdout.readline().strip()

    yield start
    for running in started:
        running.kill()
        running.communicate(timeout=10)


def test_a_killed_publisher_loses_nothing(
    process: Callable[[str], tuple[subprocess.Popen[str], str]], journal_path: Path
) -> None:
    first, endpoint = process(ANYWHERE)
    with Subscriber(endpoint, 0, high_water=SMALL) as subscriber:
        received = receive(subscriber, 200)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
        with Journal(journal_path, read_only=True) as journal:
            head = journal.head
        process(endpoint)
        received += receive(subscriber, head + 200 - len(received))
    assert head >= 200
    assert numbers(received) == list(range(1, head + 201))


def test_a_hung_publisher_is_noticed_and_its_return_too(
    process: Callable[[str], tuple[subprocess.Popen[str], str]],
) -> None:
    running, endpoint = process(ANYWHERE)
    notices: list[Notice] = []
    with Subscriber(endpoint, notify=notices.append) as subscriber:
        received = receive(subscriber, 10)
        assert subscriber.state is State.CONNECTED
        running.send_signal(signal.SIGSTOP)
        begin = time.monotonic()
        while subscriber.state is not State.STALE and time.monotonic() < begin + 10:
            late = subscriber.receive(0.05)
            received += [late] if late else []
            begin = time.monotonic() if late else begin
        took = time.monotonic() - begin
        running.send_signal(signal.SIGCONT)
        received += receive(subscriber, 10)
        assert subscriber.state is State.CONNECTED
    assert 2.5 < took < 4.5
    assert [notice.happening for notice in notices] == [Happening.STALE, Happening.BACK]
    assert numbers(received) == list(range(received[0].number, received[0].number + len(received)))


def test_idle_subscriber_is_repaired_by_the_heartbeat(journal: Journal) -> None:
    """The last alerts before a silence went missing: no later one shows the gap, a heartbeat does."""
    with Publisher(ANYWHERE, journal) as publisher, Subscriber(publisher.endpoint) as subscriber:
        pump_until(subscriber, lambda: subscriber.state is State.CONNECTED)
        for number in (1, 2):
            journal.append("alert/cam1/camera_fault/", lambda sequence, n=number: payload(n, sequence))  # type: ignore[misc]
        assert numbers(receive(subscriber, 2, deadline_s=3.0)) == [1, 2]
        assert subscriber.repaired == 2


def payload(number: int, sequence: int) -> bytes:
    return alerts.encode(alerts.numbered(alert(number), sequence))


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        pytest.param(None, [6, 7], id="from now on"),
        pytest.param(0, [1, 2, 3, 4, 5, 6, 7], id="all"),
        pytest.param(3, [4, 5, 6, 7], id="after 3"),
    ],
)
def test_where_to_begin(journal: Journal, since: int | None, expected: list[int]) -> None:
    with Publisher(ANYWHERE, journal) as publisher, Subscriber(publisher.endpoint) as before:
        pump_until(before, lambda: before.state is State.CONNECTED)
        for number in range(1, 6):
            publisher.send(alert(number))
        receive(before, 5)  # what is on its way when somebody comes is still news to them
        with Subscriber(publisher.endpoint, since) as subscriber:
            received = receive(subscriber, max(0, len(expected) - 2))
            pump_until(subscriber, lambda: subscriber.state is State.CONNECTED)
            publisher.send(alert(6))
            publisher.send(alert(7))
            assert numbers(received + receive(subscriber, 2)) == expected


def test_what_was_pruned_is_reported_as_lost(journal_path: Path) -> None:
    notices: list[Notice] = []
    with Journal(journal_path, keep=10) as journal, Publisher(ANYWHERE, journal) as publisher:
        for number in range(1, 26):
            publisher.send(alert(number))
        with Subscriber(publisher.endpoint, 0, notify=notices.append) as subscriber:
            assert numbers(receive(subscriber, 10)) == list(range(16, 26))
            assert subscriber.lost == 15
    assert [(n.happening, n.first, n.last) for n in notices] == [(Happening.LOST, 1, 15)]


def test_an_unreadable_alert_is_reported_as_lost_and_the_next_one_comes(journal: Journal) -> None:
    notices: list[Notice] = []
    with Publisher(ANYWHERE, journal) as publisher:
        journal.append("alert/cam1/camera_fault/", lambda sequence: b"{not json")
        publisher.send(alert(2))
        with Subscriber(publisher.endpoint, 0, notify=notices.append) as subscriber:
            assert numbers(receive(subscriber, 1)) == [2]
    assert [(n.happening, n.first, n.last) for n in notices] == [(Happening.LOST, 1, 1)]


def test_a_lost_journal_is_told_and_its_successor_followed_from_the_start(tmp_path: Path) -> None:
    notices: list[Notice] = []
    first, second = tmp_path / "first", tmp_path / "second"
    with Journal(first) as journal, Publisher(ANYWHERE, journal) as publisher:
        endpoint = publisher.endpoint
        subscriber = Subscriber(endpoint, 0, notify=notices.append)
        publisher.send(alert(1))
        publisher.send(alert(2))
        assert numbers(receive(subscriber, 2)) == [1, 2]
    with subscriber, Journal(second) as journal, Publisher(endpoint, journal) as publisher:
        for number in range(1, 5):
            publisher.send(alert(number))
        assert numbers(receive(subscriber, 4)) == [1, 2, 3, 4]
    assert [notice.happening for notice in notices] == [Happening.RESET]


def test_a_journal_restored_from_a_backup_is_told_and_followed_from_its_end(tmp_path: Path) -> None:
    notices: list[Notice] = []
    path, backup = tmp_path / "journal", tmp_path / "backup"
    with Journal(path) as journal:
        for number in (1, 2):
            journal.append("alert/cam1/camera_fault/", lambda sequence, n=number: payload(n, sequence))  # type: ignore[misc]
    shutil.copy(path, backup)
    with Journal(path) as journal, Publisher(ANYWHERE, journal) as publisher:
        endpoint = publisher.endpoint
        subscriber = Subscriber(endpoint, 0, notify=notices.append)
        for number in (3, 4):
            publisher.send(alert(number))
        assert numbers(receive(subscriber, 4)) == [1, 2, 3, 4]
    shutil.copy(backup, path)
    with subscriber, Journal(path) as journal, Publisher(endpoint, journal) as publisher:
        pump_until(subscriber, lambda: bool(notices))
        publisher.send(alert(9))
        assert numbers(receive(subscriber, 1)) == [3]
    assert [notice.happening for notice in notices] == [Happening.RESET]


def fail_after_two(endpoint: str, state: Path) -> None:
    with Subscriber(endpoint, state=state) as subscriber:
        assert numbers(receive(subscriber, 2)) == [4, 5]
        raise ZeroDivisionError


def test_state_file_continues_where_the_last_run_ended(journal: Journal, tmp_path: Path) -> None:
    state = tmp_path / "position.json"
    with Publisher(ANYWHERE, journal) as publisher:
        for number in range(1, 11):
            publisher.send(alert(number, stream="cam1" if number < 8 else "cam2"))
        with Subscriber(publisher.endpoint, 0, state=state) as subscriber:
            assert numbers(receive(subscriber, 3)) == [1, 2, 3]
        with pytest.raises(ZeroDivisionError):
            fail_after_two(publisher.endpoint, state)
        with Subscriber(publisher.endpoint, state=state, camera="cam1") as subscriber:
            assert numbers(receive(subscriber, 3)) == [5, 6, 7], "5 was in hand when the program failed"
            assert subscriber.receive(0.3) is None
    assert msgspec.json.decode(state.read_bytes()) == {"epoch": journal.epoch, "sequence": 10}


@pytest.mark.parametrize("content", [b"", b"7", b'{"epoch": 1}'], ids=["empty", "number", "wrong types"])
def test_unusable_state_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    state = tmp_path / "position.json"
    state.write_bytes(content)
    with pytest.raises(InputError, match=r"position\.json: must be the state of a subscriber.*delete it"):
        Subscriber("tcp://127.0.0.1:5556", state=state)


def test_catch_up_answers_any_client(journal: Journal) -> None:
    with (
        zmq.Context() as context,
        Publisher(ANYWHERE, journal) as publisher,
        context.socket(zmq.REQ) as socket,
    ):
        for number in range(1, 6):
            publisher.send(alert(number))
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVTIMEO, 5000)
        socket.connect(wire.catchup_endpoint(publisher.endpoint))
        for nonsense in (
            b"",
            b"what?",
            b"{}",
            b'{"since": "x"}',
            b"\xff\x00",
            b"[" * 200_000,
            b'{"since": 9223372036854775808}',
            b'{"since": 0, "limit": 1e30}',
        ):
            socket.send(nonsense)
            (refusal,) = socket.recv_multipart()
            assert (
                "request must be JSON" in msgspec.json.decode(refusal)["error"]
            )  # and the next is answered, too
        socket.send(b'{"since": 2, "limit": 2, "request": 7}')
        header, *rows = socket.recv_multipart()
        assert msgspec.json.decode(header) == {
            "protocol": 1,
            "request": 7,
            "since": 2,
            "epoch": journal.epoch,
            "oldest": 1,
            "head": 5,
            "count": 2,
            "error": "",
        }
        assert rows[0::4] == [b"alert/cam1/camera_fault/"] * 2
        assert rows[1::4] == [journal.epoch.encode()] * 2
        assert rows[2::4] == [b"3", b"4"]
        assert [alerts.decode(row).number for row in rows[3::4]] == [3, 4]


def foreign(
    messages: list[list[bytes]], condition: Callable[[Subscriber], bool], notices: list[Notice]
) -> None:
    """Let a subscriber listen to a bare socket that says ``messages`` every 50 ms, until ``condition``."""
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.set(zmq.LINGER, 0)
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with Subscriber(f"tcp://127.0.0.1:{port}", 0, notify=notices.append) as subscriber:
            end = time.monotonic() + 10
            while not condition(subscriber):
                assert time.monotonic() < end
                for message in messages:
                    socket.send_multipart(message)
                assert subscriber.receive(0.05) is None


@pytest.mark.parametrize(
    "message",
    [
        [b"heartbeat/", b"?"],
        [b"heartbeat/"],
        [b"alert/x/", b"e", b"one", b"{}"],
        [b"alert/x/", b"\xff", b"1", b"{}"],
    ],
    ids=["not JSON", "one frame", "no number", "not text"],
)
def test_strange_messages_are_told_and_passed_over(message: list[bytes]) -> None:
    notices: list[Notice] = []
    foreign([message], lambda _: bool(notices), notices)
    assert {notice.happening for notice in notices} == {Happening.IGNORED}


def heartbeat(protocol: int = 1, head: int = 3) -> list[bytes]:
    sent = wire.Heartbeat(protocol=protocol, epoch="e", head=head, interval_s=1.0, catchup="")
    return [wire.HEARTBEAT_TOPIC, msgspec.json.encode(sent)]


def test_newer_protocol_is_refused() -> None:
    with pytest.raises(EndpointError, match="must speak alert protocol 1, speaks 2; update"):
        foreign([heartbeat(protocol=2)], lambda _: False, [])


def test_a_silent_catch_up_port_is_named_once() -> None:
    notices: list[Notice] = []
    stale_since: list[float] = []

    def stale_for_a_while(subscriber: Subscriber) -> bool:
        if subscriber.state is State.STALE and not stale_since:
            stale_since.append(time.monotonic())
        return bool(stale_since) and time.monotonic() - stale_since[0] > 1.5

    foreign([heartbeat()], stale_for_a_while, notices)
    assert [notice.happening for notice in notices] == [Happening.STALE]
    assert "no answer, though the publisher lives; is the port open?" in notices[0].text


def test_every_newcomer_is_greeted_at_once(journal: Journal) -> None:
    with Publisher(ANYWHERE, journal) as publisher:
        begin = time.monotonic()
        for _ in range(5):
            with Subscriber(publisher.endpoint) as subscriber:
                pump_until(subscriber, lambda s=subscriber: s.state is State.CONNECTED)  # type: ignore[misc]
        assert time.monotonic() - begin < 5 * wire.HEARTBEAT_S / 2


@pytest.mark.parametrize(
    ("heard", "taken", "behind"),
    [
        pytest.param(["a1", "a2"], [1, 2], False, id="in order"),
        pytest.param(["a1", "a3"], [1], True, id="gap"),
        pytest.param(["a1", "a3", "a2"], [1, 2], True, id="the next one, though behind"),
        pytest.param(["h2", "a1", "a2"], [1, 2], True, id="a heartbeat that overtook its alerts"),
        pytest.param(["h2", "a1", "p0-2"], [1, 2], False, id="page with what came live"),
        pytest.param(["a1", "p5-5", "h1"], [1], True, id="page asked for elsewhere"),
        pytest.param(["a1", "a1", "h1"], [1], False, id="twice"),
        pytest.param(["h2"], [], True, id="heartbeat ahead"),
        pytest.param(["a1", "a2", "h1", "p2-2"], [1, 2], False, id="old heartbeat"),
        pytest.param(["a1", "a3", "p1-3", "a3", "a4"], [1, 2, 3, 4], False, id="page, then what was queued"),
        pytest.param(["h9", "p0-4/9"], [1, 2, 3, 4], True, id="page with more to come"),
    ],
)
def test_cursor(heard: list[str], taken: list[int], behind: bool) -> None:
    """a: live alert; h: heartbeat with that head; pA-B/H: page of A+1 to B, of a journal that ends at H."""
    cursor = Cursor("test", "", 0, lambda notice: pytest.fail(notice.text))
    for message in heard:
        first, _, rest = message[1:].partition("-")
        if message[0] == "a":
            cursor.alert("e", int(first), b"")
        elif message[0] == "h":
            cursor.heartbeat("e", int(first))
        else:
            last, _, head = rest.partition("/")
            rows = [(number, b"") for number in range(int(first) + 1, int(last) + 1)]
            cursor.answer(wire.Answer(epoch="e", since=int(first), head=int(head or last)), rows)
    assert [sequence for _, sequence, _ in cursor.ready] == taken
    assert cursor.behind is behind


def test_an_alert_of_a_lost_journal_is_dealt_with_there() -> None:
    """The position would else be its number in the journal that came after, and what is before that passed over."""
    cursor = Cursor("test", "old", 11, lambda notice: None)
    cursor.alert("old", 12, b"")
    cursor.heartbeat("new", 3)
    assert list(cursor.ready) == [("old", 12, b"")]
    assert (cursor.epoch, cursor.dealt, cursor.behind) == ("new", 0, True)
