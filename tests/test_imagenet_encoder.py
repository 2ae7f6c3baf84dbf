"""The encoder made from published weights: against the teacher's torch network, and as it ships."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.encoders import SHIPPED, open_encoder
from engines.errors import InputError
from engines.graph import input_size, late_shape
from training.shipped.imagenet_encoder import make_encoder

RANDOM = np.random.default_rng(3)
SIZE = (32, 56)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network in the published format: strided, depthwise, linear and added layers."""
    shapes = [(24, 3, 3, 3), (1, 3, 3, 24), (24, 1, 1, 24), (24, 3, 3, 24), (320, 1, 1, 24), (8, 1, 1, 320)]
    strides, acts = (2, 2, 1, 1, 2, 1), (3, 3, 0, 0, 0, 3)
    arrays: dict[str, np.ndarray] = {}
    meta: list[dict[str, object]] = []
    tensor = 0
    for number, shape in enumerate(shapes):
        label = f"w{number:02d}"
        arrays[label] = RANDOM.normal(size=shape).astype(np.float32)
        arrays["b" + label[1:]] = RANDOM.normal(size=max(shape[0], shape[3] if shape[0] == 1 else 0)).astype(
            np.float32
        )
        meta.append({
            "op": "CONV_2D", "i": [tensor], "o": [tensor + 1],
            "stride": strides[number], "act": acts[number], "w": label,
        })  # fmt: skip
        tensor += 1
        if number == 3:
            meta.append({"op": "ADD", "i": [tensor - 1, tensor], "o": [tensor + 1], "act": 0})
            tensor += 1
    meta.append({"op": "AVERAGE_POOL_2D", "i": [tensor], "o": [tensor + 1]})
    path = tmp_path_factory.mktemp("weights") / "small.npz"
    np.savez(path, meta=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]
    return path


def test_it_equals_the_network_in_torch(weights: Path) -> None:
    torch = pytest.importorskip("torch")
    from training.shipped.mobilenet import MobileNetV2

    frames = RANDOM.integers(0, 256, (2, *SIZE, 3)).astype(np.uint8)
    found = OnnxRuntimeEngine(make_encoder(weights, SIZE).SerializeToString()).features(frames)
    pixels = (torch.from_numpy(frames).permute(0, 3, 1, 2).float() - 128.0) / 128.0
    maps = MobileNetV2(weights).maps(pixels)
    late, early = maps["stride8"].numpy(), maps["stride4"].numpy()
    np.testing.assert_allclose(found.late, late, rtol=1e-4, atol=1e-3)
    assert found.early is not None
    statistics = np.concatenate([early.mean((2, 3)), early.std((2, 3))], axis=1)
    np.testing.assert_allclose(found.early, statistics, rtol=1e-3, atol=1e-3)


def test_it_is_cut_where_asked(weights: Path) -> None:
    model = make_encoder(weights, SIZE, late=24)
    assert late_shape(model) == (24, 8, 14)
    assert not any("w04" in w.name or "w05" in w.name for w in model.graph.initializer)


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="MobileNetV2 weights"):
        make_encoder(tmp_path / "other.npz")


def test_the_large_encoder_that_ships() -> None:
    name, model, background = open_encoder("road-large")
    assert (name, input_size(model), late_shape(model)) == ("road-large", (224, 336), (320, 7, 11))
    assert (SHIPPED / name / "encoder.onnx").stat().st_size < 8_000_000
    assert background is not None
    frames = RANDOM.integers(0, 256, (2, 224, 336, 3)).astype(np.uint8)
    found = OnnxRuntimeEngine(model.SerializeToString()).features(frames)
    assert found.early is not None
    assert np.isfinite(background.early.latent(found.early.astype(np.float64))).all()
    assert background.projection.basis.shape == (320, 64)
