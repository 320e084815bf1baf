"""What docs/theory.md says is what happens."""

import doctest
import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "theory.md"


def test_every_example_of_the_page_is_true() -> None:
    blocks = re.findall(r"```pycon\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, PAGE.name, str(PAGE), 0)
    assert len(test.examples) > 20
    assert not doctest.DocTestRunner().run(test).failed


def test_every_picture_of_the_page_is_there_and_made_by_the_script() -> None:
    script = (PAGE.parent / "pictures.py").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^]]+\]\((.+?)\)", PAGE.read_text(encoding="utf-8"))
    assert len(pictures) > 5
    for picture in pictures:
        assert (PAGE.parent / picture).exists()
        assert f'"{picture}"' in script
