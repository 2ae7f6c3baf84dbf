"""``sightline train``'s configuration: what may be in the TOML file, and in the options that go over it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from engines.errors import ConfigError, did_you_mean
from engines.footage import IMAGES_PER_SECOND
from engines.regions import Regions, parse_regions
from training.fit import DIMENSIONS, DensityKind
from training.models import MODELS, ModelOptions, VaeOptions
from training.train.augment import Augmentation, Harmony
from training.train.data import Selection

Positive: TypeAlias = Annotated[float, Meta(gt=0)]
Whole: TypeAlias = Annotated[int, Meta(ge=1)]


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """normal, other: PATHs as for ``sightline fit``. manifest: a CSV instead of ``normal``, of which ``select`` says the
    rows. rate: frames per second to learn from. images_per_second: at which folders of images are played,
    for they state no times; single pictures, which nothing follows on, at 1 or so. held_out: share of the drives by whose
    loss training is judged and stopped. memory_gib: of frames that are kept; what is beyond is decoded anew in every epoch.
    ignore: regions that no encoder gets to see, see ``engines.regions``."""

    normal: tuple[Path, ...] = ()
    other: tuple[Path, ...] = ()
    manifest: Path | None = None
    select: Selection | None = None
    rate: Annotated[float, Meta(ge=0.1, le=1000)] = 10.0
    images_per_second: Annotated[float, Meta(ge=0.1, le=1000)] = IMAGES_PER_SECOND
    held_out: Annotated[float, Meta(ge=0, le=0.9)] = 0.2
    memory_gib: Positive = 2.0
    ignore: tuple[tuple[float, ...], ...] = ()

    @property
    def ignored(self) -> Regions:
        """``ignore``, checked; ConfigError for what is no region."""
        return parse_regions("data.ignore", self.ignore)


class Optimisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """AdamW with a warm-up over the first twentieth of the steps and one cosine. batch: frames, over all processes.
    patience: epochs without a better held-out loss after which training stops. clip: longest gradient. precision:
    ``auto`` is bfloat16 or float16 where the GPU has it, float32 elsewhere."""

    epochs: Whole = 30
    batch: Whole = 64
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Meta(ge=0)] = 1e-4
    clip: Positive = 1.0
    patience: Whole = 6
    device: str = "auto"
    precision: Literal["auto", "float32"] = "auto"
    tensorboard: bool = False


class Scoring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands on the trained encoder; see ``training.teach.Lesson``."""

    density: DensityKind = DensityKind.KDE
    dimensions: Whole = DIMENSIONS
    relative: bool | None = None
    budget_per_hour: Positive | None = None


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole file."""

    data: Data = Data()
    model: ModelOptions = VaeOptions()
    optimisation: Optimisation = Optimisation()
    augmentation: Augmentation = Augmentation()
    harmony: Harmony = Harmony()
    scoring: Scoring = Scoring()
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


_SECTIONS: dict[str, Any] = {
    "": Config,
    "data": Data,
    "data.select": Selection,
    "optimisation": Optimisation,
    "augmentation": Augmentation,
    "harmony": Harmony,
    "scoring": Scoring,
}
_OPTIONS = {kind.options.__struct_config__.tag: kind.options for kind in MODELS.values()}
_PATHS = (("data", "normal"), ("data", "other"), ("data", "manifest"), ("model", "weights"))


def load_config(file: Path | None, options: Mapping[str, Any]) -> Config:
    """Read a TOML ``file`` (None: all defaults), whose paths are relative to it; ``options`` go over it, by their dotted
    names. ConfigError names the first thing that is wrong."""
    document = _read(file) if file is not None else {}
    for key, value in options.items():
        *sections, last = key.split(".")
        table = document
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise ConfigError(f"option {key}", f"must name a key, {section} is not a table", "see --help")
        table[last] = value
    where = str(file) if file is not None else "options"
    model = document.setdefault("model", {})
    if isinstance(model, dict):
        model.setdefault("kind", "vae")
    try:
        return msgspec.convert(document, Config, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise _complaint(where, document, str(error)) from error


def _read(file: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(file, f"must be a readable file: {error.strerror}", "check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(file, f"must be TOML in UTF-8: {error}", "correct the line") from error
    for section, key in _PATHS:
        table = document.get(section)
        if isinstance(table, dict) and key in table:
            table[key] = _beside(file.parent, key, table[key])
    return document


def _beside(folder: Path, key: str, value: Any) -> Any:
    """A path relative to the file that states it; weights may be a name instead, and anything else is left to be
    complained of."""
    if isinstance(value, list):
        return [_beside(folder, key, one) for one in value]
    if not isinstance(value, str) or not value or (key == "weights" and not (folder / value).is_file()):
        return value
    return str(folder / value)


def _path(kind: type, value: Any) -> Any:
    if kind is not Path:
        raise NotImplementedError(kind)
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"Expected `path`, got {value!r}")
    return Path(value)


def _complaint(where: str, document: Mapping[str, Any], message: str) -> ConfigError:
    """Reword what msgspec says, such as ``Expected `int`, got `str` - at `$.optimisation.epochs```."""
    text, _, place = message.partition(" - at `$")
    key = re.sub(r"\[\.*\d*\]", "", place.rstrip("`").lstrip("."))
    kind = document["model"].get("kind") if isinstance(document["model"], dict) else None
    if match := re.fullmatch(r"Object contains unknown field `(.*)`", text, re.DOTALL):
        section = _OPTIONS[kind] if key == "model" else _SECTIONS[key]
        known = [*section.__struct_fields__, *(["kind"] if key == "model" else [])]
        of = f" of the model {kind}" if key == "model" else ""
        name = f"{key}.{match[1]}" if key else match[1]
        return ConfigError(
            f"{where}: {name}", f"must be a known key{of}, is not", did_you_mean(match[1], known)
        )
    if key == "model.kind":
        return ConfigError(
            f"{where}: {key}", f"must be a known model, got {kind}", did_you_mean(str(kind), MODELS)
        )
    if match := re.fullmatch(r"Object missing required field `(.*)`", text):
        return ConfigError(f"{where}: {key}.{match[1]}", "must be given, is missing", "add it")
    said = text.replace("`", "").replace("Expected ", "must be ").replace(" | null", "")
    return ConfigError(f"{where}: {key}" if key else where, said, "correct it")
