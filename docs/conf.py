"""The site: ``make docs`` builds it in docs/_build/html.

It needs no network: there is no intersphinx, and formulas are text, as in the docstrings.
"""

import os
import re
from importlib import metadata
from pathlib import Path

import matplotlib as mpl
from sphinx.application import Sphinx
from sphinx_gallery.sorting import ExplicitOrder

from thalweg.rule import Rule

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the examples are small

project = "thalweg"
author = "The thalweg developers"
release = metadata.version("thalweg")
html_title = "thalweg"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "sg_execution_times.rst", "**/sg_execution_times.rst"]
suppress_warnings = ["config.cache", "myst.header"]  # the gallery's settings hold functions

myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_typehints = "none"  # the docstrings say type, shape and range
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_sidebars = {"explorer": []}
html_theme_options = {
    "logo": {"text": "thalweg"},
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc", "sg_download_links"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_copy_source = False
copyright = "the thalweg developers, MIT licence"  # noqa: A001 - Sphinx calls it so

SECTIONS = ["batches", "schedules", "rules", "problems", "theory", "failures", "choosing"]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "subsection_order": ExplicitOrder([f"../examples/{name}" for name in SECTIONS]),
    "within_subsection_order": "FileNameSortKey",
    "filename_pattern": r"/(" + "|".join(SECTIONS) + ")/",  # those at the root race for minutes
    "abort_on_example_error": True,
    "capture_repr": (),
    "default_thumb_file": str(Path(__file__).with_name("page.png")),  # of what is not run here
    "first_notebook_cell": "%matplotlib inline",
    "min_reported_time": 5,
    "plot_gallery": True,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
}


def plain(
    _: Sphinx, _what: str, _name: str, documented: object, _options: object, lines: list[str]
) -> None:
    """Let a docstring's text be read as it stands: x*, |g| and y_ are no markup there.

    A rule's source is added to what it says of itself.
    """
    for number, line in enumerate(lines):
        if not re.match(r"\s*(>>>|\.\.\. )", line):
            parts = re.split(r"(``.*?``)", line)
            parts[::2] = [re.sub(r"([*|]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
            lines[number] = "".join(parts)
    if isinstance(documented, Rule):
        lines += ["", f"Source: {documented.source}."]


def included(_: Sphinx, _path: object, _parent: str, content: list[str]) -> None:
    """Lead links of the README and its like to where the site has what they name."""
    text = re.sub(r"\]\((CONTRIBUTING|CHANGELOG)(?=\.md\))", _page, content[0])
    text = re.sub(r"\]\(examples/([\w/]+)\.py\)", r"](docs/gallery/\1.rst)", text)
    content[0] = text.replace("](examples)", "](docs/gallery/index.rst)")


def _page(found: re.Match[str]) -> str:
    return f"](docs/{found[1].lower()}"


def explorer(app: Sphinx, error: Exception | None) -> None:
    """Write the explorer beside the page that shows it."""
    if error is None and app.builder.name == "html":
        from thalweg import explore  # noqa: PLC0415 - nothing else here needs it

        explore.write(Path(app.outdir) / "explore.html")


def setup(app: Sphinx) -> None:
    """Prepare what is run and read while the site is built."""
    mpl.use("agg")
    app.connect("autodoc-process-docstring", plain, priority=400)  # before napoleon
    app.connect("include-read", included)
    app.connect("build-finished", explorer)
