"""``sightline run``: watches the live cameras of a config until told to stop."""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from engines.bundle import open_bundle
from engines.console import console
from engines.decoding import Decoding, decoding
from engines.engine import Precision
from engines.errors import BundleError, CalibrationError, EngineError, InputError, OutputError, masked
from engines.opening import open_engine
from engines.regions import parse_regions
from engines.resident import resident
from monitor.camera_watch import Loaded, Watch
from monitor.config import Config, check_folders, load_config
from monitor.evidence.explain import Explainer
from monitor.evidence.folder import EvidenceFolder
from monitor.evidence.witness import Wanted, Witness
from monitor.journal import Journal
from monitor.outbox import Outbox
from monitor.pictures import EVIDENCE_PX, STILL_PX
from monitor.run import Daemon
from monitor.run_screen import aligned, screen
from monitor.settings import mute, rules, told
from monitor.signals import stop_on_signal


def run(
    config: Annotated[
        Path, typer.Argument(help="The cameras and what to do with their alerts.", metavar="CONFIG.toml")
    ],
    check: Annotated[bool, typer.Option("--check", help="Only check the config, opening no camera.")] = False,
    backend: Annotated[
        str | None, typer.Option(help="What runs the bundles, instead of what the config says.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="What encoders compute in, instead of what the config says.")
    ] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Run an engine even if it differs from the reference.")
    ] = False,
) -> None:
    """Watch the live cameras of a config; Ctrl-C or SIGTERM ends it, with exit code 0.

    A camera that fails is an alert, never an end. An annotated config is in docs/run.md. Example:

        sightline run cameras.toml --check
    """
    with stop_on_signal() as stop:
        loaded = load_config(config)
        check_folders(config, loaded)
        loaded = msgspec.structs.replace(
            loaded, backend=backend or loaded.backend, precision=precision or loaded.precision
        )
        # A GPU's decoders must be the first to begin CUDA: see engines.decoding.
        decoders = choose_decoders(config, loaded)
        models = load_models(config, loaded, unverified=unverified)
        notes = check_rules(config, loaded, models)
        decoders = [resident(one, model.engine) for one, model in zip(decoders, models, strict=True)]
        if check:
            _check_journal(config, loaded)
            typer.echo("\n".join((_summary(config, loaded), *notes)))
        else:
            watch(loaded, models, decoders, stop, notes)
            _leave()


def load_models(path: Path, config: Config, *, unverified: bool = False) -> list[Loaded]:
    """Open the bundle of each camera with its engine, each bundle once; errors name the file and the key.

    An engine that is not equal to the reference is refused, unless ``unverified``."""
    errors = console(errors=True)

    def say(line: str) -> None:
        with suppress(OSError):  # a full disk behind it stops no watching
            errors.print(line)

    opened: dict[Path, Loaded] = {}
    for index, camera in enumerate(config.camera):
        assert camera.bundle is not None
        folder = camera.bundle.resolve()
        if folder in opened:
            continue
        key = "bundle" if camera.bundle == config.bundle else f"camera[{index}].bundle"
        try:
            bundle = open_bundle(camera.bundle)
            engine = open_engine(bundle, config.backend, config.precision, unverified=unverified, say=say)
            opened[folder] = Loaded(bundle, engine)
        except (BundleError, EngineError) as error:
            raise type(error)(f"{path}: {key}: {error.where}", error.problem, error.remedy) from error
    return [opened[camera.bundle.resolve()] for camera in config.camera if camera.bundle is not None]


def check_rules(path: Path, config: Config, models: Sequence[Loaded]) -> tuple[str, ...]:
    """What is to be said of the cameras' rules; errors, where a bundle does not support them, name the file and the
    key."""
    notes = []
    for index, (camera, model) in enumerate(zip(config.camera, models, strict=True)):
        where, taught = f"{path}: camera[{index}]", model.bundle.ignored
        wanted = rules("", camera)
        try:
            wanted.calibration(model.bundle.calibration)
        except CalibrationError as error:
            raise CalibrationError(f"{where}.{error.where}", error.problem, error.remedy) from error
        both = parse_regions(f"{where}.ignore", taught.joined(wanted.ignored).shapes)
        if both != taught:
            notes.append(
                f"{camera.name}: ignores {100 * both.share:.0f} % of the picture, {model.bundle.path.name} was taught with "
                f"{100 * taught.share:.0f} % ignored, so its thresholds are not this camera's; "
                "sightline calibrate --ignore moves them"
            )
    return tuple(notes)


