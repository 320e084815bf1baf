"""What docs/design.md says of the files: which may import which."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "thalweg"
DESIGN = (ROOT / "docs" / "design.md").read_text("utf-8")


def _name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imported(text: str) -> set[str]:
    """Return the files of thalweg that a text imports, anywhere in it and for types too."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module, names, level):
                assert level == 0, "imports are absolute"
                found |= {f"{module}.{alias.name}" for alias in names}
    return {_file(name) for name in found if name.partition(".")[0] == "thalweg"}


def _file(name: str) -> str:
    return name if name in FILES else _file(name.rpartition(".")[0])


def part(file: str) -> str:
    """Return what the order calls a file: its package or itself; ``thalweg`` for the first one."""
    return file.split(".")[1] if "." in file else file


IMPORTS = {file: imported(path.read_text("utf-8")) for file, path in FILES.items()}
BLOCK = re.search(r"\n\nImports point one way(?:.+\n)+\n((?: {4}.+\n)+)", DESIGN)
assert BLOCK
ORDER = {name: i for i, line in enumerate(BLOCK[1].splitlines()) for name in line.split()}


def test_the_order_of_imports_names_every_part() -> None:
    assert ORDER.keys() == {*map(part, FILES)}


def against(imports: dict[str, set[str]]) -> list[str]:
    """Return what imports a part from its own line of the order, or from one below."""
    return [
        f"{file} imports {other}"
        for file, others in imports.items()
        for other in sorted(others)
        if part(file) != part(other) and ORDER[part(file)] <= ORDER[part(other)]
    ]


def test_imports_follow_the_order() -> None:
    assert against(IMPORTS) == []
    wrong = {"thalweg.optim.state": {"thalweg.stack.step", "thalweg.rule", "thalweg.linear"}}
    assert against(wrong) == [
        f"thalweg.optim.state imports thalweg.{other}" for other in ("linear", "stack.step")
    ]


def circle(imports: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_files_import_each_other() -> None:
    assert circle(IMPORTS) == []


def test_what_is_imported_is_found_wherever_it_stands() -> None:
    text = """
import thalweg.rule
from thalweg import checks, rules as registry
if TYPE_CHECKING:
    from thalweg.stack import Model
def later():
    from thalweg.racing.race import race
    import numpy
"""
    assert imported(text) == {
        f"thalweg.{name}" for name in ("rule", "checks", "rules", "stack", "racing.race")
    }
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "c", "b", "a"]
