"""``import thalweg`` costs nothing but itself, and everything public is there when asked for."""

import subprocess
import sys
from types import ModuleType

import pytest

import thalweg

HEAVY = ("torch", "numba", "matplotlib", "scipy", "sklearn", "pyarrow", "rich", "jinja2")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*(name.partition('.')[0] for name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    assert not loaded_by("import thalweg").intersection((*HEAVY, "numpy"))


def test_rules_load_numpy_alone() -> None:
    asking = "import thalweg; thalweg.rules.get('cautious(sgd)'); import thalweg.catalog"
    assert not loaded_by(asking).intersection(HEAVY)


def test_kernels_load_numba_when_one_is_compiled() -> None:
    statement = "from thalweg.kernels import triton; triton.source('adam')"
    assert not loaded_by(statement).intersection(HEAVY)
    assert "numba" in loaded_by("from thalweg.kernels import Step")


def test_command_line_loads_nothing_heavy() -> None:
    assert not loaded_by("import thalweg.cli").intersection({*HEAVY, "numpy"} - {"rich"})


def test_help_loads_nothing_heavy() -> None:
    loaded = loaded_by("import thalweg.cli; thalweg.cli.main(['race', '--help'])")
    assert not loaded.intersection({*HEAVY, "numpy"} - {"rich"})


@pytest.mark.parametrize("name", thalweg.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert name in dir(thalweg)
    assert getattr(thalweg, name) is getattr(thalweg, name)


@pytest.mark.parametrize("package", [thalweg.doctor, thalweg.kernels, thalweg.linear])
def test_what_is_imported_late_is_listed_early(package: ModuleType) -> None:
    assert dir(package) == sorted(package.__all__)


def test_functions_are_functions_and_modules_are_modules() -> None:
    assert callable(thalweg.race)
    assert callable(thalweg.descend)
    assert "adam" in thalweg.rules.names()


def test_version_is_the_packages() -> None:
    from importlib.metadata import version  # noqa: PLC0415 - the oracle

    assert thalweg.__version__ == version("thalweg")


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'thalweg' has no attribute 'nope'"):
        _ = thalweg.nope
