"""What docs/design.md says of the files: which may import which, and where their tests are."""

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from mutate import MUTATIONS

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
SOURCE = ROOT / "src" / "thalweg"
DESIGN = (ROOT / "docs" / "design.md").read_text("utf-8")


def _name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def imported(text: str) -> set[str]:
    """Return the files of thalweg that a text imports, anywhere in it and for types too."""
    found = set()
    for node in ast.walk(parsed(text)):
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


@cache
def imports() -> dict[str, set[str]]:
    """Return what each file imports."""
    return {file: imported(path.read_text("utf-8")) for file, path in FILES.items()}


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
    assert against(imports()) == []
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
    assert circle(imports()) == []


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


def test_no_paragraph_of_a_docstring_is_indented_from_its_second_line_on() -> None:
    # The site would take its first line for a term, and the others for its definition.
    indented = re.compile(r"^(?=\S)(?!\w+:$|>>> ).*[^:\s]\n {4}\S", re.MULTILINE)
    wrong = [
        f"{file}: {found[0]}"
        for file, path in FILES.items()
        for node in ast.walk(parsed(path.read_text("utf-8")))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        for found in indented.finditer(ast.get_docstring(node) or "")
    ]
    assert wrong == []


# Modules without a test file of their own name, and the tests that hold them: most are a part of
# what their users see through one other module.
ELSEWHERE = {
    "cli/check": "test_doctor",
    "cli/findings": "test_doctor",
    "data/columns": "test_tables",
    "data/delimited": "test_formats",
    "data/options": "test_forms",
    "data/suspects": "test_tables",
    "data/word_encoder": "test_encoder",
    "equation": "test_rule",
    "explore/own": "test_explore",  # of the command line: it reads names
    "kernels/around": "test_translate",
    "kernels/cpu/addresses": "test_addresses",  # of optim: only torch's tensors have them
    "kernels/cpu/accumulate": "test_pass_table",
    "kernels/cpu/dense_rows": "test_progressive",  # of linear: a pass is what is compared
    "kernels/cpu/sweeps": "test_pass_table",
    "kernels/cpu/half": "test_half",  # of optim: torch rounds
    "kernels/cpu/loss": "test_losses",
    "kernels/cpu/moments": "test_columns",  # of linear: their moments are what is compared
    "kernels/cpu/products": "test_linear",
    "kernels/cpu/rows": "test_progressive",
    "kernels/cpu/sparse_rows": "test_progressive",
    "kernels/cpu/vector": "test_simd",
    "kernels/triton_functions": "test_triton",
    "kernels/triton_writer": "test_triton",
    "linear/base": "test_estimators",
    "linear/callbacks": "test_estimators",
    "linear/classifier": "test_estimators",
    "linear/examples": "test_linear",
    "linear/interior": "test_optimum",
    "linear/objective": "test_optimum",
    "linear/problem": "test_estimators",
    "linear/regressor": "test_estimators",
    "linear/stream": "test_linear",
    "linear/team": "test_linear",
    "linear/training": "test_linear",
    "optim/cuda": "test_cuda",  # runs where a GPU is
    "optim/cuda_passes": "test_triton_passes",
    "plots/legend": "test_descents",
    "progress": "test_live",
    "racing/export": "test_writers",
    "racing/parcel": "test_workers",
    "racing/raced": "test_workers",
    "racing/trial": "test_run",
    "racing/verdict": "test_run",
    "report/curves": "test_page",
    "report/record": "test_page",
    "stack/functional": "test_mapped",
    "stack/mixed_step": "test_matrix_step",
    "stack/measure": "test_modules",  # of tasks: a task is what is measured
    "stack/values": "test_lanes",
    "style": "test_pictures",
    "tasks/task": "test_linear",
    "words": "test_tables",
}
DOCTOR = "test_examination"  # holds every check: each is an experiment on a whole training


def test_a_test_is_found_by_the_name_of_its_module() -> None:
    found = {path.stem for path in TESTS.rglob("test_*.py")}
    modules = [path.relative_to(SOURCE).with_suffix("") for path in FILES.values()]
    lacking = {
        module.as_posix()
        for module in modules
        if not module.name.startswith("__")
        and not (TESTS / module.parent / f"test_{module.name}.py").is_file()
    }
    elsewhere = ELSEWHERE | {name: DOCTOR for name in lacking if name.startswith("doctor/")}
    assert lacking == elsewhere.keys()  # name a file for each, or say where its tests are
    assert found.issuperset(elsewhere.values())


def test_every_mutation_is_of_code_that_is_there_and_has_its_test() -> None:
    for mutation in MUTATIONS:
        assert (SOURCE / mutation.file).read_text("utf-8").count(mutation.old) == 1, mutation.name
        file, _, word = mutation.test.partition(" -k ")
        text = (ROOT / file).read_text("utf-8")
        assert re.search(rf"def test_\w*{word}", text), mutation.name
