"""The config of ``sightline run``: TOML, decoded strictly, every complaint with its file and key."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec
import msgspec.toml
from msgspec import Meta

from engines.backends import AUTO, BACKENDS
from engines.decoding import Decode
from engines.engine import Precision
from engines.errors import ConfigError, EndpointError, OutputError
from monitor.live.source import parse
from monitor.mute import parse_zone
from monitor.settings import CameraFault, CameraSettings, LeftDomain, Settings, inherited, mute, rules
from monitor.wire import catchup_endpoint, is_local

Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=3600)]
Milliseconds: TypeAlias = Annotated[float, Meta(ge=0, le=1000)]
ClipSeconds: TypeAlias = Annotated[float, Meta(ge=0, le=60)]
Megabytes: TypeAlias = Annotated[float, Meta(ge=100, le=1e9)]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NETWORK = ("rtsp://", "rtsps://", "http://", "https://")


class CameraConfig(CameraSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One ``[[camera]]``. bundle: instead of the one at the top. options: go to libav as they are.

    no_frames_after_s: age of the newest picture that makes a fault. startup_grace_s: the same for the very
    first picture, which takes longer. The other times: see ``monitor.live.camera.LiveCamera``. The rest: see
    ``monitor.settings``.
    """

    name: str
    url: str
    bundle: Path | None = None
    no_frames_after_s: Seconds = 3.0
    startup_grace_s: Seconds = 10.0
    open_timeout_s: Seconds = 5.0
    read_timeout_s: Seconds = 3.0
    rtsp_transport: Literal["tcp", "udp", "udp_multicast", "http"] = "tcp"
    options: dict[str, str] = msgspec.field(default_factory=dict)
    decode: Decode = Decode.CPU


