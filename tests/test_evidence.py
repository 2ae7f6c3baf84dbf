"""What is kept of live events: pictures and a clip of each, written whole, bounded, and told of truly."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import open_bundle
from engines.decoding import ON_PROCESSOR
from engines.footage import Recording, find_drives
from engines.frames import Frame
from engines.normal import NormalPictures
from engines.regions import NOWHERE, Regions
from engines.rendered import Segment, render, write_video
from monitor.alerts import Alert, Model, decode
from monitor.config import load_config
from monitor.events import Event, Phase, Verdict
from monitor.evidence.explain import NO_PART, Explainer, Explanation, Sight
from monitor.evidence.folder import EvidenceFolder
from monitor.evidence.heat_map import HeatScale, heat_map, shown_strength
from monitor.evidence.packets import Coded, Coding, PacketRing, coded
from monitor.outbox import Message, Outbox
from monitor.run_command import load_models, watch

BLACK_FROM_S, BLACK_S = 6.0, 3.0


def until(condition: Callable[[], Any], within_s: float = 25.0) -> Any:
    """Return the first true value of ``condition``; fail if there is none in time."""
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        pause.wait(0.02)
    return value


def journalled(path: Path) -> list[Alert]:
    with closing(sqlite3.connect(path)) as opened:
        try:
            rows = opened.execute("SELECT payload FROM entries ORDER BY sequence").fetchall()
        except sqlite3.OperationalError:  # the journal is just being made
            return []
        return [decode(row) for (row,) in rows]


@contextmanager
def watching(folder: Path, bundle: Path, url: str, more: str = "") -> Iterator[Callable[..., Any]]:
    """Watch one camera called ``front``; yields what finds its alert of a phase and mode as soon as it is journalled."""
    path = folder / "cameras.toml"
    path.write_text(
        f'bundle = "{bundle}"\njournal = "alerts.journal"\nevidence = "evidence"\n{more}\n'
        f'[[camera]]\nname = "front"\nurl = "{url}"\nno_frames_after_s = 1\nread_timeout_s = 1\nopen_timeout_s = 1\n'
    )
    config = load_config(path)
    models, stop = load_models(path, config), threading.Event()
    thread = threading.Thread(target=watch, args=(config, models, [ON_PROCESSOR], stop))
    thread.start()

    def told(phase: str, mode: str = "black") -> Any:
        def found() -> Any:
            alerts = journalled(config.journal) if config.journal.exists() else []
            return next((a.data for a in alerts if (a.data.phase, a.data.mode) == (phase, mode)), None)

        return until(found)

    try:
        yield told
    finally:
        stop.set()
        thread.join(10.0)


@pytest.fixture(scope="module")
def blackout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered drive that goes black for a while; a key frame each second, B-frames between."""
    path = tmp_path_factory.mktemp("blackout") / "black.mp4"
    script = (
        Segment("highway", BLACK_FROM_S),
        Segment("highway", BLACK_S, "black", 5),
        Segment("highway", 5.0),
    )
    write_video(path, (image for _, _, image in render(script, 2, (320, 180), 10.0)), 10.0)
    return path


def opened(path: Path) -> tuple[str, list[Coded], list[float]]:
    """The codec of a clip, its packets, and the times of its pictures, all of which decode."""
    with av.open(str(path)) as container:
        packets = [coded(packet) for packet in container.demux(container.streams.video[0]) if packet.size]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"err_detect": "explode"}
        frames = list(container.decode(video=0))
        assert not any(frame.is_corrupt for frame in frames)
        return stream.codec_context.name, packets, [float(frame.time or 0) for frame in frames]


