"""DFKDE: a kernel density on the deep features of a network trained on other pictures (as in anomalib, Akcay et al. 2022).

Layers are brought to one grid, scaled to length 1 in every cell, and joined along channels, so that the average over the
grid is a picture's feature and every cell is a place of its heat map. Scaled, no layer outweighs another because its
weights happen to be larger. Nothing is trained."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import models as torchvision_models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from engines.errors import ConfigError, InputError, did_you_mean, first_line
from training.models.convolutions import statistics
from training.models.grid import Gridded
from training.shipped.mobilenet import LAYERS, MobileNetV2

FOLDED = "mobilenet_v2_folded"
"""The network of ``training.shipped.mobilenet``: MobileNetV2 with its batch norms folded in, from a file."""

Normalisation = tuple[bool, tuple[float, float, float], tuple[float, float, float]]
NORMALISATIONS: dict[str, Normalisation] = {
    "imagenet": (False, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": (True, (104.0, 117.0, 123.0), (1.0, 1.0, 1.0)),
    "signed": (False, (128.0, 128.0, 128.0), (128.0, 128.0, 128.0)),
    "unit": (False, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
}
"""What weights expect of pixels in 0..255: whether blue comes first, then what is subtracted from each channel, in that
order, and what it is divided by. imagenet: torchvision's own. caffe: networks that came from Caffe. signed: -1..1.
unit: 0..1."""


class Dfkde(Gridded):
    """uint8 N×H×W×3 -> joined layers N×C×h×w, statistics of the first layer."""

    outputs = ("late", "early")
    keeps_length = False

    def __init__(
        self,
        size: tuple[int, int] = (224, 224),
        backbone: str = "resnet18",
        layers: Sequence[str] = ("layer2", "layer3"),
        weights: str = "DEFAULT",
        normalisation: str | None = None,
        grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        self.network, name = _network(backbone, layers, weights, normalisation)
        self.blue_first, mean, deviation = NORMALISATIONS[name]
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1))
        with torch.no_grad():
            shapes = [tuple(m.shape) for m in self._maps(torch.zeros(1, *size, 3, dtype=torch.uint8))]
        for layer, shape in zip(layers, shapes, strict=True):
            if len(shape) != 4:
                raise ConfigError(
                    "model.layers",
                    f"must give maps N×C×h×w, {layer} gives {'×'.join(map(str, ('N', *shape[1:])))}",
                    "choose layers before the pooling",
                )
        self.grid = grid or min(((s[2], s[3]) for s in shapes), key=math.prod)
        self.lay_grid([(s[2], s[3]) for s in shapes], self.grid)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        maps = self._maps(frames)
        return torch.cat(self.on_grid(maps), 1), statistics(maps[0])

    def _maps(self, frames: Tensor) -> list[Tensor]:
        # Cast before transposing: TensorRT has no uint8 transpose.
        x = frames.float().permute(0, 3, 1, 2)
        x = x.flip(1) if self.blue_first else x
        return list(self.network((x - self.mean) / self.deviation).values())


def _network(
    backbone: str, layers: Sequence[str], weights: str, normalisation: str | None
) -> tuple[Any, str]:
    """The backbone up to its last layer of interest, answering {layer: map}; and its normalisation."""
    if not layers:
        raise ConfigError("model.layers", "must name at least one layer, names none", "see --help")
    if normalisation is not None and normalisation not in NORMALISATIONS:
        raise ConfigError(
            "model.normalisation",
            f"must be known, got {normalisation}",
            did_you_mean(normalisation, NORMALISATIONS),
        )
    if backbone == FOLDED:
        return _Folded(Path(weights), layers), normalisation or "signed"
    known = torchvision_models.list_models(module=torchvision_models)
    if backbone not in known:
        raise ConfigError(
            "model.backbone",
            f"must be a network that torchvision knows, got {backbone}",
            did_you_mean(backbone, known),
        )
    network = torchvision_models.get_model(backbone, weights=None).eval()
    nodes = get_graph_node_names(network)[1]
    prefixes = {".".join(n.split(".")[: i + 1]) for n in nodes for i in range(n.count(".") + 1)}
    for layer in layers:
        if layer not in prefixes:
            raise ConfigError(
                "model.layers",
                f"must be layers of {backbone}, got {layer}",
                did_you_mean(layer, sorted(prefixes)),
            )
    own = _load(network, backbone, weights)
    if not own and normalisation is None:
        raise ConfigError(
            "model.normalisation",
            f"must be stated for weights that are not torchvision's own, as {weights} are not",
            f"one of {', '.join(NORMALISATIONS)}",
        )
    network.requires_grad_(False)
    return create_feature_extractor(network, list(layers)), normalisation or "imagenet"


class _Folded(nn.Module):
    """MobileNetV2 answering {layer: map}."""

    def __init__(self, weights: Path, layers: Sequence[str]) -> None:
        super().__init__()
        self.network, self.layers = MobileNetV2(weights), tuple(layers)
        for layer in layers:
            if layer not in LAYERS:
                raise ConfigError(
                    "model.layers", f"must be layers of {FOLDED}, got {layer}", did_you_mean(layer, LAYERS)
                )
        try:
            with torch.no_grad():
                found = self.network.maps(torch.zeros(1, 3, 64, 64))
        except (RuntimeError, KeyError, IndexError) as error:
            raise InputError(
                weights, f"must hold tensors that fit each other: {first_line(error)}", "check --weights"
            ) from error
        if missing := [layer for layer in layers if layer not in found]:
            raise InputError(
                weights, f"must give {missing[0]}, gives {', '.join(found)}", "choose other layers"
            )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.network.maps(x)
        return {layer: maps[layer] for layer in self.layers}


def _load(network: Any, backbone: str, weights: str) -> bool:
    """Fill ``network`` with weights from a file or by name; returns whether they are torchvision's own."""
    path = Path(weights)
    if path.is_file():
        _fill(network, _read(path), path)
        return _is_official(path)
    known = torchvision_models.get_model_weights(backbone)
    if weights not in ("DEFAULT", *known.__members__):
        raise InputError(
            f"weights {weights}",
            f"must be a file, or a name that torchvision knows for {backbone}: DEFAULT, {', '.join(known.__members__)}",
            "check --weights",
        )
    try:
        network.load_state_dict(known[weights].get_state_dict(progress=False, check_hash=True))
    except OSError as error:
        raise InputError(
            f"weights {weights}", f"could not be downloaded: {error}", "give a local file as --weights"
        ) from error
    return True


