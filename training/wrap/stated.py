"""What is stated of a network's pictures and outputs: by flags, by its own metadata, by its declared shapes. What
nobody states is asked for, never guessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from onnx import ModelProto, TensorProto

from engines.adapt import Answer, Higher, Kind
from engines.errors import EngineError, InputError
from engines.network import Network
from engines.pixels import Layout, Order, Pixels

KEYS = "sightline."
"""Prefix of the keys by which a model's metadata may state what the flags state: sightline.size and so on."""

FLAGS = {
    "size": "--size HxW",
    "layout": "--layout nchw or nhwc",
    "order": "--rgb or --bgr",
    "scale": "--scale NUMBER (1/255 for 0…1)",
    "mean": "--mean NUMBERS (0 for none)",
    "std": "--std NUMBERS (1 for none)",
    "output": "--output NAME",
    "as": "--as embedding, score or probability (the latter two with --higher-is)",
    "higher-is": "--higher-is stranger or normal",
    "heat": "--heat NAME",
    "channels": "--channels AXIS",
}
"""Everything that can be stated, and the flag for it."""

# The ONNX standard's own metadata of images: https://onnx.ai/onnx/repo-docs/MetadataProps.html
_FORMATS = {"rgb8": "rgb", "bgr8": "bgr"}
_RANGES = {
    "nominalrange_0_255": ("1", "0", "1"),
    "normalized_0_1": ("1/255", "0", "1"),
    "normalized_1_1": ("2/255", "1", "1"),
}


def _size(text: str) -> tuple[int, int]:
    height, width = (int(part) for part in text.lower().split("x"))
    if height < 1 or width < 1:
        raise ValueError
    return height, width


def _scale(text: str) -> float:
    value = float(Fraction(text.strip()))
    if value == 0:
        raise ValueError
    return value


def _channels(text: str) -> tuple[float, float, float]:
    values = [float(Fraction(part.strip())) for part in text.split(",")]
    red, green, blue = values * 3 if len(values) == 1 else values
    return red, green, blue


def _spread(text: str) -> tuple[float, float, float]:
    values = _channels(text)
    if min(values) <= 0:
        raise ValueError
    return values


_PARSERS: Mapping[str, tuple[Callable[[str], Any], str]] = MappingProxyType({
    "size": (_size, "height x width, 224x224 say"),
    "layout": (Layout, "nchw or nhwc"),
    "order": (Order, "rgb or bgr"),
    "scale": (_scale, "a number other than 0, 1/255 say"),
    "mean": (_channels, "one number, or three with commas"),
    "std": (_spread, "one positive number, or three with commas"),
    "output": (str, ""),
    "as": (Kind, "embedding, score or probability"),
    "higher-is": (Higher, "stranger or normal"),
    "heat": (str, ""),
    "channels": (int, "the number of an axis"),
})  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Stated:
    """Values by the names in FLAGS; what is missing is in ``values`` not at all."""

    path: object
    values: Mapping[str, Any]

    def require(self, *names: str) -> None:
        """Raise InputError with the flags of all that is missing among ``names``."""
        missing = [name for name in names if name not in self.values]
        if missing:
            raise InputError(
                self.path,
                f"must say how it wants its pictures and what it answers; it does not tell {', '.join(missing)}",
                "state " + "; ".join(FLAGS[name] for name in missing),
            )


def stated(network: Network, flags: Mapping[str, str]) -> Stated:
    """Everything that is stated of ``network``: first by ``flags`` (texts by the names in FLAGS), then by metadata,
    then by what its graph declares. A text that cannot be read raises InputError."""
    texts = {**_metadata(network.model), **{name: (f"--{name}", text) for name, text in flags.items()}}
    values = _declared(network)
    for name, (where, text) in texts.items():
        parse, wanted = _PARSERS[name]
        try:
            values[name] = parse(text)
        except (ValueError, ZeroDivisionError, OverflowError) as error:
            raise InputError(where, f"must be {wanted}, got {text!r}", "correct it") from error
    if network.element_type == TensorProto.UINT8:
        _refuse_arithmetic(network, texts)
        values |= {"scale": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return Stated(network.path, values)


def _metadata(model: ModelProto) -> dict[str, tuple[str, str]]:
    """Where and what is stated, by name: our own keys over the standard's."""
    stored = {p.key: p.value for p in model.metadata_props}
    lower = {key.lower(): value.lower() for key, value in stored.items()}
    found: dict[str, tuple[str, str]] = {}
    if order := _FORMATS.get(lower.get("image.bitmappixelformat", "")):
        found["order"] = ("metadata Image.BitmapPixelFormat", order)
    if numbers := _RANGES.get(lower.get("image.nominalpixelrange", "")):
        where = "metadata Image.NominalPixelRange"
        found |= {name: (where, text) for name, text in zip(("scale", "mean", "std"), numbers, strict=True)}
    own = {
        key.removeprefix(KEYS): (f"metadata {key}", text)
        for key, text in stored.items()
        if key.startswith(KEYS)
    }
    return found | {name: pair for name, pair in own.items() if name in FLAGS}


def _declared(network: Network) -> dict[str, Any]:
    """What the graph itself leaves no doubt about."""
    values: dict[str, Any] = {}
    if len(network.outputs) == 1:
        values["output"] = network.outputs[0]
    # An axis of free length could be that of the channels, too.
    axes = [axis for axis in (1, 3) if network.shape[axis] in (3, None)]
    denoted = [d.denotation for d in network.model.graph.input[0].type.tensor_type.shape.dim]
    if "DATA_CHANNEL" in denoted:
        axes = [denoted.index("DATA_CHANNEL")]
    if axes in ([1], [3]):
        values["layout"] = Layout.NCHW if axes == [1] else Layout.NHWC
        height, width = network.shape[2:] if axes == [1] else network.shape[1:3]
        if height is not None and width is not None:
            values["size"] = (height, width)
    return values


def _refuse_arithmetic(network: Network, texts: Mapping[str, tuple[str, str]]) -> None:
    stray = [where for name, (where, _) in texts.items() if name in {"scale", "mean", "std"}]
    if stray:
        raise InputError(
            network.path,
            f"takes uint8 pixels as they are; {stray[0]} cannot apply to it",
            f"leave out {stray[0]}",
        )


def pixels(network: Network, given: Stated) -> Pixels:
    """How the network wants its pictures; what contradicts its declared shape raises EngineError."""
    values = given.values
    made = Pixels(*(values[name] for name in ("size", "layout", "order", "scale", "mean", "std")))
    height, width = made.size
    wanted = (3, height, width) if made.layout == Layout.NCHW else (height, width, 3)
    if any(have not in (None, want) for have, want in zip(network.shape[1:], wanted, strict=True)):
        declared = "×".join(str(n or "?") for n in network.shape)
        raise EngineError(
            network.path,
            f"must take {'×'.join(map(str, wanted))} for {made.layout} at {height}x{width}, but declares {declared}",
            "correct --layout or --size; three channels are needed",
        )
    return made


def answer(given: Stated) -> Answer:
    """What is read of the network."""
    values = given.values
    return Answer(
        values["output"],
        values["as"],
        values.get("higher-is", Higher.STRANGER),
        values.get("heat", ""),
        values.get("channels", 1),
    )
