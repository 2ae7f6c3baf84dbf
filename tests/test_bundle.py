"""A bundle is whole or refused, written or absent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import SCHEMA, Bundle, open_bundle, write_bundle
from engines.errors import BundleError, OutputError


@pytest.fixture
def bundle(rendered_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rendered_bundle, tmp_path / "copy.bundle"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def newer(path: Path) -> None:
    manifest = json.loads((path / "bundle.json").read_text())
    (path / "bundle.json").write_text(json.dumps(manifest | {"schema": SCHEMA + 1}))


def older(path: Path) -> None:
    manifest = json.loads((path / "bundle.json").read_text())
    (path / "bundle.json").write_text(json.dumps(manifest | {"schema": SCHEMA - 1}))


def rewritten(path: Bundle, to: Path) -> Bundle:
    pictures = {p.name: p.read_bytes() for p in (path.path / "normal").iterdir()}
    return write_bundle(
        to,
        path.manifest,
        path.density,
        path.model_path.read_bytes(),
        path.probes(),
        dict(sorted(pictures.items())),
    )


def test_a_bundle_opens_and_tells_what_it_was_taught(rendered_bundle: Path) -> None:
    opened = open_bundle(rendered_bundle)
    assert len(opened.manifest.drives) == 6
    assert opened.calibration.units >= 3
    assert set(opened.manifest.files) >= {"model.onnx", "density.npz", "probes.npz"}


@pytest.mark.parametrize("name", ["model.onnx", "density.npz", "probes.npz", "normal/000_0.jpg"])
def test_one_flipped_byte_is_noticed(name: str, bundle: Path) -> None:
    flip(bundle / name)
    with pytest.raises(BundleError, match="sha256") as caught:
        open_bundle(bundle)
    assert name in str(caught.value)


def test_any_flipped_byte_of_the_manifest_is_noticed(bundle: Path) -> None:
    """A threshold with one digit changed is still JSON, and would raise alarms nobody promised."""
    manifest = (bundle / "bundle.json").read_bytes()
    for place in range(0, len(manifest), 7):
        damaged = bytearray(manifest)
        damaged[place] ^= 1
        (bundle / "bundle.json").write_bytes(bytes(damaged))
        with pytest.raises(BundleError):
            open_bundle(bundle)


@pytest.mark.parametrize("name", ["model.onnx", "density.npz"])
def test_a_missing_file_is_named(name: str, bundle: Path) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match="missing"):
        open_bundle(bundle)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (newer, f"schema {SCHEMA}, got {SCHEMA + 1}; upgrade"),
        (older, f"schema {SCHEMA}, got {SCHEMA - 1}; teach it again"),
        (lambda path: (path / "bundle.json").write_text(f'{{"schema": {SCHEMA}, "na'), "valid manifest"),
        (lambda path: (path / "bundle.json").write_text(f'{{"schema": {SCHEMA}}}'), "missing required field"),
        (lambda path: (path / "bundle.json").write_bytes(b"\xff\xfe"), "valid manifest"),
        (lambda path: (path / "bundle.json").unlink(), "must be a bundle"),
        (shutil.rmtree, "must be a bundle"),
    ],
    ids=["newer", "older", "truncated", "incomplete", "binary", "no manifest", "no folder"],
)
def test_a_damaged_manifest_is_refused(damage: Callable[[Path], object], words: str, bundle: Path) -> None:
    damage(bundle)
    with pytest.raises(BundleError, match=words):
        open_bundle(bundle)


def test_what_is_written_is_what_was_given_and_the_same_twice(rendered_bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(rendered_bundle)
    first, second = rewritten(opened, tmp_path / "a"), rewritten(opened, tmp_path / "b")
    assert first.sha256 == second.sha256
    np.testing.assert_array_equal(first.density.normal.support, opened.density.normal.support)
    np.testing.assert_array_equal(first.density.within, opened.density.within)


def test_an_older_bundle_is_replaced_whole(bundle: Path, rendered_bundle: Path) -> None:
    flip(bundle / "model.onnx")
    rewritten(open_bundle(rendered_bundle), bundle)
    open_bundle(bundle)
    assert [p.name for p in bundle.parent.iterdir()] == [bundle.name]


def test_anything_else_is_never_overwritten(rendered_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "draft.txt").write_text("years of work")
    with pytest.raises(OutputError, match="something else is there"):
        rewritten(open_bundle(rendered_bundle), tmp_path / "thesis")
    assert (tmp_path / "thesis" / "draft.txt").read_text() == "years of work"


def test_nothing_is_half_written_where_it_cannot_be(rendered_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="must be writable"):
        rewritten(open_bundle(rendered_bundle), tmp_path / "file" / "x.bundle")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
