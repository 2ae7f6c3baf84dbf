"""Every model of the table: what it answers, that its ONNX file answers the same, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torchvision.models import get_model

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.errors import ConfigError, InputError, SightlineError
from engines.frames import Image
from engines.graph import LENGTH_KEY, keeps_length, late_shape
from training.export import to_onnx
from training.models import (
    AutoencoderOptions,
    DfkdeOptions,
    LakeOptions,
    ModelOptions,
    VaeOptions,
    build,
    kind_of,
    scored,
)
from training.models.convolutions import errors
from training.models.dfkde import FOLDED, NORMALISATIONS, Dfkde
from training.models.grid import resampling
from training.models.lake import distances
from training.models.vae import warmth

SIZE = (48, 64)
SQUEEZED = ("features.4", "features.9")
ROOT = Path(__file__).resolve().parent.parent
MOBILENET = ROOT.parent / "shared" / "data" / "weights" / "mobilenet_v2_1.0_224.npz"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of SqueezeNet 1.1, as arrays under torchvision's names."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.npz"
    np.savez(path, **{k: v.numpy() for k, v in get_model("squeezenet1_1", weights=None).state_dict().items()})
    return path


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two blocks in the file format of the folded MobileNetV2: a depthwise one, and one with a shortcut."""
    random = np.random.default_rng(0)
    shapes = [(8, 3, 3, 3), (1, 3, 3, 8), (6, 1, 1, 8), (6, 1, 1, 6), None, (10, 1, 1, 6)]
    strides, linear = (2, 2, 1, 1, None, 2), (False, False, True, True, True, False)
    arrays: dict[str, np.ndarray] = {}
    operations: list[dict[str, Any]] = []
    for i, (shape, stride) in enumerate(zip(shapes, strides, strict=True)):
        operation: dict[str, Any] = {"op": "ADD", "i": [i, i - 1], "o": [i + 1], "act": 0}
        if shape is not None:
            arrays[f"w{i:02d}"] = random.normal(0, 0.4, shape).astype(np.float32)
            arrays[f"b{i:02d}"] = random.normal(0, 0.1, max(shape[0], shape[3] * (shape[0] == 1))).astype(
                np.float32
            )
            operation |= {
                "op": "CONV_2D",
                "i": [i],
                "stride": stride,
                "w": f"w{i:02d}",
                "act": 0 if linear[i] else 3,
            }
        operations.append(operation)
    operations.append({"op": "AVERAGE_POOL_2D", "i": [len(shapes)], "o": [len(shapes) + 1], "act": 0})
    path = tmp_path_factory.mktemp("folded") / "folded.npz"
    np.savez(path, meta=json.dumps(operations), **arrays)
    return path


@pytest.fixture(scope="module")
def options(weights: Path, folded: Path) -> dict[str, ModelOptions]:
    return {
        "autoencoder": AutoencoderOptions(SIZE, latent=8),
        "vae": VaeOptions(SIZE, latent=8),
        "lake": LakeOptions(SIZE, latent=4, hidden=10),
        "dfkde": DfkdeOptions(SIZE, "squeezenet1_1", SQUEEZED, str(weights), "caffe"),
        "folded": DfkdeOptions(SIZE, FOLDED, ("stride4", "features"), str(folded)),
    }


def frames(count: int = 6) -> Image:
    """Noise, and pictures without any contrast: black, white, grey."""
    images = np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3)).astype(np.uint8)
    images[:3] = np.array([0, 255, 128], np.uint8)[:, None, None, None]
    return images


def built(options: ModelOptions) -> Any:
    torch.manual_seed(1)
    return build(options).eval()


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "lake", "dfkde", "folded"])
def test_onnx_answers_what_torch_answers(kind: str, options: dict[str, ModelOptions]) -> None:
    model = built(options[kind])
    assert kind_of(options[kind]) == ("dfkde" if kind == "folded" else kind)
    same_as_onnx(model)


