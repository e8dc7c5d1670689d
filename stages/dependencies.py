"""Which source files a stage runs, found by following its imports; `python -m stages.dependencies` rewrites dvc.yaml.

DVC knows what a stage depends on only if dvc.yaml says so. A test compares the list there, that of the stage `sources`,
with what is found here.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = {"integer_tickets": ROOT / "src", "stages": ROOT}
SOURCES = Path("artifacts/sources")
STAGES = (  # that depend on the code they execute
    *("prepare", "teacher", "lessons", "adopt", "train_dense", "prune_rewind", "controls", "transfer", "connectivity"),
    *("supermask", "quantize", "distill", "evaluate", "analyze", "certify", "report"),
)
TIMED = {"benchmark"}  # measured on demand only: a change of its code is no reason to measure again
COMPILED = {  # what a module compiles
    "integer_tickets.integer.native_engine": "src/integer_tickets/integer/native/*.[ch]",
    "integer_tickets.model.library": "src/integer_tickets/model/*.[ch]",
}


def sources_of(module: str) -> list[str]:
    """Project files that importing `module` can execute, sorted, relative to the top folder."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if path is None or name in found:
            continue
        found[name] = path
        waiting += _imports(name, path)
        waiting += [name.rpartition(".")[0]]
    files = {path for path in found.values() if path.stat().st_size}
    files |= {path for name in found if name in COMPILED for path in ROOT.glob(COMPILED[name])}
    return sorted(path.relative_to(ROOT).as_posix() for path in files)


def sources_of_stage(stage: str) -> list[str]:
    """What `python -m stages NAME` executes."""
    return sorted({*sources_of("stages.__main__"), *sources_of(f"stages.{stage}")})


@cache
def _path(name: str) -> Path | None:
    place = PLACES.get(name.partition(".")[0])
    if place is None:
        return None
    base = place.joinpath(*name.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.exists()), None)


@cache
def _imports(name: str, path: Path) -> list[str]:
    names: list[str] = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`, which only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _executed(node)


def hashes(paths: Iterable[str]) -> str:
    """A line with hash and path for each file that is there."""
    found = {path: hashlib.sha256((ROOT / path).read_bytes()).hexdigest() for path in paths if (ROOT / path).is_file()}
    return "".join(f"{value}  {path}\n" for path, value in found.items())


def rewrite(text: str) -> str:
    """dvc.yaml with the deps of the stage `sources`, which are those of all stages; everything else stays as it is."""
    before, _, rest = text.partition("    deps:  # by stages.dependencies\n")
    _, outs, after = rest.partition("    outs:\n")
    sources = sorted({path for stage in (*STAGES, "sources") for path in sources_of_stage(stage)})
    lines = "".join(f"      - {path}\n" for path in sources)
    return f"{before}    deps:  # by stages.dependencies\n{lines}{outs}{after}"


if __name__ == "__main__":
    file = ROOT / "dvc.yaml"
    file.write_text(rewrite(file.read_text(encoding="utf-8")), encoding="utf-8")
