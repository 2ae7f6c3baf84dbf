"""sightline train, its configuration and the example that ships, as a user meets them."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import torch
from torchvision.models import get_model

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.bundle import open_bundle
from engines.density import Direct
from engines.errors import CalibrationError, ConfigError, InputError, OutputError, SightlineError
from engines.frames import Image
from engines.proof.verify import verify_engine
from sightline import build, repeated
from training.models import MODELS, VaeOptions
from training.train.config import Config, load_config

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "configs" / "train.toml"
SINGLE = ("--set", "data.images_per_second=0.5")
SMALL = (
    "--model",
    "autoencoder",
    "--size",
    "32x32",
    "--set",
    "model.latent=8",
    "--epochs",
    "1",
    "--device",
    "cpu",
)


def command(*arguments: object) -> None:
    words = repeated(["train", *map(str, arguments)])
    build("train")(args=words, prog_name="sightline", standalone_mode=False)


def pictures(count: int, seed: int = 0) -> list[Image]:
    random = np.random.default_rng(seed)
    return [
        random.integers(0, 256, (8, 8, 3)).astype(np.uint8).repeat(6, 0).repeat(6, 1) for _ in range(count)
    ]


def stills(folder: Path, shown: list[Image]) -> Path:
    folder.mkdir(parents=True)
    for i, image in enumerate(shown):
        cv2.imwrite(str(folder / f"{i}.png"), image)
    return folder


@pytest.fixture(scope="module")
def bottle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of MVTec AD with 20 good pictures, of which one cannot be read and two are the same."""
    folder = tmp_path_factory.mktemp("mvtec") / "bottle"
    shown = pictures(20)
    stills(folder / "train" / "good", [*shown[:19], shown[18]])
    (folder / "train" / "good" / "7.png").write_bytes(b"no picture")
    stills(folder / "test" / "broken", pictures(2, 1))
    return folder


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.npz"
    np.savez(path, **{k: v.numpy() for k, v in get_model("squeezenet1_1", weights=None).state_dict().items()})
    return path


def dfkde(weights: Path, **changed: str) -> list[str]:
    options = {
        "backbone": "squeezenet1_1",
        "layers": "features.3",
        "normalisation": "unit",
        "size": "32x32",
    } | changed
    words = ["--model", "dfkde", "--weights", str(weights)]
    return words + [word for name, value in options.items() for word in (f"--{name}", value)]


