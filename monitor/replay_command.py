"""``sightline replay``: watch recordings, print events as they happen, leave scores, events and a report."""

from __future__ import annotations

import math
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Annotated

import msgspec
import typer

from engines.backends import AUTO
from engines.bundle import Bundle, open_bundle
from engines.console import console, progress
from engines.decoding import Decode, Decoding, decoding
from engines.engine import Engine, Precision
from engines.errors import ConfigError, did_you_mean
from engines.footage import IMAGES_PER_SECOND, Drive, Recording, find_drives
from engines.opening import open_engine
from engines.regions import parse_regions, regions_from_text
from engines.resident import resident
from engines.whole_file import check_outputs
from monitor.alerts import Model, alert, proposal_alert
from monitor.config import CameraConfig, load_config
from monitor.events import Event, Level, Phase
from monitor.evidence.drive import DriveEvidence
from monitor.evidence.explain import Explainer
from monitor.evidence.folder import EvidenceFolder, make_folder
from monitor.journal import Journal
from monitor.output import ScoreFile, whole_file
from monitor.pictures import EVIDENCE_PX, STILL_PX
from monitor.pipeline import BATCH, SILENT_AFTER_S, Watched
from monitor.publisher import Publisher
from monitor.replay import Trace, replay
from monitor.report.replay import write_replay_report
from monitor.report.words import clock, label
from monitor.rules import AS_TAUGHT, Rules
from monitor.settings import rules
from monitor.verdict import level

SOURCE = "sightline/replay"


def replay_command(
    paths: Annotated[
        list[Path], typer.Argument(help="Videos, folders of images, or folders of such.", metavar="PATH...")
    ],
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle to watch with, if not that of the camera in --config.")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="Write one row per frame (.csv or .parquet).")] = None,
    events: Annotated[Path | None, typer.Option(help="Write every event message as a JSON line.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML report that opens without a network.")
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(help="Keep pictures and a clip of each event in this folder.", metavar="FOLDER"),
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Play at the speed of the recording.")] = False,
    publish: Annotated[
        str | None, typer.Option(help="Publish alerts, for instance on tcp://127.0.0.1:5556.")
    ] = None,
    journal: Annotated[Path, typer.Option(help="Journal of published alerts.")] = Path("replay.journal"),
    fps: Annotated[
        float | None, typer.Option(min=0.1, help="Images per second of folders of images (10 if not given).")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Frames scored per call.")] = BATCH,
    decode: Annotated[
        Decode,
        typer.Option(
            help="Where videos are decoded; auto: on an NVIDIA GPU if there is one; resident: there, to stay until scored."
        ),
    ] = Decode.CPU,
    backend: Annotated[
        str, typer.Option(help="What runs the bundle; auto: the fastest that is right.")
    ] = AUTO,
    precision: Annotated[Precision, typer.Option(help="What the encoder computes in.")] = Precision.FP32,
    config: Annotated[
        Path | None, typer.Option(help="Watch by the rules that sightline run takes from this file.")
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="Whose rules of --config; needed where it names several cameras.")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            help="Region to ignore beside those of the bundle and the camera; as for fit.", metavar="REGION"
        ),
    ] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Run an engine even if it differs from the reference.")
    ] = False,
) -> None:
    """Watch recordings and print what happens in them.

    Every frame is read; events are the same as live. Example:

        sightline replay drive.mp4 --bundle highway.bundle --report drive.html
    """
    check_outputs(scores, events, report)
    decoder = decoding(decode)
    own = None if config is None else _camera(config, camera)
    if camera is not None and config is None:
        raise typer.BadParameter("needs --config", param_hint="--camera")
    bundle = bundle or (own.bundle if own is not None else None)
    if bundle is None:
        raise typer.BadParameter("must be given, or --config", param_hint="--bundle")
    opened = open_bundle(bundle)
    wanted = _rules(opened, rules(f"{config}: ", own) if own is not None else AS_TAUGHT, ignore or [])
    drives = find_drives(paths)
    reads = [
        bundle,
        *(file for drive in drives for file in drive.reads),
        *([] if config is None else [config]),
    ]
    check_outputs(scores, events, report, reads=reads)
    engine = open_engine(opened, backend, precision, unverified=unverified, say=console().print)
    decoder = resident(decoder, engine)
    with ExitStack() as stack:
        run = _Run(opened, engine, fps, realtime, batch, decoding=decoder, rules=wanted)
        run.silent_after_s = SILENT_AFTER_S if own is None else own.no_frames_after_s
        if report is not None or evidence is not None:
            # A report that is alone has its clips inside it.
            place = evidence or Path(stack.enter_context(TemporaryDirectory(prefix="sightline-")))
            make_folder(place)
            run.explainer = Explainer(opened, STILL_PX if evidence is None else EVIDENCE_PX)
            run.folder, run.keeps = EvidenceFolder(place, math.inf), evidence is not None
        if decoder.reason:
            run.say.print(decoder.reason)
        run.score_file = stack.enter_context(ScoreFile(scores)) if scores is not None else None
        run.event_file = stack.enter_context(whole_file(events)) if events is not None else None
        if publish is not None:
            run.publisher = stack.enter_context(Publisher(publish, stack.enter_context(Journal(journal))))
            run.say.print(f"publishing on {run.publisher.endpoint}, journal {journal}")
        for drive in drives:
            run.watch(drive)
        run.summarise()
        if evidence is not None:
            run.say.print(f"evidence {evidence}")
        if report is not None:
            write_replay_report(report, opened, run.traces, linked=evidence is not None)
            run.say.print(f"report   {report}")


