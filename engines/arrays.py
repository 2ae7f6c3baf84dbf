"""Densities and projections as the arrays of an ``.npz``: never a pickle, and the same bytes for the same arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from engines.density import Direct, Kde, LatentDensity, Mixture, Projection, Tilted
from engines.errors import BundleError
from engines.scores import Cells, Density

TILT = ("weight", "direction", "offset")


def npz(arrays: Mapping[str, Any]) -> bytes:
    """An ``.npz`` whose bytes depend on the arrays alone (numpy's own would hold the time of day)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def open_npz(path: Path) -> np.lib.npyio.NpzFile:
    try:
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(
            path, f"must be an .npz of plain arrays: {error}", "copy the bundle again"
        ) from error


def pack_projection(prefix: str, projection: Projection) -> dict[str, Any]:
    return {f"{prefix}.{f.name}": getattr(projection, f.name) for f in fields(Projection)}


def unpack_projection(prefix: str, stored: Mapping[str, Any]) -> Projection:
    mean, basis, scale = (stored[f"{prefix}.{name}"] for name in ("mean", "basis", "scale"))
    return Projection(mean, basis, scale, bool(stored[f"{prefix}.unit"]))


def pack_density(prefix: str, density: LatentDensity) -> dict[str, Any]:
    """The arrays of a Kde or a Mixture under their own names; a Tilted one has its tilt's beside them; Direct has
    none, but its mark."""
    match density:
        case Kde() | Mixture():
            return {f"{prefix}.{f.name}": getattr(density, f.name) for f in fields(density)}
        case Direct():
            return {f"{prefix}.direct": True}
        case Tilted():
            tilt = {f"{prefix}.{name}": getattr(density, name) for name in TILT}
            return pack_density(prefix, density.density) | tilt
    raise TypeError(f"no arrays are known for {type(density).__name__}")


def unpack_density(prefix: str, stored: Mapping[str, Any]) -> LatentDensity | None:
    """The density under ``prefix``; None where there is none."""
    plain = _unpack_plain(prefix, stored)
    if f"{prefix}.direction" not in stored or not isinstance(plain, Kde | Mixture):
        return plain
    weight, direction, offset = (stored[f"{prefix}.{name}"] for name in TILT)
    return Tilted(plain, float(weight), direction, float(offset))


def _unpack_plain(prefix: str, stored: Mapping[str, Any]) -> Kde | Mixture | Direct | None:
    if f"{prefix}.direct" in stored:
        return Direct()
    if f"{prefix}.support" in stored:
        return unpack_kde(prefix, stored)
    if f"{prefix}.means" in stored:
        return Mixture(*(stored[f"{prefix}.{f.name}"] for f in fields(Mixture)))
    return None


def unpack_kde(prefix: str, stored: Mapping[str, Any]) -> Kde:
    leading = int(stored[f"{prefix}.leading"]) if f"{prefix}.leading" in stored else 0
    return Kde(
        stored[f"{prefix}.support"],
        stored[f"{prefix}.log_weights"],
        float(stored[f"{prefix}.bandwidth"]),
        leading,
    )


def pack(density: Density) -> dict[str, Any]:
    plain = ("pooling", "within", "normal_drives", "background_drives")
    arrays: dict[str, Any] = {name: getattr(density, name) for name in plain}
    arrays |= pack_projection("projection", density.projection) | pack_density("normal", density.normal)
    if density.background is not None:
        arrays |= pack_density("background", density.background)
    if density.early_projection is not None and density.early is not None:
        arrays |= pack_projection("early_projection", density.early_projection)
        arrays |= pack_density("early", density.early)
    if density.cells is not None:
        arrays |= pack_projection("cells_projection", density.cells.projection)
        arrays |= pack_density("cells", density.cells.density)
    return arrays


def unpack(stored: Mapping[str, Any]) -> Density:
    has_early, has_cells = "early.support" in stored, "cells.support" in stored
    normal = unpack_density("normal", stored)
    assert normal is not None
    return Density(
        pooling=stored["pooling"],
        projection=unpack_projection("projection", stored),
        normal=normal,
        background=unpack_density("background", stored),
        early_projection=unpack_projection("early_projection", stored) if has_early else None,
        early=unpack_kde("early", stored) if has_early else None,
        within=stored["within"],
        cells=Cells(unpack_projection("cells_projection", stored), unpack_kde("cells", stored))
        if has_cells
        else None,
        normal_drives=stored["normal_drives"],
        background_drives=stored["background_drives"],
    )
