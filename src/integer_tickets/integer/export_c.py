"""A ticket as one C file and its header: weights, tokenizer and the network's arithmetic, nothing else needed."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from integer_tickets.errors import UserError
from integer_tickets.integer.artefact import Artefact
from integer_tickets.integer.flat import FlatLayer, FlatLinear, FlatNetwork, FlatTokenizer, Form, flatten
from integer_tickets.integer.rounding import Array

NATIVE = Path(__file__).parent / "native"
SOURCES = ("ticket.h", "parts.h", "plain.h", "network.c", "tokenizer.c")
SMALLEST = Form("rows", sparse=1 / 3)  # a weight that is kept alone takes three bytes
BLOCK = 8  # of ticket.h, in plain C

_C_TYPES = {FlatLinear: "ticket_linear", FlatLayer: "ticket_layer", FlatTokenizer: "ticket_tokenizer"}

HEADER = """/* {name}: {what}
 * Integers only. Nothing is allocated; the functions share one working space, so call them from one thread at a time.
 */
#ifndef {guard}_H
#define {guard}_H

#include <stddef.h>
#include <stdint.h>

#define {guard}_CLASSES {classes}
#define {guard}_LENGTH {length} /* the most tokens of a sentence */
#define {guard}_VOCABULARY {vocabulary}

extern const char *const {name}_labels[{guard}_CLASSES];

/* The index of the label of a text of `size` bytes; its logits too, where `logits` is not NULL. */
int32_t {name}_classify(const uint8_t *text, size_t size, int32_t *logits);

/* The same of a pair of texts. */
int32_t {name}_classify_pair(const uint8_t *first, size_t first_size, const uint8_t *second, size_t second_size,
                             int32_t *logits);

/* The same of token ids; -1 where there are more than {guard}_LENGTH of them, or one that is no token. */
int32_t {name}_classify_ids(const int32_t *ids, size_t count, int32_t *logits);

#endif
"""

WRAPPER = """
/* ---- {name}.h ---- */

#define LANES {lanes}
static union {{
    uint64_t alignment;
    uint8_t bytes[{space} + 64];
}} space;

int32_t {name}_classify_ids(const int32_t *ids, size_t count, int32_t *logits) {{
    int32_t own[{guard}_CLASSES], best = 0, end = (int32_t)count;
    if (count > {guard}_LENGTH || ticket_space(&net, LANES) > sizeof space.bytes - 64) return -1;
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= {guard}_VOCABULARY) return -1;
    if (!logits) logits = own;
    ticket_logits(&net, ids, &end, 1, (end + TICKET_BLOCK - 1) / TICKET_BLOCK * TICKET_BLOCK, logits,
                  space.bytes + (64 - (uintptr_t)space.bytes % 64) % 64);
    for (int32_t i = 1; i < {guard}_CLASSES; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}}

int32_t {name}_classify(const uint8_t *text, size_t size, int32_t *logits) {{
    int32_t ids[{guard}_LENGTH];
    return {name}_classify_ids(ids, (size_t)ticket_ids(&net, text, size, ids), logits);
}}

int32_t {name}_classify_pair(const uint8_t *first, size_t first_size, const uint8_t *second, size_t second_size,
                             int32_t *logits) {{
    int32_t ids[2 * {guard}_LENGTH];
    int32_t count = ticket_pair_ids(&net, first, first_size, second, second_size, ids);
    return {name}_classify_ids(ids, (size_t)count, logits);
}}
"""


def c_files(ticket: Artefact, name: str) -> tuple[str, str, int, int]:
    """Header and source of a C99 library, and how many bytes of constants and of working space it has.

    `name` begins all its names. Raises UserError where that is no name in C, or a number does not fit.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"{name!r} is no name for a C library: small letters, digits and _, a letter first")
    flat = flatten(ticket.network, ticket.tokenizer, SMALLEST)
    labels = ticket.network.labels
    lanes = -(-flat.length // BLOCK) * BLOCK
    space = working_space(flat, lanes)
    what = f"{flat.depth} layers, {flat.width} wide, {len(labels)} classes"
    words = {
        "name": name, "guard": name.upper(), "what": what, "classes": len(labels), "length": flat.length,
        "vocabulary": flat.vocabulary, "lanes": lanes, "space": space,
    }  # fmt: skip
    arrays: list[str] = []
    sizes: list[int] = []
    net = _initializer(flat, arrays, sizes)
    text = [f'#include "{name}.h"\n', "#define TICKET_PLAIN\n#define TICKET_API static\n"]
    text += [re.sub(r'^#include "\w+\.h"\n', "", (NATIVE / file).read_text("ascii"), flags=re.M) for file in SOURCES]
    text += [
        "/* ---- The ticket ---- */\n", *arrays, f"static const ticket net = {net};\n",
        f"const char *const {name}_labels[{name.upper()}_CLASSES] = {{{', '.join(map(_quoted, labels))}}};\n",
        WRAPPER.format(**words),
    ]  # fmt: skip
    return HEADER.format(**words), "\n".join(text), sum(sizes), space + 64


def working_space(flat: FlatNetwork, lanes: int) -> int:
    """What `ticket_space` gives in plain C."""
    d, inner, hidden = flat.width, flat.inner, flat.hidden
    parts = [2 * d * lanes, d * lanes, inner * lanes + BLOCK, *[inner * lanes] * 3, hidden * lanes, 0]
    parts += [max(4, BLOCK) * flat.length, *[4 * lanes] * 3]
    return sum(-(-part // 64) * 64 for part in parts)


def _initializer(value: Any, arrays: list[str], sizes: list[int]) -> str:
    """A value in C; what it points to is appended to `arrays`, and its size to `sizes`."""
    if value is None or (isinstance(value, np.ndarray) and value.size == 0):
        return "NULL"
    if isinstance(value, np.ndarray):
        return _array(value, arrays, sizes)
    if isinstance(value, tuple):
        rows = ",\n".join(_initializer(item, arrays, sizes) for item in value)
        if not value:
            return "NULL"
        arrays.append(f"static const {_C_TYPES[type(value[0])]} layers[] = {{\n{rows}}};\n")
        return "layers"
    if is_dataclass(value):
        members = (_initializer(getattr(value, field.name), arrays, sizes) for field in fields(value))
        return "{" + ", ".join(members) + "}"
    return str(value)


def _array(values: Array, arrays: list[str], sizes: list[int]) -> str:
    name = f"numbers{len(arrays)}"
    kind = f"{values.dtype.name}_t"
    numbers = [str(number) if number != -(2**31) else "(-2147483647 - 1)" for number in values.reshape(-1).tolist()]
    lines = [", ".join(numbers[i : i + 24]) for i in range(0, len(numbers), 24)]
    arrays.append(f"static const {kind} {name}[] = {{\n" + ",\n".join(lines) + "};\n")
    sizes.append(values.nbytes)
    return name


def _quoted(text: str) -> str:
    """A string in C, of any bytes."""
    return '"' + "".join(f"\\{byte:03o}" for byte in text.encode("utf-8", "surrogateescape")) + '"'
