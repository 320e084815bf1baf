"""The explorer in a real browser: what a reader touches, sees and shares."""

import contextlib
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import sync_playwright

from explore.test_page import hostile
from thalweg import explore

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
ROOMS = ("descent", "stability", "schedules", "network", "batches")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def opened(browser: Any, explorer: Path) -> Iterator[Any]:
    """A function that opens the page. At the end nothing may have gone wrong in any."""
    faults: list[str] = []
    contexts = []

    def open_(
        hash_: str = "", width: int = 1280, scheme: str = "light", page: Path = explorer
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda said: faults.append(said.text) if said.type != "log" else None)
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        tab.on(
            "request",
            lambda asked: None if asked.url.startswith("file:") else faults.append(asked.url),
        )
        tab.goto(page.as_uri() + hash_)
        tab.wait_for_selector("html[data-ready]")
        return tab

    yield open_
    for context in contexts:
        context.close()
    assert faults == []


def go(tab: Any, hash_: str) -> None:
    """Change the address of a page that is open, as a link in it does."""
    tab.evaluate("(hash) => { location.hash = hash; }", hash_)
    drawn(tab)


def drawn(tab: Any) -> None:
    """Wait until what was asked for is drawn, which happens once a frame."""
    frame = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    tab.evaluate(f"() => {frame}")


def shows(tab: Any, selector: str, text: str) -> None:
    """Wait until the first such element has the text; ``expect`` would look once a second."""
    found = "([selector, text]) => document.querySelector(selector)?.innerText.match(text)"
    tab.wait_for_function(found, arg=[selector, text], timeout=20_000)


def address(tab: Any) -> str:
    tab.wait_for_timeout(200)  # it is written when the reader rests
    return str(tab.evaluate("location.hash"))


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_every_room_is_whole_named_and_readable(opened: Any, width: int, scheme: str) -> None:
    tab = opened(width=width, scheme=scheme)
    tab.evaluate(Path(AXE_FILE_PATH).read_text("utf-8") + "; 0")
    for room in ROOMS:
        tab.click(f"#tab-{room}")
        drawn(tab)
        assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, room
        assert tab.locator(f"#room-{room} .code code").inner_text(), room
        for canvas in tab.locator(f"#room-{room} canvas:visible").all():
            ink = (
                "(c) => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
            )
            assert canvas.evaluate(ink) > 4, canvas.get_attribute("aria-label")
        if scheme == "dark" and room not in {"descent", "network"}:
            continue  # the colours are the same in all
        part = "document" if room == "descent" else f"'#room-{room}'"  # what is around is the same
        found = tab.evaluate(f"axe.run({part}).then((r) => r.violations)")
        told = [(each["id"], node["html"][:120]) for each in found for node in each["nodes"]]
        assert told == [], room


def test_the_start_is_dragged_and_moved_by_keys_and_the_link_shows_the_same(opened: Any) -> None:
    tab = opened()
    ring = tab.locator(".handle.start")
    box = ring.bounding_box()
    tab.mouse.move(box["x"] + 22, box["y"] + 22)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 122, box["y"] - 38, steps=4)
    tab.mouse.up()
    drawn(tab)
    moved = ring.bounding_box()
    assert moved["x"] - box["x"] == pytest.approx(100, abs=3)
    assert moved["y"] - box["y"] == pytest.approx(-60, abs=3)
    ring.press("ArrowRight")
    drawn(tab)
    assert ring.bounding_box()["x"] - moved["x"] == pytest.approx(4, abs=1)
    tab.locator("#room-descent .card").first.locator("input[type=range]").first.focus()
    tab.keyboard.press("ArrowRight")
    tab.select_option("#room-descent .panel > .choice select", "stretched_bowl")
    ring.press("ArrowDown")
    link, code = address(tab), tab.locator("#room-descent code").inner_text()
    assert "start=" in link
    other = opened(link)
    assert other.locator("#room-descent code").inner_text() == code
    assert "[-5, -2]" not in code


def test_a_rate_above_the_limit_is_told_and_a_story_shows_it(opened: Any) -> None:
    tab = opened("#descent&rules=sgd;lr:0.51&steps=2000")
    assert "diverges" in tab.locator("#room-descent .note").inner_text()
    go(tab, "#descent&rules=sgd;lr:0.4")
    note = tab.locator("#room-descent .note").inner_text()
    assert "× 0.92 by theory, × 0.92 measured" in note
    assert "its limit: lr 0.5" in note
    tab.click("#room-descent .step >> nth=3")
    assert "cancel" in tab.locator("#room-descent .said").inner_text()
    assert "momentum;lr:0.4;beta:0.5" in address(tab)


def test_it_plays_and_stops_at_the_end(opened: Any) -> None:
    tab = opened("#descent&steps=20&at=16")
    assert tab.locator("#room-descent .transport output").inner_text() == "step 16"
    tab.click("#room-descent .transport button >> nth=1")
    assert tab.locator("#room-descent .transport output").inner_text() == "step 17"
    tab.emulate_media(reduced_motion="no-preference")
    tab.click("#room-descent .play")
    shows(tab, "#room-descent .transport output", "^step 20$")
    assert tab.locator("#room-descent .play").inner_text() == "Play"


def test_the_map_goes_to_the_best_and_the_edge_moves_with_the_curvature(opened: Any) -> None:
    tab = opened("#stability")
    tab.click("text=Go to the best")
    assert "lr=0.6679, beta=0.4026" in tab.locator("#room-stability code").inner_text()
    told = tab.locator("#room-stability .panel > .note")
    assert "× 0.63" in told.inner_text()
    tab.locator(".handle.small").nth(1).press("Shift+ArrowRight")  # steeper: the limit falls
    assert "diverges" in told.inner_text()