def test_a_blackout_leaves_its_pictures_and_a_clip_of_the_cameras_own_packets(
    blackout: Path, rendered_bundle: Path, tmp_path: Path
) -> None:
    with watching(tmp_path, rendered_bundle, f"loop:{blackout}", "pre_roll_s = 2.5\nclip_s = 20") as told:
        start, end = told("start"), told("end")
    folder = tmp_path / "evidence"
    assert Path(start.evidence.folder) == folder
    assert start.evidence.clip == end.evidence.clip
    assert start.evidence.clip_from is None
    assert end.evidence.notes in ((), (NO_PART,))
    assert end.evidence.clip_from == pytest.approx(int(start.t_onset - 2.5), abs=0.2)
    codec, packets, times = opened(folder / end.evidence.clip)
    assert codec == "h264"
    assert packets[0].key
    assert end.evidence.clip_from + times[-1] == pytest.approx(end.t, abs=0.5)
    with av.open(str(blackout)) as container:
        theirs = {bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size}
    assert {packet.data for packet in packets} <= theirs
    shot, hot = (cv2.imread(str(folder / name)) for name in (end.evidence.snapshot, end.evidence.heat_map))
    assert shot is not None
    assert hot is not None
    assert shot.mean() < 40
    assert shot.shape == hot.shape
    assert [cv2.imread(str(folder / one.picture)) is None for one in end.evidence.nearest] == [False] * 3
    assert [one.distance for one in end.evidence.nearest] == sorted(
        one.distance for one in end.evidence.nearest
    )
    assert end.evidence.nearest[0].distance > 2 * end.evidence.usual_distance
    assert sorted(path.name for path in (folder / end.evidence.clip).parent.iterdir()) == [
        "clip.mp4", "heat_map.jpg", "normal_1.jpg", "normal_2.jpg", "normal_3.jpg", "snapshot.jpg",
    ]  # fmt: skip


def test_the_clip_of_a_long_event_is_there_before_it_ends(
    blackout: Path, rendered_bundle: Path, tmp_path: Path
) -> None:
    with watching(tmp_path, rendered_bundle, f"loop:{blackout}", "pre_roll_s = 1\nclip_s = 0.5") as told:
        start = told("start")
        clip = tmp_path / "evidence" / start.evidence.clip
        until(clip.exists)
        early = told("start") and not any(
            a.data.phase == "end" for a in journalled(tmp_path / "alerts.journal")
        )
        end = told("end")
    assert early
    assert end.evidence.clip == start.evidence.clip
    ends_s = end.evidence.clip_from + opened(clip)[2][-1]
    assert start.t_detect + 0.1 < ends_s < start.t_detect + 2.0, "half a second, and what a busy machine adds"


def test_a_camera_of_raw_pictures_says_that_there_is_no_clip(rendered_bundle: Path, tmp_path: Path) -> None:
    with watching(tmp_path, rendered_bundle, "lavfi:color=black:size=320x180:rate=10") as told:
        evidence = told("start").evidence
    assert evidence.clip is None
    assert evidence.snapshot is not None
    assert "raw pictures" in " ".join(evidence.notes)


@pytest.mark.rtsp
def test_a_camera_that_hangs_leaves_what_it_sent_last(
    rtsp_server: Callable[..., Any], rendered_bundle: Path, tmp_path: Path
) -> None:
    """Over a real RTSP link: the clip holds exactly the units that another client of the camera received, and nothing
    of the connection that came after."""
    server = rtsp_server("--fps", "10", "--size", "320x180")
    received: list[bytes] = []
    hung = threading.Event()

    def listen() -> None:
        options = {"rtsp_transport": "tcp"}
        with av.open(server.url, options=options, timeout=(5.0, 2.0)) as container:
            try:
                for packet in container.demux(container.streams.video[0]):
                    received.append(bytes(packet))
            except av.error.FFmpegError:
                hung.set()

    with watching(tmp_path, rendered_bundle, server.url, "pre_roll_s = 2\nclip_s = 0.5") as told:
        other = threading.Thread(target=listen)
        other.start()
        until(lambda: len(received) > 70)
        server.hang()
        start = told("start", "no_frames")
        until(hung.is_set)
        server.resume()
        end = told("end", "no_frames")
    other.join(10.0)
    assert end.evidence.clip is not None
    codec, packets, times = opened(tmp_path / "evidence" / end.evidence.clip)
    assert (codec, packets[0].key) == ("h264", True)
    assert end.evidence.clip_from <= start.t_onset - 2.0
    assert end.evidence.clip_from + times[-1] == pytest.approx(start.t_onset, abs=0.3)
    theirs = [slices(data, None) for data in received]
    mine = [slices(packet.data, 4) for packet in packets]
    assert len(mine) >= 20
    first = theirs.index(mine[0])
    assert theirs[first : first + len(mine)] == mine


