"""Energy by a published model: so many picojoules per operation and per byte. A model, not a measurement.

M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, figure 1.1.9: a 45 nm process at
0.9 V. Taken from there, in picojoules: integer addition of 8 bits 0.03 and of 32 bits 0.1, integer multiplication of
8 bits 0.2 and of 32 bits 3.1, float32 addition 0.9 and multiplication 3.7, 64 bits read from an 8 kB SRAM 10, 64 bits
read from DRAM 1300 to 2600.

Assumed here, because the source has no number: an addition of 16 bits costs 0.05; a multiplication of 16 bits 0.8, as
its cost grows with the square of the width; comparisons and shifts cost an addition of their width (in float32 that
of an int32); an absolute difference two additions; a division four multiplications (int64: of 32 bits); a byte looked
up in a table an eighth of the SRAM read. DRAM is taken at the lower end. Memory traffic of activations is left out on
both sides, as are instructions, leakage and clocks.
"""

from collections.abc import Mapping
from typing import Any

PICOJOULES: dict[tuple[str, str], float] = {
    ("add", "int8"): 0.03,
    ("add", "int16"): 0.05,
    ("add", "int32"): 0.1,
    ("add", "float32"): 0.9,
    ("multiply", "int8"): 0.2,
    ("multiply", "int16"): 0.8,
    ("multiply", "float32"): 3.7,
    ("absolute difference", "int8"): 0.06,
    ("absolute difference", "int16"): 0.1,
    ("compare", "int8"): 0.03,
    ("compare", "int32"): 0.1,
    ("compare", "float32"): 0.1,
    ("shift", "int32"): 0.1,
    ("look-up", "int8"): 10 / 8,
    ("division", "int64"): 4 * 3.1,
    ("division", "float32"): 4 * 3.7,
    ("byte", "sram"): 10 / 8,
    ("byte", "dram"): 1300 / 8,
}


def cost_rows(operations: Mapping[tuple[str, str, str], float], bytes_read: float) -> list[dict[str, Any]]:
    """What one sentence costs: a row for each part, operation and type of number, and two for the bytes of weights.

    Weights come either all from SRAM or all from DRAM: of the two rows of part `memory` only one counts in a sum.
    """
    counts = {**operations, ("memory", "byte", "sram"): bytes_read, ("memory", "byte", "dram"): bytes_read}
    return [
        {"part": part, "operation": operation, "number": number, "count": round(count, 3)}
        | {"picojoules": round(PICOJOULES[operation, number] * count, 3)}
        for (part, operation, number), count in counts.items()
    ]
