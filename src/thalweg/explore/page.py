"""Page: the explorer's modules and what Python wrote, as one self-contained file."""

import base64
import hashlib
import html
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

from thalweg import files, problems, rules, schedules
from thalweg.explore import sources
from thalweg.kernels.javascript import POWERS, text
from thalweg.rule import Rule

__all__ = ["check", "modules", "write"]

_MARK = b"<!-- a page of thalweg explore -->"
_WEB = Path(__file__).parent / "web"
_MOST_RULES = 6  # that are drawn at once
_IMPORT = re.compile(r'import \{([^}]*)\} from "\./([\w-]+)\.js";\n')
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|const|let|class) (\w+))", re.MULTILINE)
_SCHEDULES = [
    name for name in schedules.__all__ if name not in {"Schedule", "values", "warmup"}
]  # `warmup` goes before any of them


def check(path: str | os.PathLike[str]) -> None:
    """Raise FileExistsError where a file that is no explorer is in the way."""
    files.check_replaceable(path, _MARK)


def write(
    path: str | os.PathLike[str],
    chosen: Sequence[Rule | str] = (),
    problem: str | None = None,
    homes: Mapping[str, str] | None = None,
) -> Path:
    """Write the explorer; it needs no font and makes no request.

    Args:
        path: of the page, such as ``explore.html``; an explorer that is there is replaced.
        chosen: the rules that it begins with, at most six; sgd, momentum and adam by default.
        problem: the problem that it begins with; one of the page's by default.
        homes: of the user's own rules, the module that each is imported from.

    Raises:
        FileExistsError: another file is in its place; it stays.
        OSError: it cannot be written.
        ValueError: a name is unknown, a rule cannot be translated (with its line), as one that
            looks at whole tensors, or there are more than six.

    Example:
        >>> import tempfile
        >>> write(Path(tempfile.mkdtemp()) / "explore.html", ["lion"]).name
        'explore.html'
    """
    check(path)
    texts = modules(chosen, problem, homes or {})
    script, style = _bundle(texts), (_WEB / "look.css").read_text("utf-8")
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src '{_digest(script)}'; style-src '{_digest(style)}'"
    )
    page = (_WEB / "page.html").read_text("utf-8")
    parts = {"policy": html.escape(policy, quote=False), "style": style, "script": script}
    page = re.sub(r"\{\{ (\w+) \}\}", lambda name: parts[name[1]], page)
    return files.write(path, page.encode(), _MARK)


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def modules(
    chosen: Sequence[Rule | str] = (), problem: str | None = None, homes: Mapping[str, str] = {}
) -> dict[str, str]:
    """Return the text of each of the page's modules by its name; see ``write``."""
    selected = [rules.get(rule) for rule in chosen]
    if len(selected) > _MOST_RULES:
        raise ValueError(f"rules must name at most {_MOST_RULES} rules, got {len(selected)}")
    first = problems.get(problem).name if problem else None
    found = {path.stem: path.read_text("utf-8") for path in sorted(_WEB.glob("*.js"))}
    found["powers"] = POWERS.read_text("utf-8")
    found["generated"] = _generated(selected, first, homes)
    return found


def _generated(chosen: Sequence[Rule], problem: str | None, homes: Mapping[str, str]) -> str:
    """Return the module that Python writes."""
    known = {rule.name: rule for rule in map(rules.get, rules.names("element-wise"))}
    known = {name: rule for name, rule in known.items() if rule.built_in}
    known |= {rule.name: rule for rule in chosen}
    written = {
        "rules": [sources.rule_source(rule, homes.get(rule.name)) for rule in known.values()],
        "problems": map(sources.problem_source, problems.names()),
        "schedules": map(sources.schedule_source, _SCHEDULES),
    }
    lists = [_list(name, each) for name, each in written.items()]
    return "\n".join(
        [
            'import { exp, log, modulo, power, quotient } from "./powers.js";',
            "",
            *lists,
            f"export const share = {sources.share_source()};",
            f"export const sets = {text(list(map(sources.data_source, _sets())))};",
            f"export const chosen = {text([rule.name for rule in chosen])};",
            f"export const firstProblem = {text(problem)};",
            "",
        ]
    )


def _list(name: str, written: Iterable[str]) -> str:
    """Return a list. What is no rule calls the browser's own functions, which are faster."""
    entries = ",\n".join(written)
    if name == "rules":
        return f"export const {name} = [\n{entries}\n];"
    own = "(Math.exp, Math.log, Math.pow)"
    return f"export const {name} = ((exp, log, power) => [\n{entries}\n]){own};"


def _sets() -> list[str]:
    """Return the data sets of the page: airfoil is among them where it is on this machine."""
    from thalweg.data import named  # noqa: PLC0415 - scikit-learn takes its time to load

    return ["diabetes", *(["airfoil"] if named.airfoil_here() else [])]


def _bundle(texts: Mapping[str, str]) -> str:
    """Return one script of all modules, each in a function of its own, after those it imports."""
    needs = {name: {match[2] for match in _IMPORT.finditer(t)} for name, t in texts.items()}
    order = [name for name in TopologicalSorter(needs).static_order() if name in texts]
    return "\n".join(['"use strict";', *(_wrapped(name, texts[name]) for name in order)])


def _wrapped(name: str, content: str) -> str:
    exports = _EXPORT.findall(content)
    body = _EXPORT.sub("", content)
    body = _IMPORT.sub(
        lambda match: f"const {{{match[1].replace(' as ', ': ')}}} = ${match[2]};\n", body
    )
    result = f"return {{ {', '.join(exports)} }};" if exports else ""
    return f"const ${name} = (() => {{\n{body}{result}\n}})();"