class _Run:
    """One invocation: where results go, and totals over all recordings."""

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        fps: float | None,
        realtime: bool,
        batch: int,
        *,
        decoding: Decoding,
        rules: Rules,
    ) -> None:
        self.bundle, self.engine, self.fps, self.realtime, self.batch = bundle, engine, fps, realtime, batch
        self.decoding, self.rules = decoding, rules
        self.silent_after_s = SILENT_AFTER_S
        self.explainer: Explainer | None = None
        self.folder: EvidenceFolder | None = None
        self.keeps = False
        self.say = console()
        self.score_file: ScoreFile | None = None
        self.event_file: IO[str] | None = None
        self.publisher: Publisher | None = None
        self.traces: list[Trace] = []
        self.events = self.frames = 0
        self.media_s = self.wall_s = 0.0
        self._session = uuid.uuid4().hex[:12]

    def watch(self, drive: Drive) -> None:
        ignored = self.bundle.ignored.joined(self.rules.ignored)
        trace = Trace(drive.name, explainer=self.explainer, ignored=ignored)
        evidence = None
        if self.folder is not None:
            evidence = DriveEvidence(drive, self.folder, self.fps or IMAGES_PER_SECOND)
        self.traces.append(trace)
        self.say.print(f"[bold]{drive.name}[/]")
        started_s = time.monotonic()
        with progress(drive.name, Recording(drive, self.engine.input_size).expected_frames) as advance:

            def on_frame(watched: Watched) -> None:
                trace.add(watched)
                self._proposal(trace, watched)
                if self.score_file is not None:
                    self.score_file.write(watched)
                if len(trace.times_s) % 16 == 0:
                    elapsed_s = max(time.monotonic() - started_s, 1e-9)
                    rate, speed = len(trace.times_s) / elapsed_s, watched.frame.time_s / elapsed_s
                    advance(16, f"{rate:.0f} frames/s, {speed:.1f} × real time")

            recording = replay(
                drive, self.bundle, self.engine, on_frame=on_frame, on_event=lambda e: self._event(trace, evidence, e),
                realtime=self.realtime, images_per_second=self.fps, batch=self.batch, decoding=self.decoding,
                rules=self.rules, silent_after_s=self.silent_after_s,
            )  # fmt: skip
        trace.notes += tuple(recording.notes)
        for note in recording.notes:
            self.say.print(f"  [yellow]note[/] {note}")
        if not trace.events:
            self.say.print("  nothing to report")
        self.events += len(trace.events)
        self.frames += len(trace.times_s)
        self.media_s += trace.times_s[-1] if trace.times_s else 0.0
        self.wall_s += time.monotonic() - started_s

    def _event(self, trace: Trace, evidence: DriveEvidence | None, event: Event) -> None:
        trace.tell(event)
        kept = None
        if evidence is not None:
            kept = evidence.tell(event, trace.shown.get(event.number))
            trace.clips, trace.lacks = evidence.clips, evidence.notes
        if event.phase != Phase.UPDATE:
            self.say.print("  " + event_line(event))
            sys.stdout.flush()
        if self.event_file is not None:
            self.event_file.write(msgspec.json.encode(event, order="deterministic").decode() + "\n")
        if self.publisher is not None:
            model = Model(self.bundle.manifest.name, self.bundle.sha256)
            self.publisher.send(
                alert(
                    event,
                    source=SOURCE,
                    session=self._session,
                    model=model,
                    evidence=kept if self.keeps else None,
                )
            )

    def _proposal(self, trace: Trace, watched: Watched) -> None:
        """Say what a frame proposes, hardly ever anything."""
        if watched.proposal is None:
            return
        name = self.bundle.path.name
        line = watched.proposal.line(name)
        trace.notes += (line,)
        self.say.print(f"  {clock(watched.proposal.time_s, True)}  [cyan]note[/]   {line}")
        if self.publisher is not None:
            model = Model(self.bundle.manifest.name, self.bundle.sha256)
            self.publisher.send(
                proposal_alert(watched.proposal, name, source=SOURCE, session=self._session, model=model)
            )

    def summarise(self) -> None:
        speed = self.media_s / max(self.wall_s, 1e-9)
        rate = self.frames / max(self.wall_s, 1e-9)
        self.say.print(
            f"{self.events} event{'s' * (self.events != 1)} in {clock(self.media_s)} of footage; "
            f"{self.frames} frames at {rate:.0f} frames/s, {speed:.1f} × real time"
        )


