"""The model on disk: a folder with the fused graph, the density behind it, probes, thumbnails, and
``bundle.json`` that vouches for all.

bundle.json   what it is, what it was taught on, its calibration, and the sha256 of every other file
model.onnx    the fused graph: uint8 frames in, scores out
density.npz   the density in float64: to verify, refit and recalibrate
probes.npz    frames and the reference's scores for them: to verify engines
normal/       thumbnails of normal footage, one drive after another
normal.npz    when each was and where it lies in the latent, to find those most like a frame
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.arrays import npz, open_npz, pack, unpack
from engines.decision import Calibration
from engines.errors import BundleError, OutputError
from engines.frames import Image
from engines.normal import Moments, NormalPictures
from engines.normal import unpack as unpack_moments
from engines.regions import Regions, Shape
from engines.scores import Density, Scores

SCHEMA = 2
REQUIRED = ("model.onnx", "density.npz", "probes.npz")
NO_SEAL = 64 * "0"
ARTIFICIAL_PROBES = 5
"""How many of a bundle's probes are no footage, but pictures far from any; they come last."""


class TaughtDrive(msgspec.Struct, frozen=True):
    """A drive the bundle was taught on. fingerprint: of its content (``engines.footage.fingerprint``), by which it
    is known again."""

    name: str
    frames: int
    seconds: float
    fingerprint: str


class Encoder(msgspec.Struct, frozen=True):
    """Which encoder the graph begins with."""

    name: str
    sha256: str


class Onboarding(msgspec.Struct, frozen=True):
    """How a bundle came from another one by moving it to a new camera (``sightline calibrate``).

    parent, parent_sha256, parent_created: of the bundle it came from. moved: what is not the parent's any more.
    shift: length of the latent's shift, in standard deviations of the background (0: none). drives: the camera's.
    left_out: parts of them that nothing was learnt from."""

    parent: str
    parent_sha256: str
    parent_created: str
    moved: tuple[str, ...]
    shift: float
    drives: tuple[TaughtDrive, ...]
    left_out: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True):
    """The content of ``bundle.json``. Unknown keys are ignored, so that a later minor version stays
    readable.

    density: what stands on the latent, in words. others: drives that only widened the background.
    files: the sha256 of every other file. seal: that of this one, with zeros in its own place. lineage: the cameras
    it was moved to since it was taught, the latest last. ignored: the regions that were hidden from the encoder in all
    footage behind it, as ``engines.regions`` has them.
    """

    schema: int
    name: str
    created: str
    version: str
    encoder: Encoder
    input_size: tuple[int, int]
    dimensions: int
    density: str
    relative: bool
    drives: tuple[TaughtDrive, ...]
    others: tuple[TaughtDrive, ...]
    calibration: Calibration
    notes: tuple[str, ...]
    files: dict[str, str]
    seal: str = ""
    lineage: tuple[Onboarding, ...] = ()
    ignored: tuple[Shape, ...] = ()

    @property
    def known(self) -> tuple[TaughtDrive, ...]:
        """Every drive that has a number: the taught ones, the others, those of the camera it was moved to last."""
        return (*self.drives, *self.others, *(self.lineage[-1].drives if self.lineage else ()))


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """Frames (N×H×W×3 uint8), the encoder's features for them as float32, and the reference's float64
    scores."""

    frames: Image
    scores: Scores


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """An opened bundle. Its files have been checked against their sha256."""

    path: Path
    manifest: Manifest
    density: Density

    @property
    def model_path(self) -> Path:
        return self.path / "model.onnx"

    @property
    def calibration(self) -> Calibration:
        return self.manifest.calibration

    @property
    def ignored(self) -> Regions:
        """What was hidden when it was taught, and must be when it watches."""
        return Regions(self.manifest.ignored)

    @property
    def sha256(self) -> str:
        """Identity of the whole bundle: the digest of its manifest, which holds the digest of everything
        else."""
        return hashlib.sha256((self.path / "bundle.json").read_bytes()).hexdigest()

    def probes(self) -> Probes:
        with open_npz(self.path / "probes.npz") as stored:
            scores = Scores(**{f.name: stored[f.name] for f in fields(Scores)})
            return Probes(stored["frames"], scores)

    def moments(self) -> Moments | None:
        """Where the pictures of normal footage lie; None in a bundle that was taught before this was kept."""
        if "normal.npz" not in self.manifest.files:
            return None
        with open_npz(self.path / "normal.npz") as stored:
            return unpack_moments(stored)

    def neighbours(self) -> NormalPictures | None:
        """The pictures of normal footage, to be searched; None where it is not known where they lie."""
        moments = self.moments()
        if moments is None or not moments.names:
            return None
        drives = [drive.name for drive in self.manifest.known]
        return NormalPictures(self.path / "normal", drives, moments, self.density.normal)

    def normal_pictures(self) -> tuple[Image, NDArray[np.int64]]:
        """The pictures of normal footage, N×H×W×3 RGB at the input size, and the number of the drive each is of."""
        names = sorted(name for name in self.manifest.files if name.startswith("normal/"))
        data = [np.frombuffer((self.path / name).read_bytes(), np.uint8) for name in names]
        pictures = [cv2.imdecode(one, cv2.IMREAD_COLOR_RGB) for one in data]
        drives = [int(Path(name).stem.partition("_")[0]) for name in names]
        return np.asarray(pictures, np.uint8), np.array(drives, np.int64)


