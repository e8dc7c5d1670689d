"""What an integer network is made of: `integer-tickets inspect`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from integer_tickets.integer.artefact import bits_breakdown, load
from integer_tickets.integer.layout import architecture_of, describe_tokenizer
from integer_tickets.integer.network import density
from integer_tickets.prediction import shown


def facts_of(path: Path) -> dict[str, Any]:
    """Its labels, architecture, bits by part, matrices, bounds and provenance. UserError where it is no ticket."""
    artefact = load(path)
    matrices = []
    for name, matrix in artefact.network.matrices():
        kept = matrix.weight if matrix.mask is None else matrix.weight[matrix.mask]
        matrices.append(
            {
                "name": name,
                "shape": list(matrix.weight.shape),
                "bits": matrix.bits,
                "density": density(matrix),
                "zeros": float(np.mean(kept == 0)) if kept.size else 0.0,
            }
        )
    return {
        "sha256": artefact.sha256,
        "labels": list(artefact.network.labels),
        "tokenizer": describe_tokenizer(artefact.tokenizer),
        "architecture": architecture_of(artefact.network),
        "matrices": matrices,
        "bounds": artefact.bounds,
        "provenance": artefact.provenance,
        "file": str(path),
        "bits": bits_breakdown(path),
    }


def described(facts: dict[str, Any]) -> Iterator[str]:
    """The same in lines for people."""
    shape, bits, reads = facts["architecture"], facts["bits"], facts["tokenizer"]
    kept = "; of longer texts the end" if "truncation_side" in reads else ""
    kinds = [layer["attention"] for layer in shape["layers"]]
    yield f"file         {facts['file']}, {bits['total'] // 8:,} bytes"
    yield f"sha256       {facts['sha256']}"
    yield f"labels       {', '.join(map(shown, facts['labels']))}"
    yield f"tokenizer    {reads['kind']}, {reads['size']} ids"
    yield (
        f"network      {len(kinds)} layers, width {shape['width']}, {shape['heads']} heads, "
        f"up to {shape['positions']} tokens{kept}"
    )
    for i, kind in enumerate(kinds):
        signed = " (signed)" if kind.get("signed") else ""
        layer = shape["layers"][i]
        heads = f", {layer['heads']} heads" if "heads" in layer else ""
        yield f"attention {i}  {kind['kind']}{signed}{heads}, hidden width {layer['hidden']}"
    yield "\nbits by part"
    for part, count in bits.items():
        yield f"  {part:<12}{count:>12,}{100 * count / bits['total']:>8.1f} %"
    yield f"\n{'matrix':<18}{'shape':>12}{'bits':>6}{'density':>10}{'zeros':>10}{'largest sum':>16}"
    for own in facts["matrices"]:
        bound = facts["bounds"].get(own["name"])
        yield (
            f"{own['name']:<18}{' x '.join(map(str, own['shape'])):>12}{own['bits']:>6}"
            f"{own['density']:>10.4f}{own['zeros']:>10.4f}{'' if bound is None else f'{bound:,}':>16}"
        )
    yield "(density: weights not pruned; zeros: kept weights that the quantizer made zero)"
    yield "\nprovenance"
    for key, value in sorted(facts["provenance"].items()):
        yield f"  {shown(key)}: {shown(value) if isinstance(value, str) else json.dumps(value, sort_keys=True)}"
