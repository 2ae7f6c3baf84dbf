"""``sightline train``: an encoder of one's own, and the bundle that stands on it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from engines.bundle import check_target
from engines.console import console
from engines.errors import ConfigError
from engines.graph import LENGTH_KEY
from engines.regions import regions_from_text
from training.export import to_onnx
from training.fit import DensityKind
from training.models import MODELS, build, kind_of, scored
from training.teach import Lesson, teach, tell
from training.train.config import Config, load_config
from training.train.data import Sources, gather, select
from training.train.loop import Trained, train

Paths = list[Path] | None


def train_command(
    out: Annotated[Path, typer.Option(help="The bundle to write; OUT.training beside it keeps checkpoints.")],
    config: Annotated[Path | None, typer.Argument(help="A TOML file; see configs/train.toml.")] = None,
    normal: Annotated[Paths, typer.Option(help="Footage of normal driving, as for fit.")] = None,
    other: Annotated[
        Paths, typer.Option(help="Footage of anything else: widens the background alone.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="A CSV with path, label, drive, split instead of --normal.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The manifest's label of normal driving.")] = None,
    split: Annotated[str | None, typer.Option(help="The manifest's split to train on.")] = None,
    model: Annotated[str | None, typer.Option(help=f"One of {', '.join(MODELS)}.")] = None,
    size: Annotated[str | None, typer.Option(help="Height × width of the model's frames, as 96x144.")] = None,
    backbone: Annotated[str | None, typer.Option(help="dfkde: a torchvision network.")] = None,
    layers: Annotated[str | None, typer.Option(help="dfkde: its layers, as layer2,layer3.")] = None,
    weights: Annotated[str | None, typer.Option(help="dfkde: a file, or a name torchvision knows.")] = None,
    normalisation: Annotated[str | None, typer.Option(help="dfkde: of a file's pixels.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the footage, at most.")] = None,
    batch: Annotated[int | None, typer.Option(help="Frames per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest of the cycle.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    held_out: Annotated[float | None, typer.Option(help="Share of the drives to judge by.")] = None,
    density: Annotated[DensityKind | None, typer.Option(help="What stands on the latent.")] = None,
    budget: Annotated[float | None, typer.Option(help="False alarms per hour to allow.")] = None,
    rate: Annotated[float | None, typer.Option(help="Frames per second to learn from.")] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="Region to hide from the encoder and all who watch; as for fit.", metavar="REGION"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of every random choice.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any key of the file, as --set model.beta=0.5.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from OUT.training.")] = False,
) -> None:
    """Train an encoder on footage of normal driving and write its bundle.

    Options go over the file. Several GPUs: torchrun --nproc-per-node N -m sightline train … Examples:

        sightline train --normal drives/ --model vae --out highway.bundle

        sightline train configs/train.toml --out highway.bundle --resume
    """
    given: dict[str, Any] = {
        "data.normal": _texts(normal), "data.other": _texts(other), "data.manifest": _text(manifest),
        "data.select.label": label, "data.select.split": split, "data.held_out": held_out, "data.rate": rate,
        "data.ignore": regions_from_text("--ignore", ignore).shapes if ignore else None,
        "model.kind": model, "model.size": _size(size), "model.backbone": backbone,
        "model.layers": layers.split(",") if layers else None, "model.weights": weights,
        "model.normalisation": normalisation, "optimisation.epochs": epochs, "optimisation.batch": batch,
        "optimisation.learning_rate": learning_rate, "optimisation.device": device,
        "scoring.density": density, "scoring.budget_per_hour": budget, "seed": seed,
    }  # fmt: skip
    options = {key: value for key, value in given.items() if value is not None}
    loaded = load_config(config, options | dict(_assignment(word) for word in set_ or ()))
    check_target(out)
    make_bundle(loaded, out, resume=resume)


def make_bundle(config: Config, out: Path, *, resume: bool = False) -> None:
    """Train or assemble the configured encoder, export it, and teach the bundle ``out`` with it."""
    sources = _sources(config)
    kind, direct = kind_of(config.model), config.scoring.density == DensityKind.DIRECT
    if MODELS[kind].trained:
        trained = train(config, sources, out.with_name(f"{out.name}.training"), resume=resume)
        if not trained.first:
            return
        model, seen, notes = trained.model, frozenset(trained.taught), _notes(trained)
    else:
        model, seen, notes = build(config.model).eval(), frozenset(), ()
    module = scored(model, direct=direct)
    metadata = {LENGTH_KEY: "kept"} if model.keeps_length else {}
    encoder = to_onnx(module, model.size, module.outputs, metadata)
    lesson = Lesson(
        density=config.scoring.density,
        dimensions=config.scoring.dimensions,
        relative=config.scoring.relative,
        budget_per_hour=config.scoring.budget_per_hour,
        rate=config.data.rate,
        images_per_second=config.data.images_per_second,
        seen=seen,
        notes=notes,
        ignored=config.data.ignored,
    )
    bundle, _ = teach(out, (kind, encoder, None), sources.normal, sources.other, lesson)
    say = console()
    if seen:
        state = trained.state
        judged = (
            f", {state.best_loss:.4g} on {len(trained.held_out)} held-out drives" if trained.held_out else ""
        )
        say.print(f"[bold]trained[/]  {state.epoch} epochs, kept epoch {state.best_epoch}{judged}")
    tell(say, bundle)


def _sources(config: Config) -> Sources:
    data = config.data
    if data.manifest is None:
        if not data.normal:
            raise ConfigError(
                "data.normal", "must name footage of normal driving, names none", "add --normal PATH"
            )
        return gather(data.normal, data.other)
    if data.normal or data.select is None:
        problem = "must come without normal PATHs" if data.normal else "needs the label of its normal rows"
        raise ConfigError("data.manifest", problem, "see configs/train.toml")
    found = select(data.manifest, data.select)
    return replace(found, other=found.other + gather(data.other).normal) if data.other else found


def _notes(trained: Trained) -> tuple[str, ...]:
    if trained.held_out:
        return trained.notes
    return (*trained.notes, "one drive alone: no epoch could be judged by a drive that was held out")


def _assignment(word: str) -> tuple[str, Any]:
    """``model.beta=0.5`` -> its key and its value as in TOML; what is no TOML is text."""
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise ConfigError(f"option --set {word}", "must be KEY=VALUE", "for example --set model.beta=0.5")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _size(text: str | None) -> list[int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)\s*[x×]\s*(\d+)", text)
    if match is None:
        raise ConfigError("option --size", f"must be HEIGHTxWIDTH, got {text}", "for example --size 96x144")
    return [int(match[1]), int(match[2])]


def _texts(paths: Paths) -> list[str] | None:
    return [str(p) for p in paths] if paths else None


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None
