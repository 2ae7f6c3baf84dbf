"""The encoders that ship beside the default: what made them makes them, and what they promise of shape and cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.encoders import open_encoder
from engines.graph import input_size, late_shape
from engines.proof.bench import flops_per_frame

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT.parent / "shared" / "data" / "weights" / "mobilenet_v2_1.0_224.npz"


def test_the_middle_encoder_costs_no_more_than_a_default_may() -> None:
    name, graph, background = open_encoder("road-middle")
    assert (name, input_size(graph), late_shape(graph)) == ("road-middle", (104, 156), (128, 7, 10))
    assert background is not None
    assert background.projection.basis.shape == (128, 64)
    assert flops_per_frame(graph) <= 0.15e9


def test_layers_of_the_middle_encoder_weigh_the_same_in_every_cell() -> None:
    graph = open_encoder("road-middle")[1]
    engine = OnnxRuntimeEngine(graph.SerializeToString())
    images = np.random.default_rng(0).integers(0, 256, (3, *engine.input_size, 3)).astype(np.uint8)
    images[1] = 0
    found = engine.features(images)
    assert found.early is not None
    assert found.early.shape == (3, 48)
    assert np.isfinite(found.late).all()
    for part in (found.late[:, :32], found.late[:, 32:]):
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), 1.0, atol=1e-4)


@pytest.mark.footage
@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"needs {WEIGHTS.name}")
def test_its_command_makes_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from training.shipped import middle_encoder

    monkeypatch.setattr("sys.argv", ["x", "--weights", str(WEIGHTS), "--out", str(tmp_path)])
    middle_encoder.main()
    made, ships = (
        OnnxRuntimeEngine(path / "encoder.onnx")
        for path in (tmp_path, ROOT / "engines" / "shipped" / "road-middle")
    )
    images = np.random.default_rng(0).integers(0, 256, (4, *made.input_size, 3)).astype(np.uint8)
    np.testing.assert_allclose(made.features(images).late, ships.features(images).late, atol=1e-5)
