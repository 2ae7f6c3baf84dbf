"""What an alert says on the wire, and who hears it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import zmq

from monitor import alerts, wire
from monitor.alerts import CaptureTime, Evidence
from monitor.cursor import Notice
from monitor.events import Phase, Verdict
from monitor.journal import Journal
from monitor.publisher import Publisher
from monitor.subscriber import State, Subscriber
from tests.delivered import ANYWHERE, MODEL, alert, event, numbers, pump_until, receive


def test_alert_is_a_cloud_event_with_all_fields() -> None:
    made = alerts.alert(
        event(7, kind=Verdict.LEFT_DOMAIN, mode="", phase=Phase.END, end_s=20.0, value=float("inf")),
        source="/sightline/test",
        session="monday",
        model=MODEL,
        capture_time=CaptureTime(1_790_000_000.25, alerts.Basis.RTCP.value),
        evidence=Evidence(snapshot="7.jpg"),
    )
    found = msgspec.json.decode(alerts.encode(alerts.numbered(made, 42)))
    data = found.pop("data")
    assert found == {
        "specversion": "1.0",
        "id": "monday/cam1/7/end/12500",
        "source": "/sightline/test",
        "type": "sightline.alert",
        "time": "2026-09-21T14:13:20.250000Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:sightline:alert:1",
        "sequence": "00000000000000000042",
    }
    assert data["event_id"] == "monday/cam1/7"
    assert (data["t_onset"], data["t_detect"], data["t_end"]) == (12.0, 12.5, 20.0)
    assert (data["score"], data["threshold"], data["peak"]) == (None, 3.0, 6.0)
    assert data["capture_time"] == {"value": 1_790_000_000.25, "basis": "rtcp"}
    assert data["evidence"] == {"snapshot": "7.jpg"}
    assert data["model"] == {"id": "highway", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        pytest.param({}, "ERROR", id="fault"),
        pytest.param({"kind": Verdict.NO_SIGNAL, "mode": "no_frames"}, "STALE", id="no signal"),
        pytest.param({"kind": Verdict.STALE, "mode": "no_frames"}, "STALE", id="stale"),
        pytest.param({"kind": Verdict.CANT_TELL, "mode": ""}, "WARN", id="can't tell"),
        pytest.param({"mode": "noise"}, "WARN", id="a picture to work with"),
        pytest.param(
            {"mode": "covered", "unit": "share of picture", "peak": 0.3}, "WARN", id="covered in part"
        ),
        pytest.param(
            {"mode": "covered", "unit": "share of picture", "peak": 0.7}, "ERROR", id="mostly covered"
        ),
        pytest.param({"kind": Verdict.LEFT_DOMAIN, "mode": ""}, "WARN", id="left domain"),
        pytest.param({"phase": Phase.END, "end_s": 13.0}, "OK", id="over"),
    ],
)
def test_level_is_how_things_stand_now(changes: dict[str, object], level: str) -> None:
    assert alert(**changes).data.level == level


def test_encoding_is_deterministic_and_round_trips() -> None:
    payload = alerts.encode(alert(3))
    assert payload == alerts.encode(alert(3))
    assert alerts.decode(payload) == alert(3)
    assert alerts.encode(alerts.decode(payload)) == payload


def test_fields_and_words_from_the_future_are_understood() -> None:
    fields = msgspec.json.decode(alerts.encode(alert()))
    fields["traceparent"] = "00-1"
    fields["data"] |= {"kind": "kidnapped", "level": "DOOM", "novelty": {"deep": [1]}}
    read = alerts.decode(msgspec.json.encode(fields))
    assert (read.id, read.data.kind, read.data.level) == (alert().id, "kidnapped", "DOOM")


@pytest.mark.parametrize(
    ("camera", "expected"),
    [
        ("cam1", "alert/cam1/camera_fault/"),
        ("cam10", "alert/cam10/camera_fault/"),
        ("a/b c", "alert/a%2Fb%20c/camera_fault/"),
    ],
)
def test_topic_ends_in_a_slash_and_has_no_other_slashes(camera: str, expected: str) -> None:
    assert alerts.topic(alert(stream=camera)) == expected


def test_plain_zeromq_client_of_cam1_does_not_hear_cam10(journal: Journal) -> None:
    with (
        zmq.Context() as context,
        Publisher(ANYWHERE, journal) as publisher,
        context.socket(zmq.SUB) as socket,
    ):
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVTIMEO, 5000)
        socket.subscribe(b"alert/cam1/")
        socket.subscribe(wire.HEARTBEAT_TOPIC)
        socket.connect(publisher.endpoint)
        topic, body = socket.recv_multipart()
        assert (topic, msgspec.json.decode(body)["epoch"]) == (wire.HEARTBEAT_TOPIC, journal.epoch)
        for camera in ("cam10", "cam1", "cam11"):
            publisher.send(alert(stream=camera))
        heard = socket.recv_multipart()
        while heard[0] == wire.HEARTBEAT_TOPIC:
            heard = socket.recv_multipart()
        assert heard[:3] == [b"alert/cam1/camera_fault/", journal.epoch.encode(), b"2"]
        assert alerts.decode(heard[3]).number == 2
        later = socket.recv_multipart()
        assert later[0] == wire.HEARTBEAT_TOPIC
        assert msgspec.json.decode(later[1])["head"] == 3


@pytest.mark.parametrize(
    ("camera", "kind", "expected"),
    [
        pytest.param("cam1", None, [1, 4, 7], id="camera, not its namesake cam10"),
        pytest.param(None, "left_domain", [3, 6], id="kind"),
        pytest.param("cam1", "left_domain", [], id="both"),
    ],
)
def test_filter_sees_no_false_gaps(
    journal: Journal, camera: str | None, kind: str | None, expected: list[int]
) -> None:
    notices: list[Notice] = []
    with (
        Publisher(ANYWHERE, journal) as publisher,
        Subscriber(publisher.endpoint, 0, camera, kind, notify=notices.append) as subscriber,
    ):
        pump_until(subscriber, lambda: subscriber.state is State.CONNECTED)
        for number in range(1, 8):
            stream = "cam1" if number % 3 == 1 else "cam10"
            verdict = Verdict.LEFT_DOMAIN if number % 3 == 0 else Verdict.CAMERA_FAULT
            publisher.send(alert(number, stream=stream, kind=verdict))
        assert numbers(receive(subscriber, len(expected))) == expected
        assert subscriber.receive(0.3) is None
        assert (notices, subscriber.lost) == ([], 0)


def test_the_documented_example_is_what_is_sent() -> None:
    text = (Path(__file__).parents[1] / "docs" / "alerts.md").read_text(encoding="utf-8")
    (example,) = (
        block for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if "specversion" in block
    )
    sent = alerts.encode(alerts.decode(example.encode()))
    assert sent == msgspec.json.format(example.encode(), indent=-1)