def printed(tab: Any, room: str) -> list[str]:
    """What the Python of a room prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(tab.locator(f"#room-{room} code").inner_text(), {})  # noqa: S102 - that is its use
    return out.getvalue().split()


@pytest.mark.usefixtures("one_thread")
def test_the_python_of_a_room_does_what_the_room_shows(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # pictures are written there
    given = "sgd;lr:0.02;batch:4;draws:replacement"
    lists = f"{given};data:few,{given};data:stream,sgd;lr:0.01;batch:442;data:copies"
    tab = opened(f"#batches&epochs=40&by=examples&list={lists}")
    notes = tab.locator("#room-batches .note").all_inner_texts()
    shown = [float(re.search(r"ends ([\d.]+) above", note)[1]) for note in notes]
    few, stream, copies = map(float, printed(tab, "batches"))
    assert 1 / 3 < few / shown[0] < 3  # other draws
    assert 1 / 3 < stream / shown[1] < 3
    assert few > 3 * stream
    assert copies == pytest.approx(shown[2], rel=0.02)
    go(tab, "#descent")
    options = tab.locator("#room-descent .card").first.locator("select").nth(1).locator("option")
    shapes = [each.get_attribute("value") for each in options.all()]
    assert len(shapes) == 13
    for some in (shapes[1:7], shapes[7:]):
        rules = ",".join(f"sgd;lr:0.3;schedule:{shape}" for shape in some)
        go(tab, f"#descent&steps=20&rules={rules}")
        notes = tab.locator("#room-descent .note").all_inner_texts()
        code = tab.locator("#room-descent code").inner_text()
        made: dict[str, Any] = {}
        exec(code, made)  # noqa: S102 - that is its use
        for shape, note, trace in zip(some, notes, made["traces"], strict=True):
            height = re.match("([^ ]+) above", note)
            assert height, shape
            assert float(height[1]) == pytest.approx(trace.f[-1], rel=0.01), shape
    assert (tmp_path / "paths.png").stat().st_size > 1000
    go(tab, "#stability&rule=momentum&lr=0.4")
    assert float(printed(tab, "stability")[1]) == pytest.approx(0.75)  # (2 + 2 · 0.5) / 4
    go(tab, "#network&set=circles&noise=0&rules=momentum;lr:0.3&step=300")
    shows(tab, "#room-network .transport output", "^step 300,")
    name, loss, test = printed(tab, "network")
    assert name == "momentum"
    assert max(float(loss), float(test)) < 0.3
    assert "loss 0.0" in tab.locator("#room-network figure .note").inner_text()


def test_a_cure_helps_and_a_link_shows_the_story_the_preset_and_the_step(opened: Any) -> None:
    tab = opened("#stability")
    tab.click("#room-stability .step >> nth=1")
    tab.click("#tab-network")
    tab.click("text=All weights alike")
    shows(tab, "#room-network figure .note", r"loss 0\.69")
    tab.click("text=Start with random weights")
    tab.click("#room-network .play")
    link, count = address(tab), tab.locator("#room-network .transport output").inner_text()
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.click("text=Copy link")
    shows(tab, ".copy-link", "^Copied$")
    assert tab.evaluate("navigator.clipboard.readText()").endswith(link)
    other = opened(link)
    shows(other, "#room-network .transport output", f"^{re.escape(count)}$")
    assert other.locator("#room-network .verdict.cured").inner_text().startswith("Started at zero")
    note = "#room-network figure .note >> nth=0"
    assert other.locator(note).inner_text() == tab.locator(note).inner_text()
    tab.click("#room-network .play")
    shows(tab, "#room-network figure .note", r"loss 0\.[0-4]")
    other.evaluate("location.hash = '#stability&story=1'")
    shows(other, "#room-stability .said", "flat in others")


ADDRESSES = [
    "#descent&rules=__proto__;lr:1,constructor&problem=toString&start=NaN_1&steps=-5&at=99999",
    "#network&widths=1e9_-3&rules=adam;lr:-1;beta1:2&batch=abc&preset=20&cured=9&step=1e99&seed=%",
    "#stability&rule=<img src=x onerror=alert(1)>&low=9&high=0.1&lr=1e99&story=20",
    "#schedules&list=cosine;steps:-4;initial:1e400,nothing;x:1&steps=1e9",
    "#batches&list=sgd;lr:1;batch:99999;draws:x;data:hasOwnProperty&epochs=0&set=x",
    "#nowhere&a=1",
]


def test_an_address_from_anyone_does_no_harm(opened: Any) -> None:
    tab = opened(ADDRESSES[0])
    for hash_ in ADDRESSES:
        go(tab, hash_)
        room = hash_[1:].partition("&")[0].replace("nowhere", "descent")
        assert tab.locator(f"#room-{room}:visible h1").count() == 1
        assert tab.locator("img").count() == 0


def test_a_hostile_rule_is_only_text(opened: Any, tmp_path: Path) -> None:
    page = explore.write(tmp_path / "page.html", [hostile()], "rosenbrock")
    tab = opened(page=page)
    tab.click("#room-descent summary >> nth=0")
    assert (
        "</style><script>alert(2)</script>"
        in tab.locator("#room-descent .about").nth(1).inner_text()
    )
    assert tab.locator("img").count() == 0
    assert "signum" in tab.locator("#room-descent code").inner_text()