def test_one_folder_of_single_pictures_gives_a_bundle_that_says_what_it_cannot_promise(
    bottle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One drive, a picture that cannot be read, two that are the same, and fewer frames than dimensions at once."""
    command("--normal", bottle, *SMALL, *SINGLE, "--density", "direct", "--out", tmp_path / "b")
    bundle = open_bundle(tmp_path / "b")
    assert [(d.name, d.frames) for d in bundle.manifest.drives] == [("good", 19)]
    assert isinstance(bundle.density.normal, Direct)
    notes = " ".join(bundle.manifest.notes)
    assert "7.png cannot be read as an image; it was left out" in notes
    assert "no epoch could be judged by a drive that was held out" in notes
    assert "nothing is promised for other drives" in notes
    engine = OnnxRuntimeEngine(bundle.model_path, 1)
    assert verify_engine(engine, bundle).failed == ""
    said = " ".join(capsys.readouterr().out.split())
    assert "trained 1 epochs, kept epoch 1" in said
    assert "the network's own score, absolute" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "b.training"]
    scores = engine.score(np.stack(pictures(4))[:, :32, :32])
    assert scores.heat.shape == (4, 4, 4)
    np.testing.assert_allclose(scores.surprise, scores.reconstruction, rtol=1e-5)


def test_what_the_encoder_did_not_see_nobody_looks_at(bottle: Path, tmp_path: Path) -> None:
    options = (*SMALL, *SINGLE, "--density", "direct", "--ignore", "0,0.75,1,1", "--ignore", "0,0,0.1,0.1")
    command("--normal", bottle, *options, "--out", tmp_path / "b")
    assert open_bundle(tmp_path / "b").ignored.shapes == ((0.0, 0.75, 1.0, 1.0), (0.0, 0.0, 0.1, 0.1))
    with pytest.raises(ConfigError, match=r"data.ignore\[0\]: must"):
        command("--normal", bottle, *SMALL, "--set", "data.ignore=[[0.5,0.5]]", "--out", tmp_path / "c")


def test_fewer_frames_than_dimensions_give_as_many_as_they_span(
    squeezenet: Path, bottle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "drives.csv"
    stills(tmp_path / "elsewhere", pictures(3, 2))
    rows = [(bottle / "train" / "good", "highway", "a", "train"), ("elsewhere", "city", "b", "train")]
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([("path", "label", "drive", "split"), *rows])
    chosen = ("--manifest", file, "--label", "highway", "--set", "data.select.other_label=city")
    command(*chosen, *dfkde(squeezenet), *SINGLE, "--out", tmp_path / "b")
    bundle = open_bundle(tmp_path / "b")
    # 18 different pictures of the drive and 3 from elsewhere span 20 directions around their mean.
    assert bundle.manifest.dimensions == 20
    assert [d.name for d in bundle.manifest.others] == ["elsewhere"]
    assert bundle.manifest.relative
    checks = verify_engine(OnnxRuntimeEngine(bundle.model_path, 1), bundle).checks
    assert [check for check in checks if not check.passed] == []
    assert not (tmp_path / "b.training").exists()


def test_help_shows_how(capsys: pytest.CaptureFixture[str]) -> None:
    command("--help")
    said = capsys.readouterr().out
    assert "sightline train --normal drives/ --model vae --out highway.bundle" in said
    assert "torchrun" in said
    for option in ("--normal", "--model", "--resume", "--density", "--set"):
        assert option in said


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["--model", "vaee"], ConfigError, "model.kind: must be a known model, got vaee; did you mean vae"),
        (["--set", "model.betta=1"], ConfigError, "model.betta: must be a known key of the model vae, is not; did you mean beta"),
        (["--set", "optimisation.epoch=1"], ConfigError, "optimisation.epoch: must be a known key, is not; did you mean epochs"),
        (["--set", "model.beta"], ConfigError, "option --set model.beta: must be KEY=VALUE"),
        (["--set", "seed.x=1"], ConfigError, "seed: must be int, got object"),
        (["--epochs", "0"], ConfigError, "optimisation.epochs: must be int >= 1"),
        (["--size", "96"], ConfigError, "option --size: must be HEIGHTxWIDTH, got 96"),
        (["--size", "50x64"], ConfigError, "size: must be multiples of 16"),
        (["--model", "dfkde", "--backbone", "resnet81"], ConfigError, "got resnet81; did you mean resnet18"),
        (["--set", "augmentation.faults=['freeze']"], ConfigError, "must be faults of single pictures, got freeze"),
        (["--set", "harmony.when=often"], ConfigError, "harmony.when: .*often"),
        (["--density", "direct", "--model", "dfkde"], ConfigError, "direct needs a model that scores by itself"),
        (["--manifest", "m.csv"], ConfigError, "data.manifest: must come without normal PATHs"),
        (["--resume"], InputError, "last.pt: must be a checkpoint to go on from; there is none; leave --resume out"),
    ],
    ids=["model", "model key", "key", "no value", "table", "epochs", "size", "halves", "backbone", "fault", "when",
         "direct", "both", "resume"],
)  # fmt: skip
def test_options_that_cannot_be_are_told_in_one_line(
    words: list[str], error: type[SightlineError], says: str, bottle: Path, squeezenet: Path, tmp_path: Path
) -> None:
    if words[-1] == "dfkde":
        words = [*words, *dfkde(squeezenet)]
    with pytest.raises(error, match=says) as caught:
        command("--normal", bottle, "--device", "cpu", "--out", tmp_path / "b", *words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_weights_of_another_shape_name_the_tensor(squeezenet: Path, bottle: Path, tmp_path: Path) -> None:
    wrong = dfkde(squeezenet, backbone="squeezenet1_0")
    with pytest.raises(
        InputError,
        match=r"w.npz: tensor features.0.weight must have shape \(96, 3, 7, 7\), got \(64, 3, 3, 3\)",
    ):
        command("--normal", bottle, *wrong, "--out", tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("shown", "error", "says"),
    [
        (pictures(1) * 20, InputError, "footage: must vary; every frame shows the same picture"),
        (pictures(5), InputError, "footage: must be at least 8 frames, got 5; give more footage"),
        (
            pictures(8),
            CalibrationError,
            "needs at least 3 held-out blocks .* got 2; give more or longer footage",
        ),
    ],
    ids=["constant", "few", "short"],
)
def test_footage_that_teaches_nothing_is_refused(
    shown: list[Image], error: type[SightlineError], says: str, tmp_path: Path
) -> None:
    stills(tmp_path / "a", shown)
    with pytest.raises(error, match=says):
        command("--normal", tmp_path / "a", *SMALL, *SINGLE, "--out", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_an_empty_class_and_no_footage_are_told(bottle: Path, tmp_path: Path) -> None:
    stills(tmp_path / "drives" / "a", pictures(9))
    (tmp_path / "drives" / "night").mkdir()
    with pytest.raises(InputError, match="night: must hold videos or images; it is empty"):
        command("--normal", tmp_path / "drives", *SMALL, "--out", tmp_path / "b")
    with pytest.raises(
        ConfigError, match=r"data.normal: must name footage of normal driving, names none; add --normal"
    ):
        command(*SMALL, "--out", tmp_path / "b")
    with pytest.raises(OutputError):
        command("--normal", bottle, *SMALL, "--out", tmp_path / "drives")


def test_the_example_shows_every_key_at_its_default(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    loaded = load_config(EXAMPLE, {})
    assert loaded.data.normal == (EXAMPLE.parent / "drives",)
    data = msgspec.structs.replace(loaded.data, normal=())
    assert msgspec.structs.replace(loaded, data=data) == Config()
    structs: list[Any] = [
        Config,
        *(type(getattr(Config(), f)) for f in Config.__struct_fields__ if f not in ("seed", "model")),
    ]
    structs += [kind.options for kind in MODELS.values()]
    for struct in structs:
        for name in struct.__struct_fields__:
            assert re.search(rf"^(# ?)?\[?(data\.)?{name}\b|[(,:] {name} = ", text, re.MULTILINE), name


def test_what_the_example_shows_beside_is_valid_too(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    shown = re.sub(r"^# (?=\w+ = |\[)", "", text, flags=re.MULTILINE)
    shown = re.sub(r'^(normal|latent|beta|warm_up) = .*\n|^kind = "vae"', "", shown, flags=re.MULTILINE)
    (tmp_path / "train.toml").write_text(
        shown.replace("[model]", '[model]\nkind = "dfkde"'), encoding="utf-8"
    )
    loaded = load_config(tmp_path / "train.toml", {})
    assert loaded.data.manifest == tmp_path / "manifest.csv"
    assert loaded.data.select is not None
    assert loaded.data.select.held_out_split == "val"
    assert loaded.scoring.relative is True
    assert loaded.model == MODELS["dfkde"].options((96, 144), grid=(14, 14), normalisation="imagenet")


def test_options_go_over_the_file_and_its_paths_are_beside_it(tmp_path: Path) -> None:
    (tmp_path / "w.npz").write_bytes(b"")
    file = tmp_path / "t.toml"
    file.write_text('[data]\nother = "x"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"t.toml: data.other: must be array, got str"):
        load_config(file, {})
    file.write_text(
        'seed = 3\n[data]\nnormal = ["a", "/b"]\n[model]\nkind = "vae"\nbeta = 2.0\n', encoding="utf-8"
    )
    loaded = load_config(file, {"model.beta": 0.5, "optimisation.epochs": 7})
    assert loaded.data.normal == (tmp_path / "a", Path("/b"))
    assert loaded.model == VaeOptions(beta=0.5)
    assert (loaded.seed, loaded.optimisation.epochs) == (3, 7)
    file.write_text('[model]\nkind = "dfkde"\nweights = "w.npz"\n', encoding="utf-8")
    assert load_config(file, {}).model == MODELS["dfkde"].options(weights=str(tmp_path / "w.npz"))
    file.write_text('[model]\nkind = "dfkde"\nweights = "IMAGENET1K_V1"\n', encoding="utf-8")
    assert load_config(file, {}).model == MODELS["dfkde"].options(weights="IMAGENET1K_V1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed = ", "must be TOML in UTF-8"),
        ("model = 3", "model: .*"),
        ("[modell]", "modell: must be a known key, is not; did you mean model"),
        ("[data.select]\nsplit = 'train'", "data.select.label: must be given, is missing; add it"),
        ("[data]\nnormal = ['']", "data.normal: must be path"),
        ("[data]\nrate = 0", "data.rate: must be float >= 0.1"),
        ("[model]\nsize = [64]", "model.size: .*length 2"),
    ],
    ids=["toml", "no table", "section", "missing", "path", "range", "size"],
)
def test_a_file_that_is_wrong_names_file_and_key(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=says) as caught:
        load_config(tmp_path / "t.toml", {})
    assert str(caught.value).startswith(str(tmp_path / "t.toml"))
    assert "\n" not in str(caught.value)