def choose_decoders(path: Path, config: Config) -> list[Decoding]:
    """Settle where each camera is decoded; errors name the file and the key."""
    decoders = []
    for index, camera in enumerate(config.camera):
        try:
            decoders.append(decoding(camera.decode))
        except EngineError as error:
            raise EngineError(f"{path}: camera[{index}].decode", error.problem, error.remedy) from error
    return decoders


def watch(
    config: Config,
    models: Sequence[Loaded],
    decoders: Sequence[Decoding],
    stop: threading.Event,
    notes: Sequence[str] = (),
) -> None:
    """Watch the cameras of ``config``, ``models`` and ``decoders`` being theirs in order, until ``stop`` is set. notes:
    to be said at the beginning."""
    with ExitStack() as stack:
        display = stack.enter_context(screen())
        session = f"{int(time.time()):x}-{uuid.uuid4().hex[:8]}"
        outbox = Outbox(
            config.journal,
            session,
            display.log,
            endpoint=config.publish,
            snapshots=config.snapshots,
            evidence=None
            if config.evidence is None
            else EvidenceFolder(config.evidence, config.evidence_mb * 1e6),
        )
        stack.callback(outbox.close)
        for engine in {id(model): model.engine for model in models}.values():
            stack.callback(engine.close)
        arrived = threading.Event()
        watches, explainers = [], _explainers(config, models)
        for line in dict.fromkeys((*(d.reason for d in decoders if d.reason), *notes)):
            display.log(line)
        for camera, model, decoder in zip(config.camera, models, decoders, strict=True):
            explainer = explainers.get(id(model))
            witness = None if explainer is None else Witness(explainer, _wanted(config))
            windows = mute("", camera, config.zone)
            watches.append(Watch(camera, model, arrived, decoder, witness, windows))
            stack.callback(watches[-1].live.close, 0.0)
        where = f", publishing on {outbox.endpoint}" if outbox.endpoint else ""
        cameras = f"{len(watches)} camera{'s' * (len(watches) != 1)}"
        display.say(f"watching {cameras}, journal {config.journal}{where}")
        Daemon(
            watches,
            arrived,
            outbox,
            display,
            batch_wait_s=config.batch_wait_ms / 1e3,
        ).run(stop)
        display.say("stopped")


def _explainers(config: Config, models: Sequence[Loaded]) -> dict[int, Explainer]:
    """One for each bundle, by the identity of what was loaded; none where nothing is to be kept."""
    if config.evidence is None and config.snapshots is None:
        return {}
    width = STILL_PX if config.evidence is None else EVIDENCE_PX
    return {key: Explainer(model.bundle, width) for key, model in {id(m): m for m in models}.items()}


def _wanted(config: Config) -> Wanted:
    return Wanted() if config.evidence is None else Wanted(config.pre_roll_s, config.clip_s)


def _leave() -> None:
    """End the process here if a reader is stuck in a read that nothing can interrupt.

    All is written and closed by now, and libav crashes when the interpreter is torn down around it.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0)


def _check_journal(path: Path, config: Config) -> None:
    if not config.journal.exists() or not config.journal.stat().st_size:
        return
    try:
        Journal(config.journal, read_only=True).close()
    except InputError as error:
        raise OutputError(f"{path}: journal: {error.where}", error.problem, error.remedy) from error


def _summary(path: Path, config: Config) -> str:
    rows = [("camera", "url", "bundle", "fault after")]
    for camera in config.camera:
        rows.append((camera.name, masked(camera.url), str(camera.bundle), f"{camera.no_frames_after_s:g} s"))
    facts = [
        ("journal", str(config.journal)),
        ("publish", config.publish or "nothing"),
        _kept(config),
    ]
    facts += [(camera.name, told(camera)) for camera in config.camera if told(camera)]
    return f"{path}: all right\n\n{aligned(rows)}\n\n{aligned(facts)}"


def _kept(config: Config) -> tuple[str, str]:
    if config.evidence is None:
        return "snapshots", "none" if config.snapshots is None else str(config.snapshots)
    clips = "no clips"
    if config.clip_s > 0:
        clips = f"clips from {config.pre_roll_s:g} s before the onset to {config.clip_s:g} s after detection"
    return "evidence", f"{config.evidence} (at most {config.evidence_mb:g} MB; {clips})"
