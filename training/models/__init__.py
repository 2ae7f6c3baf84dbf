"""The encoders that can be trained or assembled, in one table: their options, and how each is built.

A model is a pure ``nn.Module``. What it answers in ``forward`` is what is exported (see ``engines.graph.FEATURES``),
preprocessing included; what it learns from is ``loss``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeAlias

import msgspec
from msgspec import Meta
from torch import Tensor, nn

from engines.errors import ConfigError
from training.models.autoencoder import Autoencoder
from training.models.dfkde import Dfkde
from training.models.lake import Lake
from training.models.vae import Vae

Count: TypeAlias = Annotated[int, Meta(ge=1, le=4096)]
Weight: TypeAlias = Annotated[float, Meta(ge=0)]
Size: TypeAlias = tuple[Annotated[int, Meta(ge=16, le=2048)], Annotated[int, Meta(ge=16, le=2048)]]


class Model(Protocol):
    """size: height and width of its frames. outputs: the names of what ``forward`` answers. keeps_length: whether the
    length of its late feature carries meaning."""

    size: tuple[int, int]
    outputs: tuple[str, ...]
    keeps_length: bool

    def __call__(self, frames: Tensor) -> tuple[Tensor, ...]:
        """uint8 N×H×W×3 RGB -> one tensor per output."""

    def loss(self, frames: Tensor, clean: Tensor, epoch: float) -> dict[str, Tensor]:
        """The terms that training minimises the sum of. frames: what the model sees, uint8 N×H×W×3; clean: what it is
        to answer; epoch: how many, and what part of the next, have passed."""


class AutoencoderOptions(
    msgspec.Struct, tag="autoencoder", tag_field="kind", frozen=True, forbid_unknown_fields=True
):
    """size: height, width in pixels. latent: dimensions."""

    size: Size = (96, 144)
    latent: Count = 64


class VaeOptions(msgspec.Struct, tag="vae", tag_field="kind", frozen=True, forbid_unknown_fields=True):
    """beta: weight of the divergence. warm_up: epochs in which it rises to that."""

    size: Size = (96, 144)
    latent: Count = 64
    beta: Weight = 1.0
    warm_up: Weight = 5.0


class LakeOptions(msgspec.Struct, tag="lake", tag_field="kind", frozen=True, forbid_unknown_fields=True):
    """hidden: channels of the activation that is scored. tie: weight of the layers' constraint."""

    size: Size = (96, 144)
    latent: Count = 32
    hidden: Count = 62
    beta: Weight = 1.0
    warm_up: Weight = 5.0
    tie: Weight = 1.0


class DfkdeOptions(msgspec.Struct, tag="dfkde", tag_field="kind", frozen=True, forbid_unknown_fields=True):
    """backbone: a torchvision classification network, or ``mobilenet_v2_folded``. layers: names of its nodes. weights: a
    name that torchvision knows (and downloads), or a file. normalisation: of the pixels that the weights were trained
    on; only torchvision's own weights say it themselves. grid: rows and columns that all layers are brought to; by
    default those of the coarsest."""

    size: Size = (224, 224)
    backbone: str = "resnet18"
    layers: tuple[str, ...] = ("layer2", "layer3")
    weights: str = "DEFAULT"
    normalisation: str | None = None
    grid: tuple[Count, Count] | None = None


ModelOptions: TypeAlias = AutoencoderOptions | VaeOptions | LakeOptions | DfkdeOptions


@dataclass(frozen=True, slots=True)
class Kind:
    """An entry of the table. build: makes the model from its options. trained: whether it learns from footage."""

    options: type[ModelOptions]
    build: Callable[..., Any]
    trained: bool


MODELS: dict[str, Kind] = {
    "autoencoder": Kind(AutoencoderOptions, Autoencoder, trained=True),
    "vae": Kind(VaeOptions, Vae, trained=True),
    "lake": Kind(LakeOptions, Lake, trained=True),
    "dfkde": Kind(DfkdeOptions, Dfkde, trained=False),
}
"""Options are named as the arguments of what they build."""


def kind_of(options: ModelOptions) -> str:
    return str(type(options).__struct_config__.tag)


def build(options: ModelOptions) -> Any:
    """The model that ``options`` describe, untrained; wrong options raise ConfigError or InputError."""
    return MODELS[kind_of(options)].build(**msgspec.structs.asdict(options))


def scored(model: Any, *, direct: bool) -> Any:
    """What is exported of ``model``: itself, or for the density ``direct`` its reconstruction error as the one feature."""
    if not direct:
        return model
    if "reconstruction" not in model.outputs:
        raise ConfigError(
            "scoring.density",
            "direct needs a model that scores by itself, this one has no decoder",
            "use kde",
        )
    return ReconstructionScore(model)


class ReconstructionScore(nn.Module):
    """A model whose late feature is its reconstruction error, N × 1."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.outputs = model, model.outputs

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        said = dict(zip(self.outputs, self.model(frames), strict=True))
        return tuple((said | {"late": said["reconstruction"][:, None]}).values())
