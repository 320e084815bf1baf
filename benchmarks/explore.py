"""Speed of the explorer's page: a descent of six rules, and a network that trains.

    python benchmarks/explore.py

Descent: six rules take 5,000 steps on Rosenbrock's function in Node.js; the least of 20 turns.
Network: frames per second of the room in headless Chromium, for ten seconds at 1,280 pixels, with
four rules on a net of widths 2-16-16-1; and the processor time of a frame. Both are what the
machine gives: the load beside it is printed.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import save, show
from thalweg import explore
from thalweg.explore import page

RULES = ("sgd", "momentum", "nesterov", "adam", "rmsprop", "lion")
SECONDS = 10

DESCENT = """
import { problems } from "./generated.js";
import { descend } from "./run.js";
import { ruleNamed } from "./state.js";
import { hyperOf } from "./theory.js";

const where = problems.find((problem) => problem.name === "rosenbrock");
const turns = Array.from({ length: 20 }, () => {
  const begin = performance.now();
  for (const name of RULES) {
    const hyper = hyperOf(ruleNamed[name], { lr: 1e-4 });
    descend(where, ruleNamed[name], {
      hyper, lr: null, start: where.start, steps: 5000, noise: 0, seed: 0, batchSize: 0,
    });
  }
  return performance.now() - begin;
});
console.log(JSON.stringify([Math.min(...turns), turns[0]]));
"""


def descent() -> tuple[float, float]:
    """Return the milliseconds of the fastest turn and of the first, which compiles."""
    folder = Path(tempfile.mkdtemp())
    (folder / "package.json").write_text('{"type": "module"}')
    for name, text in page.modules().items():
        (folder / f"{name}.js").write_text(text, "utf-8")
    (folder / "run_all.js").write_text(f"const RULES = {json.dumps(RULES)};\n{DESCENT}")
    node = shutil.which("node")
    assert node, "Node.js is not installed"
    done = subprocess.run([node, folder / "run_all.js"], capture_output=True, text=True, check=True)  # noqa: S603
    least, first = json.loads(done.stdout)
    return least, first


def network() -> tuple[float, float]:
    """Return frames per second, and milliseconds of processor time per frame."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the test group

    written = explore.write(Path(tempfile.mkdtemp()) / "explore.html")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(written.as_uri() + "#network")
        probe: Any = tab.context.new_cdp_session(tab)
        probe.send("Performance.enable", {"timeDomain": "threadTicks"})
        tab.click("#room-network .play")
        tab.wait_for_timeout(1000)

        def now() -> tuple[float, float, float]:
            found = {m["name"]: m["value"] for m in probe.send("Performance.getMetrics")["metrics"]}
            frames = tab.evaluate(
                "() => Number(document.querySelector('#room-network').dataset.frames)"
            )
            return time.perf_counter(), frames, found["TaskDuration"]

        begin = now()
        tab.wait_for_timeout(1000 * SECONDS)
        end = now()
        browser.close()
    frames = end[1] - begin[1]
    return frames / (end[0] - begin[0]), 1000 * (end[2] - begin[2]) / frames


def main() -> None:
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    least, first = descent()
    rate, busy = network()
    found = {
        "milliseconds of six rules, 5,000 steps": round(least, 1),
        "the same, first turn": round(first, 1),
        "frames per second of a network": round(rate, 1),
        "processor milliseconds per frame": round(busy, 1),
        "load per core when it began": round(load, 2),
    }
    save("explore", [found])
    show(
        "The explorer", ["what", "measured"], [[name, str(value)] for name, value in found.items()]
    )


if __name__ == "__main__":
    main()
