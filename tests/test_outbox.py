"""The outbox of the daemon, where disks are slow and publishers fail: ends of events come before all else."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.rendered import Segment
from monitor.alerts import Model
from monitor.events import Event, Phase, Verdict
from monitor.evidence import clips
from monitor.evidence.folder import EvidenceFolder
from monitor.journal import Journal
from monitor.outbox import Message, Outbox
from monitor.publisher import Publisher
from monitor.subscriber import Subscriber
from tests.test_evidence import journalled, take_of, until

MODEL = Model("m", "0")


def event(camera: str, phase: Phase = Phase.START) -> Event:
    end_s = 6.0 if phase is Phase.END else None
    return Event(
        camera, 1, phase, Verdict.CAMERA_FAULT, "black", 5.0, 5.5, 6.5, end_s, "black", 1.0, 0.98, 1.0, 5.5
    )


@pytest.fixture(scope="module")
def take(rendered_clip: Any) -> Any:
    return take_of(rendered_clip((Segment("highway", 3.0),), 5, (160, 90)))


def test_on_a_slow_disk_ends_are_journalled_before_clips(
    take: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = clips.write_clip

    def slowly(*arguments: Any) -> None:
        time.sleep(0.3)
        written(*arguments)

    monkeypatch.setattr("monitor.evidence.folder.write_clip", slowly)
    outbox = Outbox(
        tmp_path / "journal", "1-00000001", print, evidence=EvidenceFolder(tmp_path / "kept", 1e9)
    )
    cameras = [f"cam{number}" for number in range(6)]
    for camera in cameras:
        outbox.put(Message(event(camera), MODEL, 0.0, clip_suffix=".mp4"))
    until(lambda: len(journalled(tmp_path / "journal")) == 6)
    for camera in cameras:
        outbox.put(Message(event(camera, Phase.END), MODEL, 0.0, clip=take))
    outbox.close()
    ends = [alert.data for alert in journalled(tmp_path / "journal") if alert.data.phase == "end"]
    assert [data.camera for data in ends] == cameras
    kept = [data.evidence for data in ends]
    assert kept[0] is not None
    assert (tmp_path / "kept" / str(kept[0].clip)).is_file()
    assert kept[-1] is not None
    assert "no clip: there was no time for it before the end" in kept[-1].notes


def test_a_publisher_that_failed_is_opened_again_though_nothing_is_to_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without heartbeats subscribers take the camera for lost."""
    beat, broken = Publisher._beat, [True]

    def failing(publisher: Publisher, reader: Journal) -> None:
        if broken:
            raise sqlite3.OperationalError("disk I/O error")
        beat(publisher, reader)

    log: list[str] = []
    monkeypatch.setattr(Publisher, "_beat", failing)
    outbox = Outbox(tmp_path / "journal", "1-00000001", log.append, endpoint="tcp://127.0.0.1:*")
    try:
        until(lambda: any("disk I/O error; opening it again" in line for line in log))
        broken.clear()
        until(lambda: f"publishing on {outbox.endpoint} again" in log)
        assert outbox.endpoint is not None
        with Subscriber(outbox.endpoint, since=0) as subscriber:
            outbox.put(Message(replace(event("cam"), number=2), MODEL, 0.0))
            assert until(lambda: subscriber.receive(0.05)).data.camera == "cam"
    finally:
        outbox.close()
