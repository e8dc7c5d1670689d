"""Presets: params.yaml with the differences of a file in presets/, of a part that it names and of the command line.

A preset may say what other one it differs from: `preset: NAME`. Parts and ablations are its own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from integer_tickets.errors import UserError
from integer_tickets.params import merge

ROOT = Path(__file__).resolve().parent.parent
PRESETS = ROOT / "presets"


@dataclass(frozen=True)
class Preset:
    """Differences from params.yaml; and those from the preset of each part of a study that is made in parts, and of
    each ablation, by name."""

    differences: dict[str, Any]
    parts: dict[str, Any]
    ablations: dict[str, Any]


def with_preset(name: str, settings: list[str], run: str = "") -> dict[str, Any]:
    """params.yaml, the differences of a preset over it, of a run over both, and over all what the command line says.

    A study that is made in parts has them under `parts` in its preset; `run` is the name of one, with _N for the seed N
    alone. UserError where it is none and the command line does not say what else it is.
    """
    preset = read_preset(name)
    parts = preset.parts
    values = merge(_read(ROOT / "params.yaml"), preset.differences)
    if run:
        part, _, seed = run.rpartition("_")
        if run in parts:
            values = merge(values, parts[run])
        elif part in parts and seed.isdecimal():
            values = merge(merge(values, parts[part]), {"grid": {"seeds": [int(seed)]}})
        elif not settings:
            raise UserError(f"--run {run}: {_named(name, parts)}")
    for setting in settings:
        path, sign, text = setting.partition("=")
        try:
            change = yaml.safe_load(text)
        except yaml.YAMLError:
            sign = ""
        if not sign:
            raise UserError(f"--set {setting}: expected NAME=VALUE, as in grid.seeds=[0]")
        for block in reversed(path.split(".")):
            change = {block: change}
        values = merge(values, change)
    return values


def whole(name: str) -> None:
    """UserError where a preset is run in parts: all of it at once is no part."""
    parts = read_preset(name).parts
    if parts:
        raise UserError(f"{name}: {_named(name, parts)}; name one, as in --run {next(iter(parts))}")


def read_preset(name: str, above: tuple[str, ...] = ()) -> Preset:
    """UserError where there is no such preset."""
    preset = PRESETS / f"{name}.yaml"
    if not preset.exists():
        raise UserError(f"{preset.relative_to(ROOT)}: no such preset")
    differences = _read(preset)
    other = differences.pop("preset", "")
    own = differences.pop("parts", {}), differences.pop("ablations", {})
    if not other:
        return Preset(differences, *own)
    if other in (chain := (*above, name)):
        raise UserError(f"{preset.relative_to(ROOT)}: preset = {other}, which is where it came from")
    return Preset(merge(read_preset(other, chain).differences, differences), *own)


def _named(name: str, parts: dict[str, Any]) -> str:
    preset = (PRESETS / f"{name}.yaml").relative_to(ROOT)
    if not parts:
        return f"{preset} has no parts"
    return f"the parts of {preset} are {', '.join(parts)} (PART_N: of seed N alone)"


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path.relative_to(ROOT)}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path.relative_to(ROOT)}: expected blocks of parameters, as in params.yaml")
    return values
