"""What people may decide for one camera in a config, here or for all at its top, and the rules it makes."""

from __future__ import annotations

from typing import Annotated, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from engines.errors import ConfigError, did_you_mean
from engines.health.fault import Fault
from engines.regions import parse_regions
from monitor.mute import Mute, parse_mute
from monitor.rules import Rules

Hold: TypeAlias = Annotated[float, Meta(gt=0, le=3600)]
Budget: TypeAlias = Annotated[float, Meta(gt=0, le=3600)]

ALWAYS_TOLD = frozenset({Fault.NO_FRAMES})
"""Nobody may ask not to be told that a camera is gone."""


class LeftDomain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[camera.left_domain]``, or ``[left_domain]`` for all. hold_s: see ``monitor.rules``."""

    enabled: bool | None = None
    hold_s: Hold | None = None


class CameraFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[camera.camera_fault]``, or ``[camera_fault]`` for all. ignore_modes: those that are not told."""

    hold_s: Hold | None = None
    ignore_modes: tuple[str, ...] | None = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may stand at the top of a config and in each camera. None: as at the top; there: the usual."""

    false_alarms_per_hour: Budget | None = None
    mute: tuple[str, ...] | None = None
    left_domain: LeftDomain = LeftDomain()
    camera_fault: CameraFault = CameraFault()


class CameraSettings(Settings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same for one camera. ignore: its regions, see ``engines.regions``."""

    ignore: tuple[tuple[float, ...], ...] = ()


def inherited(own: Settings, top: Settings) -> dict[str, object]:
    """Each setting of a camera, from the top where it has none of its own; keys of tables are settings too."""
    kinds = {
        name: type(mine)(
            **{key: _first(getattr(mine, key), getattr(usual, key)) for key in mine.__struct_fields__}
        )
        for name in ("left_domain", "camera_fault")
        for mine, usual in [(getattr(own, name), getattr(top, name))]
    }
    plain = {key: _first(getattr(own, key), getattr(top, key)) for key in ("false_alarms_per_hour", "mute")}
    return plain | kinds


def rules(before: str, camera: CameraSettings) -> Rules:
    """The rules that ``camera`` asks for; ConfigError, with ``before`` before the key, for the first thing that is wrong."""
    domain, fault = camera.left_domain, camera.camera_fault
    return Rules(
        ignored=parse_regions(f"{before}ignore", camera.ignore),
        false_alarms_per_hour=camera.false_alarms_per_hour,
        domain_hold_s=domain.hold_s,
        domain_told=domain.enabled is not False,
        fault_hold_s=fault.hold_s or 0.0,
        silenced=_modes(f"{before}camera_fault.ignore_modes", fault.ignore_modes or ()),
    )


def mute(before: str, camera: CameraSettings, zone: ZoneInfo | None) -> Mute:
    """When ``camera`` is muted; ConfigError as ``rules``."""
    return parse_mute(f"{before}mute", camera.mute or (), zone)


def told(camera: CameraSettings) -> str:
    """What is set for ``camera``, in one line; empty if nothing is."""
    domain, fault = camera.left_domain, camera.camera_fault
    words = [
        f"ignores {100 * parse_regions('', camera.ignore).share:.0f} % of the picture"
        if camera.ignore
        else "",
        f"{camera.false_alarms_per_hour:g} false alarms per hour" if camera.false_alarms_per_hour else "",
        f"leaving the domain held for {domain.hold_s:g} s" if domain.hold_s else "",
        "leaving the domain not told" if domain.enabled is False else "",
        f"faults held for {fault.hold_s:g} s" if fault.hold_s else "",
        f"not told: {', '.join(fault.ignore_modes)}" if fault.ignore_modes else "",
        f"muted {'; '.join(camera.mute)}" if camera.mute else "",
    ]
    return ", ".join(word for word in words if word)


def _first(own: object, top: object) -> object:
    return top if own is None else own


def _modes(where: str, names: tuple[str, ...]) -> frozenset[Fault]:
    known = [fault.value for fault in Fault if fault not in ALWAYS_TOLD]
    for number, name in enumerate(names):
        if name in ALWAYS_TOLD:
            raise ConfigError(
                f"{where}[{number}]",
                f"must be a fault of pictures; {name} is always told",
                "raise no_frames_after_s, or mute it",
            )
        if name not in known:
            raise ConfigError(
                f"{where}[{number}]", f"must be a fault, got {name!r}", did_you_mean(name, known)
            )
    return frozenset(Fault(name) for name in names)
