"""Compiled engines, the record that they were verified, and what ``auto`` chose: a folder beside the bundle that can be
deleted at any time. It belongs to its machine: nothing in it is part of the bundle, or travels with it.

BACKEND-PRECISION.engine   what the library built
BACKEND-PRECISION.json     what it was built from and for, its sha256, and the report of its verification
choice.json                which engine ``auto`` takes on this machine, and why
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from engines.bundle import Bundle
from engines.engine import Precision
from engines.errors import OutputError
from engines.whole_file import write_whole

Record = TypeVar("Record", bound=msgspec.Struct)


class Check(msgspec.Struct, frozen=True):
    """One comparison: what was found, the limit it must keep, and whether it did."""

    name: str
    found: str
    limit: str
    passed: bool


class Report(msgspec.Struct, frozen=True):
    """What verifying one engine found. bundle: sha256 of the bundle whose frames and thresholds it was checked with."""

    bundle: str
    backend: str
    precision: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> str:
        """The names of the checks that failed, in a line."""
        return ", ".join(check.name for check in self.checks if not check.passed)


class Key(msgspec.Struct, frozen=True):
    """What an engine was built from and for. graph: sha256 of the bundle's ``model.onnx``. density: of its density.npz.
    library: version. target: processor or GPU."""

    graph: str
    density: str
    backend: str
    precision: str
    library: str
    target: str
    sightline: str


class Entry(msgspec.Struct, frozen=True):
    """What is known of one engine. sha256: of its file, empty where the bundle's own graph is run as it is. notes: what
    building it had to say."""

    key: Key
    sha256: str = ""
    notes: tuple[str, ...] = ()
    report: Report | None = None


class Choice(msgspec.Struct, frozen=True):
    """What ``auto`` took, and why. It holds for this machine, bundle and precision, and these versions of libraries."""

    machine: str
    bundle: str
    libraries: dict[str, str]
    precision: str
    backend: str
    reason: str


@dataclass(frozen=True, slots=True)
class EngineCache:
    """The cache of one bundle."""

    folder: Path

    @classmethod
    def beside(cls, bundle: Bundle) -> EngineCache:
        """The cache folder of a bundle is its own name with ``.cache`` behind."""
        path = bundle.path.absolute()
        return cls(path.with_name(f"{path.name}.cache"))

    def entry(self, key: Key) -> Entry | None:
        """What is known of the engine with this key; None where there is none, or another."""
        found = self._read(f"{key.backend}-{key.precision}.json", Entry)
        return found if found is not None and found.key == key else None

    def engine(self, key: Key) -> tuple[bytes | None, str]:
        """The engine with this key, and, where there is only another, a few words on what is wrong with it."""
        found = self._read(f"{key.backend}-{key.precision}.json", Entry)
        file = self.engine_file(key)
        if found is None or not found.sha256 or not file.is_file():
            return None, ""
        if found.key != key:
            return None, _difference(found.key, key)
        built = file.read_bytes()
        if sha256_of(built) != found.sha256:
            return None, "is damaged"
        return built, ""

    def store(self, key: Key, built: bytes, notes: tuple[str, ...]) -> Path:
        """Keep an engine, not verified so far; OutputError where nothing can be written."""
        self.make()
        file = self.engine_file(key)
        write_whole(file, built)
        self._write(f"{key.backend}-{key.precision}.json", Entry(key, sha256_of(built), notes))
        return file

    def record(self, key: Key, sha256: str, report: Report) -> None:
        """Keep the report of the verification of the engine with this content, if it is the one that is kept (another process
        may have built one meanwhile); OutputError where nothing can be written."""
        self.make()
        found = self.entry(key) or Entry(key)
        if found.sha256 != sha256:
            return
        self._write(f"{key.backend}-{key.precision}.json", msgspec.structs.replace(found, report=report))

    def choice(self) -> Choice | None:
        return self._read("choice.json", Choice)

    def choose(self, choice: Choice) -> None:
        """Keep what ``auto`` took; OutputError where nothing can be written."""
        self.make()
        self._write("choice.json", choice)

    def engine_file(self, key: Key) -> Path:
        """Where the engine with this key is kept."""
        return self.folder / f"{key.backend}-{key.precision}.engine"

    def make(self) -> Path:
        """Make the folder and return it; OutputError where that cannot be done."""
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                self.folder,
                f"must be a folder that can be written: {error.strerror}",
                "copy the bundle elsewhere",
            ) from error
        return self.folder

    def precisions(self, backend: str) -> set[Precision]:
        """In what a backend's engines were compiled, for whatever graph or machine."""
        return {kind for kind in Precision if (self.folder / f"{backend}-{kind}.engine").is_file()}

    def _read(self, name: str, kind: type[Record]) -> Record | None:
        """A record, or None: one that cannot be read is as good as none, since all can be made again."""
        try:
            return msgspec.json.decode((self.folder / name).read_bytes(), type=kind)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _write(self, name: str, record: msgspec.Struct) -> None:
        write_whole(self.folder / name, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")


def sha256_of(built: bytes) -> str:
    return hashlib.sha256(built).hexdigest()


def _difference(found: Key, wanted: Key) -> str:
    """In a few words, how two keys differ."""
    if found.graph != wanted.graph or found.density != wanted.density:
        return "is of another graph"
    if found.target != wanted.target:
        return f"is for {found.target}, this is {wanted.target}"
    if found.library != wanted.library:
        return f"is of version {found.library} of the library, this is {wanted.library}"
    return f"is of version {found.sightline} of sightline"


def key_of(
    bundle: Bundle, backend: str, precision: Precision, library: str, target: str, sightline: str
) -> Key:
    """The key of a bundle's engine."""
    files = bundle.manifest.files
    return Key(
        files["model.onnx"], files["density.npz"], backend, precision.value, library, target, sightline
    )
