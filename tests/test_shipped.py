"""The default encoder that ships: its command makes it, and what it promises of shape, cost and weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.encoders import DEFAULT, SHIPPED, open_encoder
from engines.graph import input_size, late_shape
from engines.proof.bench import flops_per_frame

WEIGHTS = Path(__file__).parents[2] / "shared" / "data" / "weights" / "mobilenet_v2_1.0_224.npz"
MIDDLE = 128
"""Channels of the late map that come before the deep ones."""


def test_the_default_encoder_costs_no_more_than_it_may() -> None:
    name, graph, background = open_encoder(DEFAULT)
    assert (name, input_size(graph), late_shape(graph)) == ("road", (96, 144), (288, 6, 9))
    assert background is not None
    assert background.projection.basis.shape == (288, 64)
    assert flops_per_frame(graph) <= 0.15e9


def test_its_middle_and_deep_parts_weigh_the_same_in_every_picture() -> None:
    graph = open_encoder(DEFAULT)[1]
    engine = OnnxRuntimeEngine(graph.SerializeToString())
    images = np.random.default_rng(0).integers(0, 256, (3, *engine.input_size, 3)).astype(np.uint8)
    images[1] = 0
    found = engine.features(images)
    assert found.early is not None
    assert found.early.shape == (3, 48)
    assert np.isfinite(found.late).all()
    pictures = found.late.mean((2, 3))
    np.testing.assert_allclose(np.linalg.norm(pictures[:, :MIDDLE], axis=1), 1.0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(pictures[:, MIDDLE:], axis=1), 1.5, atol=1e-4)


def test_the_axes_that_ship_look_at_the_middle_part_alone() -> None:
    _, _, background = open_encoder(DEFAULT)
    assert background is not None
    basis, mean = background.projection.basis, background.projection.mean
    np.testing.assert_allclose(basis.T @ basis, np.eye(64), atol=1e-9)
    assert np.abs(basis[MIDDLE:]).max() < 1e-9
    assert np.abs(mean[MIDDLE:]).max() > 0.01


@pytest.mark.footage
@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"needs {WEIGHTS.name}")
def test_its_command_makes_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from training.shipped import road_encoder

    monkeypatch.setattr("sys.argv", ["x", "--weights", str(WEIGHTS), "--out", str(tmp_path)])
    road_encoder.main()
    made, ships = (OnnxRuntimeEngine(path / "encoder.onnx") for path in (tmp_path, SHIPPED / DEFAULT))
    images = np.random.default_rng(0).integers(0, 256, (4, *made.input_size, 3)).astype(np.uint8)
    np.testing.assert_allclose(made.features(images).late, ships.features(images).late, atol=1e-5)
