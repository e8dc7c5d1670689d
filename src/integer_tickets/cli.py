"""The command `integer-tickets`: run, inspect and check integer networks."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from integer_tickets.errors import UserError

TICKETS = "a .safetensors file or the name of a ticket that comes with the package"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 (a check failed), 2 (wrong use)."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["run"]:
        return _run(words[1:])
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.version:
        from importlib.metadata import version

        print(f"integer-tickets {version('integer-tickets')}")
        return 0
    if arguments.run is None:
        parser.print_help()
        return 2
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except UserError as error:
        print(f"integer-tickets: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="integer-tickets",
        description="Run, inspect and check integer tickets: sparse Transformers that compute with integers alone.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    predict = commands.add_parser(
        "predict",
        help="classify texts",
        description="Classify texts, given as arguments or as the lines of standard input. Two texts that belong "
        "together are separated by a tab. Prints, for each text, its label, the margin (largest logit minus the "
        "next) and the text, separated by tabs.",
    )
    predict.add_argument("text", nargs="*", metavar="TEXT", help="a text to classify; without any, standard input")
    _add_model(predict, "the ticket to run")
    _add_engine(predict)
    predict.add_argument(
        "--threads",
        type=int,
        metavar="N",
        default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        help="threads of the engines native and onnx; change the speed alone (default: one a core)",
    )
    predict.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="tab-separated text, or a JSON object per line with text, label, margin and logits (default: text)",
    )
    predict.set_defaults(run=_predict)

    inspect = commands.add_parser(
        "inspect",
        help="describe a ticket",
        description="Describe a ticket: shapes, where its bits go, how sparse each layer is, the largest value that "
        "each 32-bit sum can reach, and where the ticket comes from.",
    )
    inspect.add_argument("file", metavar="TICKET", help=TICKETS)
    inspect.add_argument("--json", action="store_true", help="print one JSON object")
    inspect.set_defaults(run=_inspect)

    conformance = commands.add_parser(
        "conformance",
        help="check that engines compute what they must",
        description="Check engines, bit for bit, against the golden vectors of the built-in ticket. Ends with "
        "status 1 if one differs.",
    )
    _add_engine(conformance, "the engine to check, all that run here without one")
    conformance.add_argument("--fuzz", type=int, default=0, metavar="N", help="and all of them on N random sentences")
    conformance.add_argument("--texts", type=Path, metavar="FILE", help="and all of them on the lines of a file")
    _add_model(conformance, "the ticket for both")
    export = commands.add_parser(
        "export",
        help="write a ticket as C or ONNX",
        description="Write a ticket as one C99 file with its header (text in, label out, no library needed), or as an "
        "ONNX graph of integers (token ids in, logits out).",
    )
    export.add_argument("form", choices=("c", "onnx"), help="what to write")
    _add_model(export, "the ticket")
    export.add_argument(
        "--out", type=Path, metavar="DIR", default=Path(), help="the folder to write to (default: here)"
    )
    export.add_argument("--name", default="ticket_net", help="of the files, and of all in C (default: ticket_net)")
    export.set_defaults(run=_export)
    certify = commands.add_parser(
        "certify",
        help="bound a ticket's true error by its size and its errors in training",
        description="Bound the error of a ticket on new texts from its errors on the examples it was trained on and "
        "the bits of its code. Any independent examples will do; those of train are as good as others.",
    )
    certify.add_argument("file", metavar="TICKET", help=TICKETS)
    certify.add_argument("--data", type=Path, required=True, metavar="FILE", help="tsv, csv, jsonl or parquet, or .gz")
    certify.add_argument("--text", nargs="+", default=["sentence"], metavar="COLUMN", help="one, or two for pairs")
    certify.add_argument("--label", default="label", metavar="COLUMN", help="of the labels (default: label)")
    certify.add_argument(
        "--unit",
        choices=("row", "text", "group"),
        default="row",
        help="what was drawn independently: each row; the longest texts, rows being parts of them; or all rows with "
        "one entry in the column --group (default: row)",
    )
    certify.add_argument("--group", default="group", metavar="COLUMN", help="with --unit group (default: group)")
    certify.add_argument(
        "--clusters", type=int, default=1, metavar="N", help="units that may hang together, for a second bound"
    )
    certify.add_argument("--delta", type=float, default=0.05, help="the probability of being wrong (default: 0.05)")
    certify.add_argument("--prior", metavar="TICKET", help="one found on other data: only what differs from it counts")
    certify.add_argument("--json", action="store_true", help="print one JSON object")
    certify.set_defaults(run=_certify)
    commands.add_parser("run", help="run the pipeline in this folder, several items at a time")  # see _run
    conformance.set_defaults(run=_conformance)
    return parser


def _add_model(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--model", metavar="TICKET", help=f"{text}, {TICKETS} (default: the one built in)")


def _add_engine(parser: argparse.ArgumentParser, text: str = "the engine to use; changes the speed alone") -> None:
    parser.add_argument(
        "--engine",
        metavar="NAME",
        help=f"{text}: native, reference, onnx, torch, or torch:cuda for a GPU",
    )


def _run(words: list[str]) -> int:
    """The stages are no part of the package: they belong to the folder in which the study is made."""
    if not Path("stages/run.py").exists():
        print("integer-tickets: run: no stages/run.py here; run from the top folder of the project", file=sys.stderr)
        return 2
    return subprocess.run([sys.executable, "-m", "stages", "run", *words], check=False).returncode


def _file(ticket: str | None) -> Path:
    """Of a ticket by its name or path, of the one built in without."""
    from integer_tickets.integer.conformance import KIT, TICKET
    from integer_tickets.integer.ticket import file_of

    return file_of(ticket) if ticket else KIT / TICKET


def _predict(arguments: argparse.Namespace) -> int:
    from integer_tickets.integer.ticket import load
    from integer_tickets.integer.tokenizer import to_bytes
    from integer_tickets.prediction import predict, predict_stream

    ticket = load(_file(arguments.model))
    how = arguments.engine, arguments.threads, arguments.format
    if arguments.text:
        predict(ticket, [to_bytes(text) for text in arguments.text], *how)
    else:
        predict_stream(ticket, sys.stdin.buffer, *how)
    return 0


def _lines(path: Path) -> list[bytes]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if not lines:
        raise UserError(f"{path}: no lines")
    return lines


def _inspect(arguments: argparse.Namespace) -> int:
    from integer_tickets.inspection import described, facts_of

    facts = facts_of(_file(arguments.file))
    print(json.dumps(facts, indent=2, sort_keys=True) if arguments.json else "\n".join(described(facts)))
    return 0


def _certify(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from integer_tickets.blocks import Certify
    from integer_tickets.certifying import certify
    from integer_tickets.information.certificates import explained

    if not 0 < arguments.delta < 1:
        raise UserError(f"--delta {arguments.delta}: expected a number between 0 and 1")
    if arguments.clusters < 1:
        raise UserError(f"--clusters {arguments.clusters}: expected a number from 1")
    if len(arguments.text) > 2:
        raise UserError("--text: expected one column, or two for pairs")
    columns, prior = (arguments.text, arguments.label), _file(arguments.prior) if arguments.prior else None
    settings = Certify(delta=arguments.delta, unit=arguments.unit, clusters=arguments.clusters)
    found = certify(_file(arguments.file), arguments.data, *columns, arguments.group, settings, prior)
    if arguments.json:
        print(json.dumps(asdict(found), indent=2, sort_keys=True))
        return 0
    for line in explained(found.certificate, settings.clusters, prior is not None):
        print(line)
    parts = sorted(found.bits.items(), key=lambda part: -part[1])
    print(f"Bits of the code: {', '.join(f'{name} {bits:,.0f}' for name, bits in parts)}.")
    if found.repeats:
        print(
            f"But {found.repeats:,} rows repeat others, or parts of them: fine where texts recur by chance; where rows "
            "were copied, or cut from longer texts, they were not drawn independently. See --unit text."
        )
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from integer_tickets.files import write_bytes, write_text
    from integer_tickets.integer.artefact import load
    from integer_tickets.integer.export_c import c_files
    from integer_tickets.integer.export_onnx import onnx_model

    ticket = load(_file(arguments.model))
    if arguments.form == "onnx":
        graph = onnx_model(ticket.network).SerializeToString(deterministic=True)
        path = arguments.out / f"{arguments.name}.onnx"
        write_bytes(path, graph)
        print(f"{path}: {len(graph):,} bytes; text becomes token ids by the ticket's own tokenizer")
        return 0
    header, source, constants, space = c_files(ticket, arguments.name)
    for suffix, text in ((".h", header), (".c", source)):
        write_text(arguments.out / f"{arguments.name}{suffix}", text)
    path = arguments.out / arguments.name
    print(f"{path}.c and {path}.h: {constants:,} bytes of constants, {space:,} bytes of working space")
    return 0


def _conformance(arguments: argparse.Namespace) -> int:
    from integer_tickets.integer.conformance import check
    from integer_tickets.integer.engines import engines

    failed = False
    if arguments.model and not (arguments.fuzz > 0 or arguments.texts):
        raise UserError("conformance: --model needs --fuzz or --texts; golden vectors are those of the built-in ticket")
    for name in [arguments.engine] if arguments.engine else engines():
        report = check(name)
        failed |= bool(report.mismatches)
        verdict = f"{len(report.mismatches)} DIFFER" if report.mismatches else "all equal"
        print(f"{name}: {report.sentences} sentences, {report.tensors} comparisons, {verdict}")
        for line in report.mismatches[:5]:
            print(f"  {line}")
    if arguments.fuzz > 0 or arguments.texts:
        from integer_tickets.integer.artefact import load
        from integer_tickets.integer.fuzz import compare, fuzz

        ticket = load(_file(arguments.model))
        results = fuzz(ticket, arguments.fuzz) if arguments.fuzz > 0 else []
        if arguments.texts:
            results += compare(ticket, _lines(arguments.texts))
        for result in results:
            failed |= bool(result.different)
            verdict = f"{result.different:,} DIFFER" if result.different else "all equal"
            print(f"{result.name}: {result.compared:,} inputs, {verdict}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