class Config(Settings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole file. Once loaded all paths are absolute, and every camera has its bundle.

    batch_wait_ms: how long a frame may wait for those of other cameras, to be scored in one call with them. backend,
    precision: what runs the bundles; see docs/engines.md. evidence: folder for all that is kept of events, at most
    evidence_mb of it; snapshots: for a still of each and nothing else. pre_roll_s, clip_s: what a clip shows before the
    onset, and after detection at most (0: no clips). timezone: whose clock mute windows go by; None: this machine's.
    What ``monitor.settings`` adds are defaults of all cameras."""

    journal: Path
    camera: tuple[CameraConfig, ...]
    bundle: Path | None = None
    publish: str | None = None
    snapshots: Path | None = None
    evidence: Path | None = None
    pre_roll_s: ClipSeconds = 5.0
    clip_s: ClipSeconds = 10.0
    evidence_mb: Megabytes = 2000.0
    batch_wait_ms: Milliseconds = 5.0
    backend: str = AUTO
    precision: Precision = Precision.FP32
    timezone: str | None = None

    @property
    def zone(self) -> ZoneInfo | None:
        return None if self.timezone is None else ZoneInfo(self.timezone)


_STRUCTS: dict[str, type[msgspec.Struct]] = {
    "": Config, "camera": CameraConfig, "left_domain": LeftDomain, "camera_fault": CameraFault,
}  # fmt: skip
"""By the last word of a key."""
_TYPES = {
    "str": "a string", "float": "a number", "int": "a whole number", "bool": "true or false",
    "array": "a list", "object": "a table", "path": "a path",
}  # fmt: skip


_UNITS = {"_ms": "milliseconds", "_mb": "megabytes", "_per_hour": "an hour"}
_REMEDIES = {
    "camera": "write [[camera]], with two brackets",
    "ignore": "write a list of regions such as [[0, 0.85, 1, 1]]",
    "mute": 'write a list such as ["Mon-Fri 22:00-05:30"]',
    "ignore_modes": 'write a list such as ["blur"]',
}


def load_config(path: Path | str) -> Config:
    """Read and check ``path``; raise ConfigError for the first thing wrong in it. Opens nothing else."""
    path = Path(path)
    try:
        config = msgspec.toml.decode(path.read_bytes(), type=Config, dec_hook=_path)
    except OSError as error:
        raise ConfigError(path, f"must be a readable file: {error.strerror}", "see docs/run.md") from error
    except msgspec.ValidationError as error:
        raise _complaint(path, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"must be TOML in UTF-8: {error}", "correct the line") from error
    if not config.camera:
        raise ConfigError(f"{path}: camera", "must name at least one camera, got none", "add a [[camera]]")
    if config.backend not in (AUTO, *BACKENDS):
        raise ConfigError(
            f"{path}: backend",
            f"must be {AUTO} or one of {', '.join(BACKENDS)}, got {config.backend!r}",
            "correct it",
        )
    if config.snapshots is not None and config.evidence is not None:
        raise ConfigError(
            f"{path}: snapshots", "must not be given beside evidence, which has them too", "leave it out"
        )
    if config.timezone is not None:
        parse_zone(f"{path}: timezone", config.timezone)
    _check_endpoint(path, config.publish)
    # What is wrong at the top is to be named there, not in the cameras that inherit it.
    usual = msgspec.structs.replace(CameraSettings(), **inherited(config, Settings()))
    rules(f"{path}: ", usual)
    mute(f"{path}: ", usual, config.zone)
    folder = path.absolute().parent
    bundle = None if config.bundle is None else _under(folder, config.bundle)
    cameras = tuple(_camera(path, index, one, config, bundle) for index, one in enumerate(config.camera))
    _check_unique(path, cameras)
    return msgspec.structs.replace(
        config,
        journal=_under(folder, config.journal),
        bundle=bundle,
        snapshots=None if config.snapshots is None else _under(folder, config.snapshots),
        evidence=None if config.evidence is None else _under(folder, config.evidence),
        camera=cameras,
    )


def check_folders(path: Path, config: Config) -> None:
    """Raise OutputError unless the journal and the pictures can be written. Makes nothing."""
    if config.journal.is_dir():
        raise OutputError(
            f"{path}: journal", f"must be a file, {config.journal} is a folder", "add a file name"
        )
    _check_writable(f"{path}: journal", config.journal.parent)
    if config.journal.exists() and not os.access(config.journal, os.W_OK):
        raise OutputError(
            f"{path}: journal", f"must be writable, {config.journal} is not", "check its permissions"
        )
    for key, kept in (("snapshots", config.snapshots), ("evidence", config.evidence)):
        if kept is not None:
            _check_writable(f"{path}: {key}", kept)


def _check_writable(where: str, folder: Path) -> None:
    """What does not exist is made when the watch begins, so its nearest existing parent has to allow that."""
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    if not existing.is_dir():
        raise OutputError(where, f"must be in a folder, {existing} is a file", "choose another folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(where, f"must be in a writable folder, {existing} is not", "check its permissions")


def _path(kind: type, value: Any) -> Any:
    if kind is not Path:
        raise NotImplementedError(kind)
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"Expected `path`, got {value!r}")
    return Path(value)


def _under(folder: Path, path: Path) -> Path:
    return folder / path


def _camera(
    path: Path, index: int, camera: CameraConfig, config: Config, bundle: Path | None
) -> CameraConfig:
    """Check one camera, give it what it inherits and make its paths absolute."""
    where, folder = f"{path}: camera[{index}]", path.absolute().parent
    if not _NAME.fullmatch(camera.name):
        raise ConfigError(
            f"{where}.name",
            "must be up to 64 letters, digits, '.', '_', '-', beginning with one of the first two, "
            f"got {camera.name!r}",
            "rename it",
        )
    own = bundle if camera.bundle is None else _under(folder, camera.bundle)
    if own is None:
        raise ConfigError(
            f"{where}.bundle", "must be given, here or at the top of the file", 'bundle = "FOLDER"'
        )
    url = _url(f"{where}.url", camera, folder)
    whole = msgspec.structs.replace(camera, url=url, bundle=own, **inherited(camera, config))
    rules(f"{where}.", whole)
    mute(f"{where}.", whole, config.zone)
    return whole


def _url(where: str, camera: CameraConfig, folder: Path) -> str:
    parse(where, camera.url, camera.rtsp_transport, camera.options)
    if camera.url.startswith(_NETWORK):
        try:
            parts = urlsplit(camera.url)
            complete = bool(parts.hostname) and parts.port != 0
        except ValueError:
            complete = False
        if not complete:
            raise ConfigError(
                where,
                f"must name a host, and a port from 1 to 65535 if any, got {camera.url!r}",
                "correct it",
            )
    kind, _, rest = camera.url.partition(":")
    if kind != "loop":
        return camera.url
    file = _under(folder, Path(rest))
    if not file.is_file():
        raise ConfigError(where, f"must be a video file after loop:, {file} is none", "correct the path")
    return f"loop:{file}"


def _check_unique(path: Path, cameras: tuple[CameraConfig, ...]) -> None:
    seen: dict[str, int] = {}
    for index, camera in enumerate(cameras):
        first = seen.setdefault(camera.name, index)
        if first != index:
            raise ConfigError(
                f"{path}: camera[{index}].name",
                f"must be unique, {camera.name!r} is the name of camera[{first}] too",
                "rename one of them",
            )


def _check_endpoint(path: Path, endpoint: str | None) -> None:
    if endpoint is None:
        return
    where = f"{path}: publish"
    try:
        catchup_endpoint(endpoint)
    except EndpointError as error:
        raise ConfigError(where, f"{error.problem}, got {endpoint!r}", error.remedy) from error
    if not is_local(endpoint):
        raise ConfigError(
            where, f"must be a loopback address or ipc, got {endpoint!r}", "for example tcp://127.0.0.1:5556"
        )


def _complaint(path: Path, message: str) -> ConfigError:
    """Reword what msgspec says, such as ``Expected `str`, got `int` - at `$.camera[0].url```."""
    text, _, place = message.partition(" - at `$")
    key = place.rstrip("`").lstrip(".").replace("[...]", "")
    if match := re.fullmatch(r"Object contains unknown field `(.*)`", text, re.DOTALL):
        return _unknown(path, key, match[1])
    if match := re.fullmatch(r"Object missing required field `(.*)`", text):
        return ConfigError(
            f"{path}: {_joined(key, match[1])}", "must be given, is missing", "add it; see docs/run.md"
        )
    if match := re.fullmatch(r"Expected `(\w+)(?: \| null)?`, got `?([^`]*)`?", text, re.DOTALL):
        remedy = _REMEDIES.get(_word(key), "correct its type")
        got = _TYPES.get(match[2], match[2])
        return ConfigError(f"{path}: {key}", f"must be {_TYPES.get(match[1], match[1])}, got {got}", remedy)
    if match := re.fullmatch(r"Expected `float` (>=?|<=) ([\d.]+)", text):
        unit = next((u for end, u in _UNITS.items() if key.endswith(end)), "seconds")
        return ConfigError(
            f"{path}: {key}", f"must be {match[1]} {float(match[2]):g} {unit}, is not", "correct it"
        )
    if key.endswith("decode"):
        return ConfigError(f"{path}: {key}", f"must be {', '.join(Decode)}: {text}", "correct it")
    if key.endswith("rtsp_transport"):
        return ConfigError(f"{path}: {key}", f"must be tcp, udp, udp_multicast or http: {text}", "correct it")
    return ConfigError(f"{path}: {key}" if key else path, text, "see docs/run.md")


def _unknown(path: Path, key: str, field: str) -> ConfigError:
    known = _STRUCTS[_word(key)].__struct_fields__
    nearest = difflib.get_close_matches(field, known, n=1, cutoff=0.5)
    remedy = f"did you mean {nearest[0]}?" if nearest else f"known here are {', '.join(known)}"
    return ConfigError(f"{path}: {_joined(key, field)}", "must be a known key, is not", remedy)


def _word(key: str) -> str:
    """The last word of a key, without its numbers: ``ignore`` of ``camera[0].ignore[1]``."""
    return re.sub(r".*\.|\[.*", "", key)


def _joined(key: str, field: str) -> str:
    return f"{key}.{field}" if key else field
