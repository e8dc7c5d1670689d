"""Nothing is unpickled: neither in the sources nor when a ticket is loaded and run."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("src", "stages") for path in (ROOT / folder).rglob("*.py"))
MODULES = {"pickle", "_pickle", "cPickle", "pickletools", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"torch.load", "torch.save", "pandas.read_pickle", "pd.read_pickle", "torch.package", "torch.hub"}
NAMES = {"allow_pickle", "read_pickle", "to_pickle", "weights_only"}


def uses(source):
    """What a source has to do with pickle, with the number of its line."""
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            found = {alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            own = {f"{module}.{alias.name}" for alias in node.names}
            found = own if module.partition(".")[0] in MODULES else own & CALLS
        elif isinstance(node, ast.Attribute):
            found = {ast.unparse(node)} & CALLS | {node.attr} & NAMES
        elif isinstance(node, ast.keyword):
            found = {node.arg} & NAMES
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = {node.value} & MODULES
        else:
            continue
        for name in found:
            yield f"line {line}: {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_unpickles(path):
    assert list(uses(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import numpy, joblib.numpy_pickle as j",
        "from pickle import loads",
        "from torch import load",
        "x = torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "frame = pandas.read_pickle(path)",
        "import_module('dill')",
    ],
)
def test_the_check_sees(source):
    assert list(uses(source))


WITHOUT_PICKLE = """
import _pickle, pickle

class Refused(_pickle.Unpickler):
    def __init__(self, *arguments, **options):
        raise AssertionError("something is unpickled")

import integer_tickets, json, sys
from integer_tickets.integer import conformance
engine = sys.argv[1]
conformance.engine_of(engine)  # imports what it needs
for module in (pickle, _pickle):
    module.load = module.loads = module.Unpickler = Refused
ticket = integer_tickets.load(conformance.KIT / conformance.TICKET)
assert ticket.classify(["a good film", ""], engine)
assert conformance.check(engine).mismatches == ()
try:
    pickle.loads(b"N.")
except AssertionError:
    print("done")
"""


@pytest.mark.parametrize("engine", ["reference", "torch"])
def test_a_ticket_loads_and_runs_where_nothing_can_be_unpickled(engine):
    done = subprocess.run([sys.executable, "-c", WITHOUT_PICKLE, engine], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
