"""The page on the native engine and its peers, from what stages/engine_speed.py measured."""

from collections.abc import Callable, Mapping
from typing import Any

from integer_tickets.report.speed import markdown_table, where

Rows = list[dict[str, Any]]

INTRODUCTION = """# The native engine beside the engines people use

Measured by `python -m stages.engine_speed`; another machine gives other numbers. The tickets have Inhibitor attention
and int8 weights, the peers are a standard encoder of the same shape with softmax attention and layer normalization; all
have random weights, the same sentences (full length, no padding), threads and warm-up, and take turns in interleaved
rounds of one process, called from Python. Tokenization is on neither side. CTranslate2 has no classifier: what its
encoder gives is averaged and multiplied in NumPy. A static shape is compiled for that one shape of batch. Engines that
win are shown like those that lose. The same shape is also the same class of accuracy: [the study on
SST-2](studies/sst2/report.md) compares both attentions at the smaller one, and says what pruning costs.
"""
OURS = "native, "


def page(found: Mapping[str, Any]) -> str:
    """Markdown of all parts that have been measured."""
    parts = [INTRODUCTION]
    for name, (title, text, body) in SECTIONS.items():
        if name in found:
            part = found[name]
            absent = "".join(f" Absent: {file} ({why})." for file, why in sorted(part["absent"].items()))
            parts.append(f"## {title}\n\n{text}{absent}\n\n{body(part['rows'])}\n\n{where(part['machine'])}\n")
    return "\n".join(parts)


def _speed(rows: Rows) -> str:
    """Times of all, then what the tickets gain over the best peer of each case."""
    cells = {(row["shape"], row["batch"], row["n"], row["threads"], row["engine"]): row for row in rows}
    cases = list(dict.fromkeys(key[:4] for key in cells))
    engines = list(dict.fromkeys(key[4] for key in cells))
    header, body = [_case(*case) for case in cases], []
    for engine in engines:
        own = [cells.get((*case, engine)) for case in cases]
        body.append([engine, *("" if cell is None else _time(cell) for cell in own)])
    best = []
    for case in cases:
        peers = [row for key, row in cells.items() if key[:4] == case and not key[4].startswith(OURS)]
        best.append(min(peers, key=lambda row: float(row["median_us"])))
    gains = [["best peer", *(row["engine"] for row in best)]]
    for engine in (name for name in engines if name.startswith(OURS)):
        times = [cells[*case, engine]["median_us"] for case in cases]
        gains.append([engine, *(f"{row['median_us'] / own:.2f}" for row, own in zip(best, times, strict=True))])
    title = "times as fast as the best peer"
    return f"{markdown_table(['engine', *header], body)}\n\n{markdown_table([title, *header], gains)}"


def _case(shape: str, batch: int, n: int, threads: int) -> str:
    unit = "us" if batch == 1 else f"{batch} a call, sentences/s"
    return f"{shape}, n={n}, {unit}{'' if threads == 1 else f', {threads} threads'}"


def _time(row: Mapping[str, Any]) -> str:
    return f"{row['median_us']:.0f}" if row["batch"] == 1 else f"{row['sentences_per_second']:,.0f}"


def _footprint(rows: Rows) -> str:
    body = [
        [row["engine"], f"{row['seconds']:.2f}", f"{row['memory_mb']:.0f}", f"{row['bytes'] / 1e6:.2f}"] for row in rows
    ]
    return markdown_table(["engine", "seconds to the first logits", "peak memory MB", "on disk MB"], body)


def _answers(rows: Rows) -> str:
    columns = {"mates": "beside other sentences", "padding": "padded", "instructions": "AVX2 instead of all it has"}
    body = [[row["engine"], *(_answer(row.get(column)) for column in columns)] for row in rows]
    return markdown_table(["engine", *columns.values()], body)


def _answer(changed: Mapping[str, Any] | str | None) -> str:
    if changed is None or isinstance(changed, str):
        return changed or "cannot be told"
    if not changed["sentences"]:
        return f"0 of {changed['of']}"
    labels = f", {changed['labels']} labels" if changed["labels"] else ""
    return f"{changed['sentences']} of {changed['of']} ({changed['deviations']:g} sd{labels})"


def _sparsity(rows: Rows) -> str:
    body = []
    for row in rows:
        pruned, zeros = "blocks" if row["block"] > 1 else "single weights", 1 - row["density"]
        shares = [f"{100 * share:.0f}" for share in (zeros, row["occupied"])]
        times = [f"{row[name]:.1f}" for name in ("dense_us", "sparse_us")]
        body.append([row["shape"], row["layout"], row["n"], pruned, *shares, *times, f"{row['ratio']:.2f}"])
    header = ["shape", "dense in", "tokens", "pruned", "zeros %", "groups occupied %", "dense us", "without zeros us"]
    return markdown_table([*header, "ratio"], body)


def _text(rows: Rows) -> str:
    body = [
        [row["ticket"], f"{row['pieces']:,}", row["tokens"], f"{row['tokenizer_us']:.2f}", f"{row['network_us']:.2f}",
         f"{row['tokenizer_us'] / row['network_us']:.2f}"]
        for row in rows
    ]  # fmt: skip
    header = ["ticket", "pieces", "tokens a sentence", "text to ids, us", "ids to logits, us", "ratio"]
    return markdown_table(header, body)


def _predict(rows: Rows) -> str:
    body = [[f"{row['lines']:,}", row["threads"], f"{row['per_second']:,}", f"{row['memory_mb']:.0f}"] for row in rows]
    return markdown_table(["lines", "threads", "lines a second", "peak memory MB"], body)


SECTIONS: dict[str, tuple[str, str, Callable[[Rows], str]]] = {
    "speed": (
        "Latency and throughput",
        "Medians: microseconds for one sentence of n tokens, sentences a second in batches of 64. Shapes are layers x "
        "width, with 4 heads and a hidden layer of four times the width. The native engine uses AMX where it is there "
        "and zeros are too few to be worth leaving out; without AMX it uses AVX-512.",
        _speed,
    ),
    "footprint": (
        "What an engine needs",
        "A fresh Python process that classifies one sentence of 16 tokens with the 2 x 128 network, whose token table "
        "has 11,000 rows; best of three, interpreter included. What native and torch.compile once compiled is in their "
        "caches by then.",
        _footprint,
    ),
    "answers": (
        "Answers that change",
        "Sentences of 24 tokens whose logits are other numbers once they are in a batch with 31 others of the same "
        "length, or padded by 16 tokens, or computed with AVX2; in brackets the largest difference in standard "
        "deviations of the logits, and how many labels change.",
        _answers,
    ),
    "sparsity": (
        "From which sparsity on zeros are worth leaving out",
        "The native engine with every linear layer dense, and with every one of them sparse. It "
        "sees groups of four neighbouring weights, of which a group counts as occupied if one weight is not 0. Dense "
        "layers are multiplied group by group, or in the tiles of AMX where a processor has them.",
        _sparsity,
    ),
    "text": (
        "What the tokenizer costs",
        "Microseconds a sentence of the native engine on one thread, in batches of 1,024, called from Python: of the "
        "ticket built in on its language, and of a dense one with sentences of random words.",
        _text,
    ),
    "predict": (
        "The command on many lines",
        "`integer-tickets predict` with the ticket built in, lines of its language from a file, labels to another one: "
        "what it says at its end, and the peak memory of its process.",
        _predict,
    ),
}