def open_bundle(path: Path | str) -> Bundle:
    """Open and check a bundle; a missing, damaged or newer one raises BundleError."""
    path = Path(path)
    manifest = _read_manifest(path)
    for name, expected in manifest.files.items():
        file = path / name
        if not file.is_file():
            raise BundleError(
                file, "must exist, but is missing from the bundle", "copy the whole folder again"
            )
        if _sha256(file.read_bytes()) != expected:
            raise BundleError(
                file,
                "must have the sha256 that bundle.json states; the file was changed",
                "copy the bundle again",
            )
    with open_npz(path / "density.npz") as stored:
        density = unpack(dict(stored))
    return Bundle(path, manifest, density)


def _read_manifest(path: Path) -> Manifest:
    file = path / "bundle.json"
    if not file.is_file():
        raise BundleError(
            path, "must be a bundle: a folder with a bundle.json", "make one with sightline fit"
        )
    try:
        schema = msgspec.json.decode(file.read_bytes(), type=dict[str, Any]).get("schema")
        if isinstance(schema, int) and schema != SCHEMA:
            remedy = "upgrade sightline" if schema > SCHEMA else "teach it again with this version"
            raise BundleError(path, f"must have schema {SCHEMA}, got {schema}", remedy)
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(file, f"must be a valid manifest: {error}", "copy the bundle again") from error
    if manifest.seal != _seal(file.read_bytes(), manifest.seal):
        raise BundleError(file, "must be as it was written, but was changed", "copy the bundle again")
    missing = [name for name in REQUIRED if name not in manifest.files]
    if missing:
        raise BundleError(file, f"must vouch for {missing[0]}, but does not", "make the bundle again")
    return manifest


def _seal(data: bytes, seal: str) -> str:
    """The sha256 of a manifest's bytes with zeros in place of its ``seal``."""
    return _sha256(data.replace(seal.encode(), NO_SEAL.encode())) if len(seal) == len(NO_SEAL) else NO_SEAL


def check_target(path: Path) -> None:
    """Raise OutputError where a bundle could not be written: to be asked before the work that leads to one."""
    if path.exists() and not (path / "bundle.json").is_file():
        raise OutputError(
            path, "must be a new name or an older bundle; something else is there", "choose another --out"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=path.parent).cleanup()
    except OSError as error:
        raise OutputError(path, f"must be writable: {error.strerror}", "choose another --out") from error


def write_bundle(
    path: Path,
    manifest: Manifest,
    density: Density,
    model: bytes,
    probes: Probes,
    thumbnails: Mapping[str, bytes],
    moments: Moments | None = None,
) -> Bundle:
    """Write a bundle under a temporary name beside ``path``, then rename: it is whole or absent. An older
    bundle there is replaced. moments: of the thumbnails; None where they are not known."""
    path = Path(path)
    check_target(path)
    contents: dict[str, bytes] = {
        "model.onnx": model,
        "density.npz": npz(pack(density)),
        "probes.npz": npz(
            {"frames": probes.frames, **{f.name: getattr(probes.scores, f.name) for f in fields(Scores)}}
        ),
        **({} if moments is None else {"normal.npz": npz(moments.pack())}),
        **{f"normal/{name}": data for name, data in thumbnails.items()},
    }
    files = {name: _sha256(data) for name, data in contents.items()}
    manifest = msgspec.structs.replace(manifest, files=files, seal=NO_SEAL)
    unsealed = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    contents["bundle.json"] = unsealed.replace(NO_SEAL.encode(), _seal(unsealed, NO_SEAL).encode())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise OutputError(path, f"must be writable: {error.strerror}", "choose another --out") from error
    try:
        for name, data in contents.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_bytes(data)
        partial.chmod(0o755)
        _replace(partial, path)
    except OSError as error:
        raise OutputError(
            path, f"must be writable: {error.strerror}", "free space or choose another --out"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_bundle(path)


def _replace(partial: Path, path: Path) -> None:
    if not path.exists():
        partial.replace(path)
        return
    # A folder cannot be renamed over a full one: the old bundle steps aside first and leaves last.
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    try:
        path.replace(aside / "bundle")
        try:
            partial.replace(path)
        except OSError:
            (aside / "bundle").replace(path)
            raise
    finally:
        # Unless it could not come back: then the only bundle there is lies in it.
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
