"""Which source files a stage runs, found by following its imports; `python -m stages.dependencies` rewrites dvc.yaml.

DVC knows what a stage depends on only if dvc.yaml says so. A test compares the lists there with these.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = {"integer_tickets": ROOT / "src", "stages": ROOT}
TIMED = {"benchmark"}  # measured on demand only: a change of its code is no reason to measure again
COMPILED = {"integer_tickets.model.library": "src/integer_tickets/model/*.[ch]"}  # what a module compiles


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


def rewrite(text: str) -> str:
    """dvc.yaml with the source files among each stage's deps brought up to date; everything else stays as it is."""
    lines, result, stage, in_deps = text.splitlines(), [], "", False
    for line in lines:
        if line.startswith("  ") and line[2:3].strip() and line.rstrip().endswith(":"):
            stage = line.strip()[:-1]
        if line.strip() == "deps:":
            in_deps = True
            result.append(line)
            if stage not in TIMED:
                result += [f"      - {source}" for source in sources_of_stage(stage)]
            continue
        if in_deps and not line.startswith("      - "):
            in_deps = False
        if in_deps and line.strip().startswith(("- src/", "- stages/")):
            continue
        result.append(line)
    return "\n".join(result) + "\n"


if __name__ == "__main__":
    file = ROOT / "dvc.yaml"
    file.write_text(rewrite(file.read_text(encoding="utf-8")), encoding="utf-8")
