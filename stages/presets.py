"""Presets: the parameters of params.yaml with the differences of a file in presets/ and of the command line."""

from pathlib import Path
from typing import Any

import yaml

from integer_tickets.errors import UserError
from integer_tickets.params import merge

ROOT = Path(__file__).resolve().parent.parent
PRESETS = ROOT / "presets"


def with_preset(name: str, settings: list[str]) -> dict[str, Any]:
    """params.yaml, the differences of a preset over it, and over both what the command line says."""
    preset = PRESETS / f"{name}.yaml"
    if not preset.exists():
        raise UserError(f"{preset.relative_to(ROOT)}: no such preset")
    values = merge(_read(ROOT / "params.yaml"), _read(preset))
    for setting in settings:
        parts, sign, text = setting.partition("=")
        try:
            change = yaml.safe_load(text)
        except yaml.YAMLError:
            sign = ""
        if not sign:
            raise UserError(f"--set {setting}: expected NAME=VALUE, as in grid.seeds=[0]")
        for part in reversed(parts.split(".")):
            change = {part: change}
        values = merge(values, change)
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path.relative_to(ROOT)}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path.relative_to(ROOT)}: expected blocks of parameters, as in params.yaml")
    return values