def slices(packet: bytes, length: int | None) -> list[bytes]:
    """The NAL units of an H.264 packet without parameter sets: set apart by start codes, or by ``length`` bytes."""
    units, rest = [], packet
    if length is None:
        units = [unit for unit in packet.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
    while length is not None and rest:
        size = int.from_bytes(rest[:length], "big")
        units.append(rest[length : length + size])
        rest = rest[length + size :]
    return [unit for unit in units if unit[0] & 31 not in (6, 7, 8, 9)]


EVENT = Event(
    "front", 1, Phase.START, Verdict.CAMERA_FAULT, "black", 5.0, 5.5, 5.5, None, "black", 1.0, 0.98, 1.0, 5.5
)


def take_of(path: Path) -> Any:
    ring = PacketRing(60.0)
    with av.open(str(path)) as container:
        ring.begin(Coding(container.streams.video[0]))
        for packet in container.demux(container.streams.video[0]):
            if packet.pts is not None:
                ring.put(coded(packet), float(packet.pts * packet.time_base))
    take = ring.take(0.0, 5.0)
    ring.finish(take)
    return take


def test_a_folder_that_cannot_be_written_costs_the_evidence_and_no_alert(
    blackout: Path, tmp_path: Path
) -> None:
    log: list[str] = []
    folder = tmp_path / "evidence"
    outbox = Outbox(tmp_path / "journal", "1-00000001", log.append, evidence=EvidenceFolder(folder, 1e9))
    folder.rmdir()
    folder.write_text("in the way")
    model, shown = Model("m", "0"), Explanation(snapshot=b"jpeg")
    outbox.put(Message(EVENT, model, 0.0, shown, ".mp4"))
    outbox.put(
        Message(replace(EVENT, phase=Phase.END, end_s=6.0, time_s=6.5), model, 0.0, clip=take_of(blackout))
    )
    until(lambda: len(journalled(tmp_path / "journal")) == 2)
    folder.unlink()
    outbox.put(Message(replace(EVENT, number=2), model, 0.0, shown))
    until(lambda: len(journalled(tmp_path / "journal")) == 3)
    outbox.close()
    first, end, second = (alert.data.evidence for alert in journalled(tmp_path / "journal"))
    assert first is not None
    assert end is not None
    assert second is not None
    assert end.clip is None
    assert "not all could be kept" in " ".join(end.notes)
    assert second.snapshot == "front-1-00000001-000002/snapshot.jpg"
    assert [line.partition(":")[0] for line in log if "alerts go without" in line]
    assert "evidence is kept again" in log


def test_clips_that_wait_for_a_disk_are_bounded(
    blackout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that cannot be written holds up its queue, and every clip in it is megabytes of memory."""
    take = take_of(blackout)
    monkeypatch.setattr("monitor.outbox.MOST_CLIP_BYTES", int(2.5 * take.bytes))
    outbox = Outbox(
        tmp_path / "journal", "1-00000001", print, evidence=EvidenceFolder(tmp_path / "kept", 1e9)
    )
    with closing(sqlite3.connect(tmp_path / "journal")) as locked:
        locked.execute("BEGIN IMMEDIATE")
        outbox.put(Message(EVENT, Model("m", "0"), 0.0))
        for _ in range(5):
            outbox.put(Message(EVENT, Model("m", "0"), 0.0, clip=take, quiet=True))
        assert outbox.waiting_clip_bytes <= 2.5 * take.bytes
        locked.rollback()
    until(lambda: outbox.waiting_clip_bytes == 0)
    outbox.close()


def test_the_oldest_evidence_goes_and_nothing_else(tmp_path: Path) -> None:
    for number in range(1, 6):
        place = tmp_path / f"front-65f0-0123abcd-{number:06d}"
        place.mkdir()
        (place / "snapshot.jpg").write_bytes(bytes(1000))
        (place / "clip.mp4").write_bytes(bytes(9000))
        if number == 2:
            (place / "mine.txt").write_text("keep")
        os.utime(place, (number, number))
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "snapshot.jpg").write_bytes(bytes(90_000))
    folder = EvidenceFolder(tmp_path, 21_000)
    gone = folder.tidy({"front-65f0-0123abcd-000001"})
    assert gone == [f"front-65f0-0123abcd-{number:06d}" for number in (2, 3, 4)]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "clip.mp4", "clip.mp4", "mine.txt", "snapshot.jpg", "snapshot.jpg", "snapshot.jpg",
    ]  # fmt: skip
    assert (tmp_path / "front-65f0-0123abcd-000001" / "clip.mp4").exists()
    assert folder.tidy() == []


@pytest.fixture(scope="module")
def seen(rendered_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sight]:
    """A frame of a new highway drive, or of the same under mud, as it is scored."""
    engine = OnnxRuntimeEngine(open_bundle(rendered_bundle).model_path)

    @cache
    def sight(fault: str) -> Sight:
        path = tmp_path_factory.mktemp("seen") / "drive.mp4"
        script = (Segment("highway", 3.0, fault, 4) if fault else Segment("highway", 3.0),)
        write_video(path, (image for _, _, image in render(script, 77, (320, 180), 10.0)), 10.0)
        frame: Frame = list(Recording(find_drives([path])[0], engine.input_size))[-1]
        scores = engine.score(frame.image[None])
        return Sight(frame, scores.heat[0], scores.latent[0])

    return sight


def test_a_normal_frame_stays_clear_and_a_dirty_one_does_not(
    rendered_bundle: Path, seen: Callable[[str], Sight]
) -> None:
    scale = HeatScale.of(open_bundle(rendered_bundle))
    assert scale is not None
    grey = np.full((180, 320, 3), 128, np.uint8)

    def mapped(heat: NDArray[np.floating], ignored: Regions = NOWHERE) -> NDArray[np.int64]:
        shown = heat_map(grey, shown_strength((180, 320), heat, scale, ignored))
        return np.abs(shown.astype(int) - 128)

    clean, dirty = (mapped(seen(fault).heat) for fault in ("", "mud"))
    assert clean.mean() < 8
    assert dirty.mean() > 3 * clean.mean()
    assert not mapped(np.full((3, 5), np.nan)).any()
    # What nobody looks at is not shown as strange, and the rest as before.
    halved = mapped(seen("mud").heat, Regions(((0.0, 0.0, 0.5, 1.0),)))
    assert not halved[:, :160].any()
    assert np.array_equal(halved[:, 160:], dirty[:, 160:])


def test_the_nearest_normal_frames_are_of_different_moments(
    rendered_bundle: Path, seen: Callable[[str], Sight]
) -> None:
    bundle = open_bundle(rendered_bundle)
    normal, moments = bundle.neighbours(), bundle.moments()
    assert normal is not None
    assert moments is not None
    near, far = normal.nearest(seen("").latent), normal.nearest(seen("mud").latent)
    for found in (near, far):
        assert [one.distance for one in found] == sorted(one.distance for one in found)
        assert len({(one.drive, int(one.time_s / 5)) for one in found}) == 3
        assert all(
            cv2.imdecode(np.frombuffer(one.jpeg, np.uint8), cv2.IMREAD_COLOR) is not None for one in found
        )
    assert near[0].distance < far[0].distance
    itself = normal.nearest(moments.latent[7])[0]
    assert itself.name == moments.names[7]
    assert itself.distance == pytest.approx(0.0, abs=1e-3)
    brute = np.linalg.norm(moments.latent - seen("").latent, axis=1)
    assert near[0].name == moments.names[int(np.argmin(brute))]
    assert normal.nearest(np.full(moments.latent.shape[1], np.nan)) == ()


def test_two_pictures_of_one_moment_count_once(rendered_bundle: Path) -> None:
    bundle = open_bundle(rendered_bundle)
    moments = bundle.moments()
    assert moments is not None
    drives = [drive.name for drive in bundle.manifest.known]
    first_drive = moments.of([name for name in moments.names if name.startswith("000_")])
    alone = NormalPictures(bundle.path / "normal", drives, first_drive, bundle.density.normal)
    times = [one.time_s for one in alone.nearest(first_drive.latent[0], 3)]
    assert all(abs(a - b) >= 5.0 for i, a in enumerate(times) for b in times[:i])
    assert 1 <= len(times) <= 3


def test_a_bundle_that_does_not_know_its_moments_says_so(
    rendered_bundle: Path, seen: Callable[[str], Sight], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.bundle.Bundle.moments", lambda _: None)
    shown = Explainer(open_bundle(rendered_bundle), 320).explain(seen(""))
    assert shown.nearest == ()
    assert shown.snapshot
    assert shown.heat_map
    assert "no normal frames to compare with" in shown.notes[0]