def _camera(path: Path, name: str | None) -> CameraConfig:
    """The camera of a config whose rules count."""
    cameras = load_config(path).camera
    names = [camera.name for camera in cameras]
    if name is None and len(cameras) > 1:
        raise ConfigError(f"{path}: camera", f"must be chosen among {', '.join(names)}", "give --camera")
    if name is not None and name not in names:
        raise ConfigError(f"{path}: camera", f"must name {name!r}, does not", did_you_mean(name, names))
    return cameras[0] if name is None else cameras[names.index(name)]


def _rules(bundle: Bundle, rules: Rules, ignore: Sequence[str]) -> Rules:
    """The rules with what ``--ignore`` adds; refused here, before the work, where the bundle does not support them."""
    joined = rules.ignored.joined(regions_from_text("--ignore", ignore))
    rules.calibration(bundle.calibration)
    parse_regions("--ignore", bundle.ignored.joined(joined).shapes)
    return replace(rules, ignored=joined)


def event_line(event: Event) -> str:
    """One line for people, with rich markup."""
    name = label(event.kind, event.mode)
    if event.phase == Phase.END:
        ended_s = event.end_s if event.end_s is not None else event.time_s
        return f"{clock(event.time_s, True)}  [green]over[/]   {name}: ended {clock(ended_s, True)} after {ended_s - event.onset_s:.1f} s"
    colour = "bold yellow" if level(event) == Level.WARN else "bold red"
    return (
        f"{clock(event.time_s, True)}  [{colour}]ALERT[/]  {name}: since {clock(event.onset_s, True)}, "
        f"{event.channel} {event.value:.2f} over {event.threshold:.2f}"
    )