def same_as_onnx(model: Any) -> None:
    """Every output of the ONNX file is the model's own, but for a ten-thousandth of the largest it gives."""
    graph = to_onnx(model, model.size, model.outputs, {LENGTH_KEY: "kept"} if model.keeps_length else {})
    assert keeps_length(graph) == model.keeps_length
    found = OnnxRuntimeEngine(graph.SerializeToString()).features(frames())
    with torch.no_grad():
        wanted = dict(zip(model.outputs, model(torch.from_numpy(frames())), strict=True))
    assert late_shape(graph) == tuple(wanted["late"].shape[1:])
    for name, tensor in wanted.items():
        value = getattr(found, name)
        assert value.shape == tuple(tensor.shape), name
        assert np.isfinite(value).all(), name
        assert np.abs(value - tensor.numpy()).max() <= 1e-4 * float(tensor.abs().max()), name


@pytest.mark.footage
@pytest.mark.skipif(
    not MOBILENET.is_file(), reason="the MobileNetV2 weights are not here (../shared/data/weights)"
)
def test_onnx_answers_what_the_real_mobilenet_answers() -> None:
    model = built(DfkdeOptions(SIZE, FOLDED, ("stride8", "stride32"), str(MOBILENET)))
    same_as_onnx(model)
    assert model(torch.from_numpy(frames()))[0].shape == (6, 32 + 320, 2, 2)


@pytest.mark.parametrize(
    ("layer", "shape"), [("stride2", None), ("stride4", (6, 12, 16)), ("features", (10, 6, 8))]
)
def test_folded_maps_are_the_last_blocks_at_their_stride(
    layer: str, shape: tuple[int, ...] | None, folded: Path
) -> None:
    if shape is None:
        with pytest.raises(InputError, match=r"must give stride2, gives stride4, features"):
            Dfkde(SIZE, FOLDED, (layer,), str(folded))
        return
    model = Dfkde(SIZE, FOLDED, (layer,), str(folded)).eval()
    assert tuple(model(torch.from_numpy(frames()))[0].shape[1:]) == shape
    assert model.blue_first is False
    assert model.mean.flatten().tolist() == [128.0] * 3


def test_folded_tensors_that_do_not_fit_are_told(folded: Path, tmp_path: Path) -> None:
    with np.load(folded) as stored:
        arrays = dict(stored)
    arrays["w02"] = arrays["w02"][:, :, :, :7]
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(
        InputError, match=r"must hold tensors that fit each other: .*weight of size \[6, 7, 1, 1\]"
    ) as caught:
        Dfkde(SIZE, FOLDED, ("features",), str(tmp_path / "w.npz"))
    assert "\n" not in str(caught.value)


def test_an_exported_file_names_no_sources_and_takes_any_batch(options: dict[str, ModelOptions]) -> None:
    model = built(options["autoencoder"])
    graph = to_onnx(scored(model, direct=True), model.size, model.outputs)
    assert str(Path.cwd()).encode() not in graph.SerializeToString()
    assert not [n for n in graph.graph.node if n.metadata_props or n.doc_string]
    assert "Resize" not in {n.op_type for n in graph.graph.node}
    assert [(o.domain, o.version) for o in graph.opset_import if not o.domain] == [("", 18)]
    onnx.checker.check_model(graph, full_check=True)
    engine = OnnxRuntimeEngine(graph.SerializeToString())
    together, alone = engine.features(frames()), engine.features(frames()[:1])
    assert together.late.shape == (6, 1)
    assert together.reconstruction is not None
    np.testing.assert_allclose(together.late[:, 0], together.reconstruction)
    np.testing.assert_allclose(together.late[:1], alone.late, rtol=1e-5)


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "lake"])
def test_a_few_steps_reconstruct_better(kind: str, options: dict[str, ModelOptions]) -> None:
    model = built(options[kind]).train()
    seen = torch.from_numpy(frames(12)[4:])
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    history = []
    for _ in range(12):
        terms = model.loss(seen, seen, 9.0)
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
        history.append(terms["reconstruction"].item())
    assert history[-1] < history[0]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_lake_ties_every_layer_to_its_mirror_image(options: dict[str, ModelOptions]) -> None:
    model = built(options["lake"])
    activations = model.encoder(torch.rand(2, 3, *SIZE))
    mirrored, picture = model.decoder(torch.rand(2, 4))
    assert [a.shape for a in activations] == [b.shape for b in mirrored]
    assert picture.shape == (2, 3, *SIZE)
    assert 0.0 <= picture.min() <= picture.max() <= 1.0
    assert set(model.loss(*2 * (torch.from_numpy(frames()),), 1.0)) == {
        "reconstruction",
        "divergence",
        "layers",
    }


