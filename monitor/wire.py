"""What publisher and subscriber agree on: frames, control messages, endpoints, socket options, keys.

The protocol itself is written down for every language in ``docs/alerts.md``.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
import zmq
from zmq.auth import load_certificate, load_certificates

from engines.errors import ConfigError, EndpointError

PROTOCOL = 1
HEARTBEAT_TOPIC = b"heartbeat/"
HEARTBEAT_S = 1.0
STALE_S = 3.5
PAGE_LIMIT = 256
LARGEST_FRAME = 1 << 20
ZAP_DOMAIN = b"sightline"

Socket: TypeAlias = zmq.Socket[bytes]

_TCP = re.compile(r"tcp://(?P<host>\[[^\]/]+\]|[^:/\[\]]+):(?P<port>\d{1,5}|\*)")


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """Sent every ``interval_s`` seconds, and at once when somebody subscribes.

    epoch: identity of the journal. head: the newest number. catchup: the endpoint that answers requests, as
    bound.
    """

    protocol: int
    epoch: str
    head: int
    interval_s: float
    catchup: str


Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What a journal can look for, and JSON can carry back; Python's own go on."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for what follows ``since``; ``request`` comes back in the answer."""

    protocol: Int64 = PROTOCOL
    request: Int64 = 0
    since: Int64
    limit: Int64 = PAGE_LIMIT


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """First frame of a page, before ``count`` alerts of four frames. ``error`` is empty if all is well."""

    protocol: int = PROTOCOL
    request: int = 0
    since: int = 0
    epoch: str = ""
    oldest: int = 0
    head: int = 0
    count: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """CURVE keys, in the certificate files of ``zmq.auth``.

    own: certificate that holds the own secret key (``*.key_secret``). peers: for a publisher the folder of
    the public certificates (``*.key``) of those who may subscribe, for a subscriber the publisher's public
    certificate.
    """

    own: Path
    peers: Path


def catchup_endpoint(endpoint: str) -> str:
    """Return where catch-up is served: the next port for tcp, ``.catchup`` appended for ipc.

    Raises EndpointError for an endpoint that is neither.
    """
    if endpoint.startswith("ipc://") and len(endpoint) > len("ipc://"):
        return f"{endpoint}.catchup"
    match = _TCP.fullmatch(endpoint)
    if match is None:
        raise EndpointError(
            endpoint, "must be tcp://HOST:PORT or ipc://PATH", "for example tcp://127.0.0.1:5556"
        )
    if match["port"] in {"*", "0"}:
        return f"tcp://{match['host']}:*"
    port = int(match["port"]) + 1
    if port > 65535:
        raise EndpointError(
            endpoint, "must have a port up to 65534, the next one serves catch-up", "choose another"
        )
    return f"tcp://{match['host']}:{port}"


def is_local(endpoint: str) -> bool:
    """Whether binding ``endpoint`` is invisible to other machines: ipc, or tcp on a loopback address."""
    match = _TCP.fullmatch(endpoint)
    if match is None:
        return True
    host = match["host"].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def configure(socket: Socket, endpoint: str, *, high_water: int, linger_ms: int) -> None:
    """Set the options every socket needs: bounded queues, bounded waits, peers that died are noticed."""
    if high_water < 1:
        raise ValueError(f"high_water: must be at least 1 message (0 would be unbounded), got {high_water}")
    socket.set(zmq.SNDHWM, high_water)
    socket.set(zmq.RCVHWM, high_water)
    socket.set(zmq.LINGER, linger_ms)
    socket.set(zmq.HEARTBEAT_IVL, 1000)
    socket.set(zmq.HEARTBEAT_TIMEOUT, 3000)
    socket.set(zmq.HEARTBEAT_TTL, 5000)
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.HANDSHAKE_IVL, 5000)
    socket.set(zmq.MAXMSGSIZE, LARGEST_FRAME)
    socket.set(zmq.RECONNECT_IVL, 100)
    socket.set(zmq.RECONNECT_IVL_MAX, 5000)
    # With IPV6 set, "localhost" means ::1 alone, where a publisher on 127.0.0.1 is not found.
    socket.set(zmq.IPV6, int("[" in endpoint))


def secure_server(socket: Socket, curve: Curve) -> None:
    """Make ``socket`` accept only peers that an authenticator lets in; without one it accepts nobody."""
    public, secret = _key_pair(curve.own)
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_PUBLICKEY, public)
    socket.set(zmq.CURVE_SECRETKEY, secret)
    socket.set(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
    socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)


def secure_client(socket: Socket, curve: Curve) -> None:
    """Make ``socket`` speak only with the publisher whose public certificate ``curve.peers`` is."""
    public, secret = _key_pair(curve.own)
    socket.set(zmq.CURVE_PUBLICKEY, public)
    socket.set(zmq.CURVE_SECRETKEY, secret)
    socket.set(zmq.CURVE_SERVERKEY, _certificate(curve.peers)[0])


def check_clients(folder: Path) -> None:
    """Raise ConfigError unless ``folder`` holds at least one public certificate."""
    try:
        found = load_certificates(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(
            folder, f"must be a folder of public certificates, got: {error}", _MAKE_KEYS
        ) from error
    if not found:
        raise ConfigError(
            folder, "must hold a public certificate (*.key) of each subscriber, holds none", _MAKE_KEYS
        )


_MAKE_KEYS = "zmq.auth.create_certificates makes a pair"


def _certificate(path: Path) -> tuple[bytes, bytes | None]:
    try:
        return load_certificate(path)
    except (OSError, ValueError) as error:
        raise ConfigError(path, f"must be a CURVE certificate, got: {error}", _MAKE_KEYS) from error


def _key_pair(path: Path) -> tuple[bytes, bytes]:
    public, secret = _certificate(path)
    if secret is None:
        raise ConfigError(
            path, "must hold a secret key, holds a public one alone", "give the *.key_secret file"
        )
    return public, secret
