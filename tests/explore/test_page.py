"""The page as a file: what it holds, what may not get out of it, and what it replaces."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from thalweg import explore
from thalweg.elementwise import sign
from thalweg.rule import Rule, rule


def test_the_page_is_one_small_file_without_network(explorer: Path) -> None:
    text = explorer.read_text("utf-8")
    assert len(text.encode()) < 400_000
    assert not re.search(r"""(?:src|href)\s*=\s*["']|@import|url\(""", text)
    policy = re.search(r'Policy" content="([^"]*)"', text)
    assert policy
    assert policy[1].startswith("default-src 'none'; base-uri 'none'; form-action 'none'; ")
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]


def hostile() -> Rule:
    @rule("</script><img src=x onerror=alert(1)><!--")
    def signum(g, x, m, *, t, lr=1e-2, beta=0.9):  # noqa: ANN001, ANN202
        """</style><script>alert(2)</script> ${alert(3)} `+alert(4)+`."""
        m = beta * m + (1 - beta) * g
        return x - lr * sign(m), m

    return signum


def test_no_text_of_a_rule_can_become_markup_or_code(tmp_path: Path) -> None:
    homes = {"signum": '</script>"; alert(5); "'}
    page = explore.write(tmp_path / "page.html", [hostile()], homes=homes)
    text = page.read_text("utf-8")
    assert text.count("<script") == text.count("</script>") == 1
    assert "<img" not in text
    assert text.index("</script>") > text.index("signum")


def test_a_page_of_ours_is_replaced_and_another_file_never(tmp_path: Path) -> None:
    page = explore.write(tmp_path / "page.html", ["lion"])
    assert explore.write(page, ["adam"], "rosenbrock") == page
    assert 'chosen = ["adam"]' in page.read_text("utf-8")
    page.write_text("mine")
    with pytest.raises(FileExistsError, match="thalweg did not make it"):
        explore.write(page)
    assert page.read_text() == "mine"
