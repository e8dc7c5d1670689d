"""Hostile files: whatever was done to one, it is refused in a line or is a network that its own numbers describe."""

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from integer_tickets.errors import UserError
from integer_tickets.integer import artefact
from integer_tickets.integer.container import MAX_HEADER, read
from tests.integer.test_artefact import parts, write

HUGE = [-(1 << 62), -1, 0, 1, 255, 256, 1 << 15, 1 << 20, 1 << 31, (1 << 53) + 1, 1 << 62, 1 << 64]
VALUES = [*HUGE, 1.5, 1e308, True, None, "", "x", [], {}, [[]], {"kind": "softmax"}]
MEMORY = 32 << 20
"""Bytes that reading a file of less than 20 kB may take."""


@pytest.fixture(params=["inhibitor", "softmax"])
def file(request, tmp_path, random_network, random_tokenizer):
    """A small file, with its tensors packed in every way."""
    network = random_network(1, request.param, d=16, heads=2, layers=1, hidden=9, bits=4, density=0.2)
    path = tmp_path / "ticket.safetensors"
    artefact.save(path, network, random_tokenizer(), {"a": [1, {"b": None}]})
    return path


def header_of(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def check(path):
    """Load the file: one line, or a network whose own file has the same content."""
    tracemalloc.start()
    try:
        loaded = artefact.load(path)
    except UserError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        return False
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY
    description, tensors = parts(path)
    artefact.save(path, loaded.network, loaded.tokenizer, loaded.provenance)
    again, others = parts(path)
    assert json.dumps(again, sort_keys=True) == json.dumps(description, sort_keys=True)
    assert others.keys() == tensors.keys() and all(np.array_equal(others[name], tensors[name]) for name in tensors)
    return True


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], new)
    return copy


def test_flipped_bits(file):
    content, random = file.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        altered = bytearray(content)
        for place in random.integers(0, len(content), random.integers(1, 4)):
            altered[place] ^= 1 << random.integers(0, 8)
        file.write_bytes(altered)
        assert altered == content or not check(file)


def test_cut_and_lengthened(file):
    content, random = file.read_bytes(), np.random.default_rng(1)
    for size in random.integers(0, len(content), 100):
        file.write_bytes(content[:size])
        assert not check(file)
    file.write_bytes(content + b"\0")
    with pytest.raises(UserError, match=r"something was added to it, \d+ bytes of \d+$"):
        artefact.load(file)


def test_edited_header(file):
    header, data = header_of(file.read_bytes())
    description = header.pop("__metadata__")
    random = np.random.default_rng(2)
    for path in places(header):
        for value in random.choice(len(VALUES), 4, replace=False):
            edited = changed(header, path, VALUES[value])
            if isinstance(edited, dict):
                edited = edited | {"__metadata__": description}
            file.write_bytes(with_header(edited, data))
            assert edited == header | {"__metadata__": description} or not check(file)


def test_edited_description_with_the_hash_that_belongs_to_it(file):
    description, tensors = parts(file)
    random = np.random.default_rng(3)
    accepted = 0
    for path in places({key: value for key, value in description.items() if key != "sha256"}):
        for value in random.choice(len(VALUES), 6, replace=False):
            edited = changed(description, path, VALUES[value])
            if isinstance(edited, dict):
                write(file, edited, tensors)
                accepted += check(file)
    assert accepted > 0  # shifts and gains, the provenance, ... may have other values


@pytest.mark.parametrize("coded", [False, True])
def test_flipped_bits_of_tensors_with_the_hash_that_belongs_to_them(file, coded):
    description, tensors = parts(file, coded)
    random = np.random.default_rng(4)
    accepted = 0
    for _ in range(400):
        name = random.choice([name for name in tensors if tensors[name].size])
        altered = bytearray(tensors[name].tobytes())
        altered[random.integers(len(altered))] ^= 1 << random.integers(0, 8)
        changed = tensors | {name: np.frombuffer(altered, dtype=tensors[name].dtype)}
        write(file, dict(description), changed, coded=coded)
        accepted += check(file)
    assert 0 < accepted < 400  # the proved bounds see most changes of weights, not that of a piece of a word


def test_tensors_taken_away_doubled_resized_and_added(file):
    description, tensors = parts(file)
    for name, tensor in tensors.items():
        rest = {other: tensors[other] for other in tensors if other != name}
        changes = [rest, rest | {f"{name}.again": tensor}, rest | {name: tensor[:-1]}]
        changes += [tensors | {f"{name}.again": tensor}, rest | {name: np.concatenate([tensor, tensor[:1]])}]
        changes += [rest | {name: tensor.astype(kind)} for kind in (np.uint8, np.int16, np.int32, np.int64, np.float32)]
        for altered in changes:
            same = altered.keys() == tensors.keys() and altered[name].dtype == tensor.dtype
            if tensor.size and not (same and altered[name].size == tensor.size):
                write(file, dict(description), altered)
                assert not check(file), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": {}, "a": {}}', "'a' occurs twice"),
        (b"{" + b'"a":[' * 100_000, "damaged safetensors file"),
        (b"{\xff}", "damaged"),
        (b'{"__metadata__": 5}', "damaged"),
        (b'{"__metadata__": {"integer_tickets": "{}", "more": ""}}', "more than the text"),
        (b'{"__metadata__": {"integer_tickets": {}}}', "more than the text"),
        (b'{"__metadata__": {"integer_tickets": "[]"}}', "description cannot be read"),
        (b'{"__metadata__": {"integer_tickets": "{\\"format\\": 1, \\"format\\": 1}"}}', "'format' occurs twice"),
        (b'{"__metadata__": {"integer_tickets": "' + b"[" * 100_000 + b'"}}', "description cannot be read"),
        (
            b'{"__metadata__": {"integer_tickets": "{\\"format\\": 7}"}}',
            "format version 7, this program reads versions 1, 2, 3, 4, 5 and 6",
        ),
        (b'{"__metadata__": {"integer_tickets": "{\\"format\\": 1' + b"0" * 5000 + b'}"}}', "cannot be read"),
    ],
)
def test_hostile_headers(tmp_path, text, message):
    path = tmp_path / "ticket.safetensors"
    path.write_bytes(with_header(text, b""))
    with pytest.raises(UserError, match=rf"^\S+ticket.safetensors: [^\n]*{message}[^\n]*$"):
        artefact.load(path)


def test_what_has_no_end_is_not_read_to_it(tmp_path):
    with pytest.raises(UserError, match="not a safetensors file"):
        read(Path("/dev/zero"), "key")
    path = tmp_path / "ticket.safetensors"
    path.write_bytes((MAX_HEADER + 1).to_bytes(8, "little") + b"{")
    os.truncate(path, 1 << 40)  # a hole, no disk is used
    with pytest.raises(UserError, match="not a safetensors file"):
        artefact.load(path)