def test_distances_of_pictures_without_length_or_contrast_are_finite() -> None:
    """A black frame once gave NaN: its length is 0."""
    x = torch.tensor([0.0, 1.0, 0.5])[:, None, None, None].expand(3, 3, 4, 4).clone().requires_grad_()
    said = distances(x, torch.rand(3, 3, 4, 4))
    said.sum().backward()
    assert torch.isfinite(said).all()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    same = torch.rand(2, 3, 4, 4)
    np.testing.assert_allclose(distances(same, same), [[0.0, 1.0]] * 2, atol=1e-5)
    inverted = distances(same, 1.0 - same)[:, 1]
    np.testing.assert_allclose(inverted, -1.0, atol=1e-5)


def test_the_error_map_says_where() -> None:
    x, y = torch.zeros(1, 3, *SIZE), torch.zeros(1, 3, *SIZE)
    y[:, :, 8:16, 24:32] = 0.5
    error, heat = errors(x, y)
    assert heat.shape == (1, 6, 8)
    assert heat.argmax() == 1 * 8 + 3
    assert heat.max().item() == pytest.approx(0.5, abs=1e-3)
    assert error.item() == pytest.approx(0.5 / 48**0.5, abs=1e-3)


def test_the_divergence_warms_up() -> None:
    assert [warmth(e, 4.0) for e in (0.0, 1.0, 4.0, 9.0)] == [0.0, 0.25, 1.0, 1.0]
    assert warmth(0.0, 0.0) == 1.0


@pytest.mark.parametrize(("size", "wanted"), [(6, 6), (6, 3), (7, 3), (3, 7), (1, 4)])
def test_resampling_keeps_flat_maps_flat_and_the_mean_where_it_averages(size: int, wanted: int) -> None:
    matrix = resampling(size, wanted)
    np.testing.assert_allclose(matrix.sum(1), 1.0, rtol=1e-6)
    row = torch.rand(size)
    if wanted <= size:
        assert (matrix @ row).mean().item() == pytest.approx(row.mean().item(), rel=1e-5)
    assert (matrix @ row).min() >= row.min() - 1e-6


def test_layers_are_brought_to_one_grid_and_weigh_the_same(weights: Path) -> None:
    model = Dfkde(SIZE, "squeezenet1_1", SQUEEZED, str(weights), "imagenet", grid=(3, 5)).eval()
    with torch.no_grad():
        late, early = model(torch.from_numpy(frames()))
    first, second = late[:, :128], late[:, 128:]
    assert late.shape == (6, 128 + 384, 3, 5)
    assert early.shape == (6, 256)
    np.testing.assert_allclose(first.norm(dim=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(second.norm(dim=1), 1.0, rtol=1e-5)


def test_normalisation_is_as_stated(weights: Path) -> None:
    """Red pixels through ``caffe``: blue comes first, and nothing is scaled."""
    red = torch.zeros(1, *SIZE, 3, dtype=torch.uint8)
    red[..., 0] = 255
    seen: list[torch.Tensor] = []
    for name in NORMALISATIONS:
        model = Dfkde(SIZE, "squeezenet1_1", SQUEEZED, str(weights), name)
        model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0, :, 0, 0]))
        model(red)
    values = dict(zip(NORMALISATIONS, (s.tolist() for s in seen), strict=True))
    assert values["caffe"] == [0.0 - 104.0, 0.0 - 117.0, 255.0 - 123.0]
    assert values["imagenet"] == pytest.approx(
        [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225], abs=1e-3
    )
    assert values["unit"] == [1.0, 0.0, 0.0]
    assert values["signed"] == pytest.approx([127 / 128, -1.0, -1.0])


