"""Check every link within the built site: pages, anchors, pictures, styles and scripts.

python docs/links.py docs/_build/html
"""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links and anchors."""
        found = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := found.get(name))}
        self.links += [value for name in ("href", "src") if (value := found.get(name))]


def broken(site: Path) -> Iterator[str]:
    """Yield each link of the site that leads nowhere; those to other hosts are not tried."""
    written = (page for page in site.rglob("*.html") if "_static" not in page.parts)
    pages = {page: Page(page.read_text(encoding="utf-8")) for page in written}
    for page, content in pages.items():
        for link in content.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if target.is_dir():
                target /= "index.html"
            anchors = pages[target].anchors if target in pages else set()
            plain = not parts.fragment or target not in pages
            if not target.exists() or not (plain or unquote(parts.fragment) in anchors):
                yield f"{page.relative_to(site)}: {link}"


if __name__ == "__main__":
    found = sorted(set(broken(Path(sys.argv[1]).resolve())))
    sys.exit("\n".join(["links that lead nowhere:", *found]) if found else None)
