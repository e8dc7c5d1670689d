"""A ticket in C: compiles without a warning, classifies as the reference does, and stands any input."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

import integer_tickets
from integer_tickets.errors import UserError
from integer_tickets.integer import artefact, conformance, native_engine
from integer_tickets.integer.export_c import BLOCK, c_files, working_space
from integer_tickets.integer.flat import PLAIN, flatten

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
MAIN = """
#include "net.h"
#include <stdio.h>
#include <stdlib.h>

/* Reads: kind (t text, p pair, i ids), sizes, bytes. Writes: label, logits. */
int main(void) {
    int kind;
    while ((kind = getchar()) != EOF) {
        uint32_t sizes[2];
        if (fread(sizes, 4, 2, stdin) != 2) return 1;
        uint8_t *first = malloc(sizes[0]), *second = malloc(sizes[1]); /* no byte more: a sanitizer sees what is read */
        if (fread(first, 1, sizes[0], stdin) != sizes[0] || fread(second, 1, sizes[1], stdin) != sizes[1]) return 1;
        int32_t logits[NET_CLASSES] = {0}, label;
        if (kind == 't')
            label = net_classify(first, sizes[0], logits);
        else if (kind == 'p')
            label = net_classify_pair(first, sizes[0], second, sizes[1], logits);
        else
            label = net_classify_ids((const int32_t *)(void *)first, sizes[0] / 4, logits);
        printf("%d", (int)label);
        for (int i = 0; i < NET_CLASSES; i++) printf(" %d", (int)logits[i]);
        printf("\\n");
        if (label >= 0 && !net_labels[label]) return 1;
        free(first), free(second);
    }
    return 0;
}
"""


def program(folder, ticket, compiler="cc", flags=()):
    header, source, *_ = c_files(ticket, "net")
    for name, text in (("net.h", header), ("net.c", source), ("main.c", MAIN)):
        (folder / name).write_text(text)
    command = [compiler, *STRICT, *flags, str(folder / "net.c"), str(folder / "main.c"), "-o", str(folder / "net")]
    subprocess.run(command, check=True)
    return folder / "net"


def answers(built, cases):
    parts = []
    for kind, first, second in cases:
        parts += [kind, np.array([len(first), len(second)], "<u4").tobytes(), first, second]
    done = subprocess.run([str(built)], input=b"".join(parts), capture_output=True, check=True)
    return [[int(number) for number in line.split()] for line in done.stdout.splitlines()]


def texts(seed, count):
    """Random bytes, words of the built-in language, and what lies between."""
    random = np.random.default_rng(seed)
    words = [b"the", b"film", b"is", b"not", b"Superb", b"dull,", b"x" * 250, b"...", b"\xc3\xa9", b"\x00", b"\t"]
    for _ in range(count):
        if random.random() < 0.5:
            yield bytes(random.integers(0, 256, random.integers(0, 80)).tolist())
        else:
            yield b" ".join(words[i] for i in random.integers(0, len(words), random.integers(0, 60)))


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("sanitized", [False, True])
def test_the_built_in_ticket(tmp_path, compiler, sanitized):
    ticket = integer_tickets.load(conformance.KIT / conformance.TICKET)
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if sanitized else ["-O2"]
    built = program(tmp_path, ticket.artefact, compiler, flags)
    single = [*texts(1, 600), b""]
    pairs = list(zip(texts(2, 300), texts(3, 300), strict=True))
    found = answers(built, [*((b"t", text, b"") for text in single), *((b"p", *pair) for pair in pairs)])
    expected = ticket.logits([*single, *pairs])
    assert [row[1:] for row in found] == expected.tolist()
    assert [row[0] for row in found] == expected.argmax(1).tolist()


def test_token_ids_that_are_none(tmp_path):
    ticket = integer_tickets.load(conformance.KIT / conformance.TICKET).artefact
    built = program(tmp_path, ticket, flags=["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
    length, vocabulary = len(ticket.network.positions.weight), len(ticket.network.tokens.weight)
    good, wrong = [[], [3], [vocabulary - 1] * length], [[3] * (length + 1), [-1], [vocabulary], [3] * 5000]
    cases = [(b"i", np.array(ids, "<i4").tobytes(), b"") for ids in [*good, *wrong]]
    found = answers(built, cases)
    logits = native_engine.logits(ticket.network, good)
    assert [row[1:] for row in found[: len(good)]] == logits.tolist()
    assert all(row[0] == -1 for row in found[len(good) :])


@pytest.mark.parametrize("kind", ["inhibitor", "unsigned", "softmax"])
@pytest.mark.parametrize("tokens", ["pieces", "hash"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_networks_of_all_kinds(tmp_path, random_network, random_tokenizer, kind, tokens, side):
    tokenizer = replace(random_tokenizer(), truncation_side=side)
    if tokens == "hash":
        tokenizer = replace(tokenizer, kind="hash", pieces=(), continues=())
    network = random_network(3, kind, vocabulary=tokenizer.size, positions=tokenizer.positions, density=0.2)
    path = tmp_path / "ticket.safetensors"
    artefact.save(path, network, tokenizer, {})
    ticket = integer_tickets.load(path)
    sentences = [*texts(4, 100), b"x" * 200 + b" " + b"ab" * 90]
    pairs = list(zip(sentences, texts(5, 100), strict=False))
    flags = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if side == "left" else []
    built = program(tmp_path, ticket.artefact, flags=flags)
    found = answers(built, [*((b"t", text, b"") for text in sentences), *((b"p", *pair) for pair in pairs)])
    assert [row[1:] for row in found] == ticket.logits([*sentences, *pairs], "reference").tolist()


def test_a_classifier_without_a_single_weight(tmp_path, random_network, random_tokenizer):
    tokenizer = random_tokenizer()
    network = random_network(3, vocabulary=tokenizer.size, positions=tokenizer.positions)
    zero = replace(network.classifier, weight=np.zeros_like(network.classifier.weight), mask=None)
    path = tmp_path / "ticket.safetensors"
    artefact.save(path, replace(network, classifier=zero), tokenizer, {})
    ticket = integer_tickets.load(path)
    built = program(tmp_path, ticket.artefact, flags=["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
    assert [row[1:] for row in answers(built, [(b"t", b"ab c", b"")])] == ticket.logits(["ab c"], "reference").tolist()


def test_the_working_space_is_that_of_the_network(random_network):
    plain = native_engine.library("baseline")
    for shape in ({}, {"layers": 0}, {"d": 33, "heads": 1, "positions": 255}, {"sizes": [(1, 3, 5), (4, 8, 48)]}):
        network = random_network(1, **shape)
        flat = flatten(network, None, PLAIN)
        lanes = -(-flat.length // BLOCK) * BLOCK
        prepared = native_engine.prepared(network, "baseline")
        assert working_space(flat, lanes) == plain.ticket_batch_space(prepared.address, lanes)


def test_names_are_those_of_c():
    ticket = integer_tickets.load(conformance.KIT / conformance.TICKET).artefact
    for name in ("", "Net", "1net", "a-b", "a b"):
        with pytest.raises(UserError, match="no name for a C library"):
            c_files(ticket, name)
