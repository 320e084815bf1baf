import ast
import re
from pathlib import Path

from thalweg.doctor.causes import CAUSES


def test_every_cure_is_code_that_python_can_parse() -> None:
    for slug, cause in CAUSES.items():
        code = cause.code.replace("return ", "value = ")
        assert ast.parse(code), slug
        assert all(len(line) <= 100 for line in code.splitlines()), slug


def test_every_cause_says_what_it_is_in_sentences() -> None:
    for slug, cause in CAUSES.items():
        assert cause.sentence.endswith("."), slug
        assert cause.cure.endswith("."), slug
        assert re.fullmatch(r"[A-H]\d+", cause.row), slug


def test_every_cause_that_the_package_names_is_in_the_table() -> None:
    folder = Path(__file__).parents[2] / "src/thalweg/doctor"
    for path in folder.rglob("*.py"):
        for slug in re.findall(r"Finding\(\s*\"(\w+)\"", path.read_text()):
            assert slug in CAUSES, f"{path.name} names {slug}"
