"""Corpora in a folder: train, validation and test as tsv, csv, jsonl or parquet, plain or with .gz."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from integer_tickets.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

_EXTENSIONS = (".tsv", ".csv", ".jsonl", ".parquet")


def split_files(folder: Path, splits: Sequence[str], vocabulary: str) -> dict[str, Path]:
    """The file of each split that `folder` has; train must be there.

    Files of other names are left alone, and so is the one called `vocabulary`, whatever that name is.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder (data.folder)")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        split, _, extension = path.name.partition(".")
        if split not in splits or path.name == vocabulary or path.suffix == ".dvc":  # DVC's notes lie beside files
            continue
        if f".{extension}".removesuffix(".gz") not in _EXTENSIONS:
            raise UserError(f"{path}: expected one of {' '.join(_EXTENSIONS)}, or one of them with .gz")
        if split in files:
            raise UserError(f"{folder}: {files[split].name} and {path.name} are both {split}; keep one of them")
        files[split] = path
    if "train" not in files:
        raise UserError(f"{folder}: no file for train, expected train{_EXTENSIONS[0]} or another of the known kinds")
    return {split: files[split] for split in splits if split in files}


def load_lines(folder: Path) -> list[str]:
    """The texts of unlabelled.txt or unlabelled.txt.gz, in UTF-8, one a line; none where there is no such file."""
    found = [path for path in (folder / "unlabelled.txt", folder / "unlabelled.txt.gz") if path.is_file()]
    if len(found) > 1:
        raise UserError(f"{folder}: {found[0].name} and {found[1].name} are both there; keep one of them")
    if not found:
        return []
    path = found[0]
    return [line for line in map(str.strip, _decode(path, _content(path)).split("\n")) if line]


def load_vocabulary(path: Path) -> list[str]:
    """The lines of a WordPiece vocabulary in UTF-8, each a piece. Faults are a UserError naming the file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file (tokenizer.vocabulary in data.folder)")
    lines = [line.removesuffix("\r") for line in _decode(path, path.read_bytes()).split("\n")]
    pieces = [line for line in lines if line]
    if not pieces:
        raise UserError(f"{path}: no pieces, expected a WordPiece vocabulary with one piece a line")
    return pieces


def load_file(path: Path) -> Dataset:
    """One file as a data set. Faults are a UserError naming the file and, in text, the line.

    tsv: the first line names the columns; fields end at TAB, lines at newline, and nothing is quoted. csv: the first
    row names the columns; quoted as in RFC 4180. jsonl: one object a line.
    """
    import datasets
    import pyarrow as pa

    content = _content(path)
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind == ".parquet":
        return _parquet(path, content)
    text = _decode(path, content)
    rows = {".tsv": _tsv, ".csv": _csv, ".jsonl": _jsonl}[kind](path, text)
    try:
        return datasets.Dataset.from_dict(rows)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
        raise UserError(f"{path}: a column cannot be stored, expected one type a column ({error})") from None


def _content(path: Path) -> bytes:
    """The bytes of a file, unzipped."""
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not valid gzip ({error})") from None


def _decode(path: Path, content: bytes) -> str:
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: byte 0x{content[error.start]:02x} is not valid UTF-8") from None


def _tsv(path: Path, text: str) -> dict[str, list[Any]]:
    lines = text.rstrip("\r\n").split("\n")
    if lines[0].endswith("\r"):
        lines = [line.removesuffix("\r") for line in lines]
    return _columns(path, [(number, line.split("\t")) for number, line in enumerate(lines, 1)])


def _csv(path: Path, text: str) -> dict[str, list[Any]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return _columns(path, [(reader.line_num, row) for row in reader if row])
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from None


def _columns(path: Path, rows: list[tuple[int, list[str]]]) -> dict[str, list[Any]]:
    """Columns from numbered rows, the first of which names them."""
    header = rows[0][1] if rows else [""]
    if len(set(header)) < len(header):
        raise UserError(f"{path}, line 1: two columns of the same name, expected one each: {', '.join(header)}")
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(f"{path}, line {line}: number of fields {len(row)}, expected {len(header)} as in line 1")
    return {name: [row[i] for _, row in rows[1:]] for i, name in enumerate(header)}


def _jsonl(path: Path, text: str) -> dict[str, list[Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f'{path}, line {number}: {type(row).__name__}, expected an object as in {{"text": ...}}')
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _parquet(path: Path, content: bytes) -> Dataset:
    import datasets

    datasets.disable_progress_bars()
    # The copy has a plain name, and what the library caches goes when the data are in memory.
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "table.parquet")
        copy.write_bytes(content)
        try:
            return datasets.Dataset.from_parquet(str(copy), cache_dir=folder, keep_in_memory=True)
        except Exception as error:  # the library wraps its errors in many ways
            message = " ".join(str(error.__cause__ or error).replace(str(copy), path.name).split())
            raise UserError(f"{path}: not valid parquet ({message})") from None