def test_a_state_dict_does_as_well_as_arrays(weights: Path, tmp_path: Path) -> None:
    with np.load(weights) as stored:
        torch.save({k: torch.from_numpy(stored[k]) for k in stored.files}, tmp_path / "w.pth")
    models = [
        Dfkde(SIZE, "squeezenet1_1", SQUEEZED, str(p), "unit").eval() for p in (weights, tmp_path / "w.pth")
    ]
    a, b = (m(torch.from_numpy(frames()))[0] for m in models)
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"backbone": "resnet81"}, ConfigError, "resnet81; did you mean resnet18"),
        ({"layers": ("features.4x",)}, ConfigError, "got features.4x; did you mean features.4"),
        ({"layers": ()}, ConfigError, "at least one layer"),
        ({"layers": ("flatten",)}, ConfigError, "must give maps N×C×h×w, flatten gives N×1000"),
        ({"weights": "IMAGENET1K_V9"}, InputError, "a name that torchvision knows for squeezenet1_1: DEFAULT"),
        ({"normalisation": None}, ConfigError, "must be stated .*; one of imagenet, caffe, signed, unit"),
        ({"normalisation": "imagnet"}, ConfigError, "did you mean imagenet"),
        ({"backbone": FOLDED, "layers": ("stride4",)}, InputError, r"must be the MobileNetV2 weights as .npz: .*meta"),
        ({"backbone": "squeezenet1_0"}, InputError, r"features.0.weight must have shape \(96, 3, 7, 7\), got \(64, 3, 3, 3\)"),
        ({"backbone": "resnet18", "layers": ("layer1",)}, InputError, "must hold the tensor conv1.weight"),
    ],
    ids=["backbone", "layer", "no layer", "vector", "weights", "normalisation", "unknown", "not folded", "shape", "missing"],
)  # fmt: skip
def test_a_backbone_that_cannot_be_had_is_refused(
    changed: dict[str, Any], error: type[SightlineError], says: str, weights: Path
) -> None:
    arguments = {
        "backbone": "squeezenet1_1",
        "layers": SQUEEZED,
        "weights": str(weights),
        "normalisation": "unit",
    }
    with pytest.raises(error, match=says) as caught:
        build(DfkdeOptions(SIZE, **(arguments | changed)))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("w.npz", b"not an archive", "must be weights as .pth or .npz"),
        ("w.pth", b"\x80\x02cos\nsystem\n(S'true'\ntR.", "must be weights as .pth or .npz"),
    ],
    ids=["garbage", "a pickle that would run a command"],
)
def test_a_file_that_holds_no_weights_is_refused(
    name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        build(DfkdeOptions(SIZE, "squeezenet1_1", SQUEEZED, str(tmp_path / name), "unit"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [AutoencoderOptions((50, 64)), VaeOptions((16, 64))])
def test_a_size_that_cannot_be_halved_is_refused(options: ModelOptions) -> None:
    with pytest.raises(ConfigError, match="multiples of 16, at least 32"):
        build(options)


def test_direct_needs_a_decoder(options: dict[str, ModelOptions]) -> None:
    with pytest.raises(ConfigError, match="no decoder"):
        scored(built(options["dfkde"]), direct=True)