def _is_official(path: Path) -> bool:
    """Whether a file is one that torchvision publishes: their names end in the beginning of their sha256."""
    match = re.fullmatch(r".+-([0-9a-f]{8})\.pth", path.name)
    return match is not None and hashlib.sha256(path.read_bytes()).hexdigest().startswith(match[1])


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a state dict (.pth) or from arrays (.npz); nothing in either is run."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                return {name: torch.from_numpy(stored[name]) for name in stored.files}
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            path, f"must be weights as .pth or .npz: {first_line(error)}", "check --weights"
        ) from error
    if not isinstance(stored, Mapping) or not all(isinstance(v, Tensor) for v in stored.values()):
        raise InputError(
            path, "must be a state dict of tensors, is something else", "save model.state_dict()"
        )
    return dict(stored)


def _fill(network: Any, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy every tensor that the network needs; a missing one or one of another shape is named."""
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        # Batch norms count their batches, which nothing here depends on.
        if name.endswith("num_batches_tracked") and name not in tensors:
            continue
        if name not in tensors:
            raise InputError(
                path, f"must hold the tensor {name}, does not", "are these weights of this backbone?"
            )
        got, shape = tuple(tensors[name].shape), tuple(tensor.shape)
        if got != shape:
            raise InputError(
                path,
                f"tensor {name} must have shape {shape}, got {got}",
                "are these weights of this backbone?",
            )
        tensor.copy_(tensors[name])
