"""Endpoints that cannot be opened, and keys that let in whom they should."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from zmq.auth import create_certificates

from engines.errors import ConfigError, EndpointError, OutputError
from monitor import alerts, wire
from monitor.alerts import Evidence
from monitor.journal import Journal
from monitor.publisher import Publisher
from monitor.subscriber import State, Subscriber
from monitor.wire import Curve
from tests.delivered import ANYWHERE, MODEL, alert, event, numbers, receive


def test_port_in_use_is_one_line(journal: Journal, endpoint: str) -> None:
    with Publisher(endpoint, journal) as publisher:
        with pytest.raises(EndpointError, match=r"must be free, is in use; stop the other program or choose"):
            Publisher(publisher.endpoint, journal)
        assert publisher.send(alert()) == 1


def test_catch_up_port_in_use_is_one_line(journal: Journal) -> None:
    with Publisher(ANYWHERE, journal) as publisher:
        port = int(publisher.endpoint.rpartition(":")[2])
        with pytest.raises(EndpointError, match=rf"127\.0\.0\.1:{port}: must be free"):
            Publisher(f"tcp://127.0.0.1:{port - 1}", journal)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("tcp://*:5556", "must be a loopback address unless CURVE keys are given"),
        ("tcp://0.0.0.0:5556", "must be a loopback address"),
        ("tcp://[::]:5556", "must be a loopback address"),
        ("tcp://192.0.2.7:5556", "must be a loopback address"),
        ("tcp://eth0:5556", "must be a loopback address"),
        ("127.0.0.1:5556", "must be tcp://HOST:PORT or ipc://PATH"),
        ("udp://127.0.0.1:5556", "must be tcp://HOST:PORT or ipc://PATH"),
        ("tcp://127.0.0.1:65535", "must have a port up to 65534"),
        ("ipc:///nowhere/at/all", "cannot be bound"),
    ],
)
def test_endpoint_that_may_not_be_bound_is_one_line(journal: Journal, address: str, message: str) -> None:
    with pytest.raises(EndpointError) as caught:
        Publisher(address, journal)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_alert_too_large_for_the_wire_is_refused_before_it_is_journalled(journal: Journal) -> None:
    large = alerts.alert(
        event(), source="/", session="s", model=MODEL, evidence=Evidence(snapshot="x" * wire.LARGEST_FRAME)
    )
    with Publisher(ANYWHERE, journal) as publisher:
        with pytest.raises(OutputError, match="must be at most 1048576 bytes"):
            publisher.send(large)
        assert publisher.send(alert()) == 1


def test_closed_publisher_refuses_and_closes_twice(journal: Journal) -> None:
    publisher = Publisher(ANYWHERE, journal)
    begin = time.monotonic()
    publisher.close()
    publisher.close()
    assert time.monotonic() - begin < 1.0
    with pytest.raises(EndpointError, match="must be open"):
        publisher.send(alert())
    assert journal.head == 0


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with key pairs for a server, a client it knows (in ``clients``) and a stranger."""
    clients = tmp_path / "clients"
    clients.mkdir()
    for name in ("server", "client", "stranger"):
        create_certificates(tmp_path, name)
    shutil.copy(tmp_path / "client.key", clients)
    return tmp_path


def test_curve_lets_in_known_keys_alone(journal: Journal, keys: Path) -> None:
    server = Curve(keys / "server.key_secret", keys / "clients")
    with Publisher("tcp://0.0.0.0:*", journal, curve=server) as publisher:
        endpoint = publisher.endpoint.replace("0.0.0.0", "127.0.0.1")
        publisher.send(alert(1))
        stranger = Subscriber(endpoint, 0, curve=Curve(keys / "stranger.key_secret", keys / "server.key"))
        impostor = Subscriber(endpoint, 0, curve=Curve(keys / "client.key_secret", keys / "stranger.key"))
        bare = Subscriber(endpoint, 0)
        known = Subscriber(endpoint, 0, curve=Curve(keys / "client.key_secret", keys / "server.key"))
        with stranger, impostor, bare, known:
            assert numbers(receive(known, 1)) == [1]
            publisher.send(alert(2))
            assert numbers(receive(known, 1)) == [2]
            for refused in (stranger, impostor, bare):
                assert refused.receive(0.5) is None
                assert refused.state is State.CONNECTING


@pytest.mark.parametrize(
    ("own", "peers", "message"),
    [
        ("absent.key_secret", "clients", "must be a CURVE certificate"),
        ("server.key", "clients", "must hold a secret key"),
        ("server.key_secret", "absent", "must be a folder of public certificates"),
        ("server.key_secret", "empty", "holds none"),
    ],
)
def test_unusable_keys_are_one_line(journal: Journal, keys: Path, own: str, peers: str, message: str) -> None:
    (keys / "empty").mkdir()
    with pytest.raises(ConfigError, match=message):
        Publisher(ANYWHERE, journal, curve=Curve(keys / own, keys / peers))
