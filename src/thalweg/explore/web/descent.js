// Descent: up to six rules on a landscape, from a start that one drags.

import { cards } from "./cards.js";
import { drawLandscape, landscape } from "./contours.js";
import { button, choice, code, element, rounded, shown, slider, story, wholeScale, zeroLogScale } from "./controls.js";
import { axes, clipped, figure, handle, line, scale } from "./draw.js";
import { chosen, firstProblem, problems } from "./generated.js";
import { descend, measuredRate } from "./run.js";
import { shaped, shapeLine } from "./shapes.js";
import { initial, number, numbers, oneOf, read, ruleList, ruleNamed, whole, written } from "./state.js";
import { hyperOf, isLinear, limit, linearize, noiseFloor, rate } from "./theory.js";

const named = Object.fromEntries(problems.map((problem) => [problem.name, problem]));
const MOST = 6;
const first = chosen.length
  ? chosen.map((name) => ({ name, hyper: {}, schedule: "constant" }))
  : [
    { name: "sgd", hyper: { lr: 0.4 }, schedule: "constant" },
    { name: "momentum", hyper: { lr: 0.4, beta: 0.5 }, schedule: "constant" },
    { name: "adam", hyper: { lr: 0.4 }, schedule: "constant" },
  ];
const fields = {
  problem: oneOf(firstProblem ?? "stretched_bowl", problems.map((problem) => problem.name)),
  start: numbers(named[firstProblem ?? "stretched_bowl"].start),
  rules: ruleList(first, MOST),
  steps: whole(60, 1, 5000),
  noise: number(0, 0, 100),
  batch: whole(0, 0, 1000),
  sampling: oneOf("shuffle", ["shuffle", "replacement", "sequential"]),
  seed: whole(0, 0, 1e9),
  at: whole(-1, -1, 5000), // -1: the end
  story: whole(-1, -1, 20), // -1: none of it
};

const one = (name, hyper) => ({ name, hyper, schedule: "constant" });
const VALLEY = { problem: "stretched_bowl", start: [-5, -2], steps: 60, noise: 0, batch: 0 };
const STORY = [
  {
    title: "A small rate creeps",
    text: "Each step goes straight downhill: the gradient times the rate. This valley is twenty times steeper across than along. With a rate of 0.05 the steep direction is done in a few steps, but along the valley there is hardly a slope, and sixty steps do not reach the bottom.",
    set: { ...VALLEY, rules: [one("sgd", { lr: 0.05 })] },
  },
  {
    title: "A larger rate is faster",
    text: "Eight times the rate is about eight times as fast along the valley. But look across: each step overshoots the floor and lands on the other slope. The path zigzags. It still shrinks, because each overshoot is smaller than the last.",
    set: { ...VALLEY, rules: [one("sgd", { lr: 0.4 })] },
  },
  {
    title: "Too large a rate diverges",
    text: "Above 2 divided by the steepest curvature (here 2/4 = 0.5) each overshoot is larger than the last, and the descent runs away. That is the limit: the steepest direction sets the rate, and the flattest one pays for it. Move the rate between 0.49 and 0.51 and watch.",
    set: { ...VALLEY, rules: [one("sgd", { lr: 0.51 })] },
  },
  {
    title: "Momentum remembers",
    text: "Momentum adds each gradient to a running sum and moves along the sum. Across the valley gradients change sign and cancel; along it they agree and add up. So the zigzag calms down while the slow direction speeds up. Momentum also stands a higher rate: its limit is (2 + 2β) divided by the curvature, 0.75 here.",
    set: { ...VALLEY, rules: [one("sgd", { lr: 0.4 }), one("momentum", { lr: 0.4, beta: 0.5 })] },
  },
  {
    title: "Too much memory swings",
    text: "With β = 0.95 the sum forgets slowly. The descent flies past the bottom and swings back like a marble in a bowl. The best memory lies between: long enough to average the zigzag out, short enough to stop. The Stability room shows where.",
    set: { ...VALLEY, rules: [one("momentum", { lr: 0.1, beta: 0.64 }), one("momentum", { lr: 0.1, beta: 0.95 })] },
  },
  {
    title: "A rate of its own for each direction",
    text: "Adam divides each coordinate by the size of its own gradients, so steep and flat directions move equally fast. That works as long as the valley lies along an axis. Choose the rotated bowl as the problem: now each coordinate mixes steep and flat, and the advantage is gone.",
    set: { ...VALLEY, rules: [one("sgd", { lr: 0.4 }), one("adam", { lr: 0.4 })] },
  },
  {
    title: "Noise and a falling rate",
    text: "With minibatches the gradient is noisy. At a constant rate the descent soon rattles about the bottom at a height that the rate sets (the dotted line). A rate that falls to 0 gets below it.",
    set: { ...VALLEY, steps: 400, noise: 1, rules: [one("sgd", { lr: 0.2 }), { name: "sgd", hyper: { lr: 0.2 }, schedule: "cosine" }] },
  },
];

export const descent = {
  name: "descent",
  title: "Descent",
  question: "How does a rule find its way down?",
  lead: "The picture is a landscape seen from above: dark is low, and each line is a height. A rule sees only the slope where it stands. Drag the ring to start elsewhere.",
  build,
};

function build(root, changed) {
  let state = initial(fields);
  let runs = [];
  let [playing, clock, background] = [false, 0, null];

  const map = figure("Paths over the landscape", (w) => Math.max(260, Math.min(0.66 * w, 560)), drawMap);
  const loss = figure("Loss by step", (w) => (w < 500 ? 210 : 240), drawLoss);
  const start = handle("Start of the descent: drag it, or press the arrow keys", (x, y) => {
    const view = frame();
    const at = [view.x.inverse(x), view.y.inverse(y)].slice(0, state.start.length);
    state.start = inside(at.map((v) => rounded(v, 4)));
    own();
    compute();
  });
  start.element.classList.add("start");
  map.element.append(start.element);

  const scrub = element("input", {
    type: "range", min: 0, max: state.steps, step: 1, "aria-label": "Step that is shown", class: "scrub",
    oninput: () => {
      stop();
      state.at = Number(scrub.value) === state.steps ? -1 : Number(scrub.value);
      redraw();
      changed();
    },
  });
  const play = button("Play", () => (playing ? stop() : begin()), { class: "play" });
  const forward = button("Step", () => {
    stop();
    const at = state.at < 0 ? state.steps : state.at;
    state.at = at >= state.steps ? 0 : at + 1;
    if (state.at === state.steps) state.at = -1;
    redraw();
    changed();
  });
  const count = element("output", { class: "value" });

  const problem = choice({
    label: "Problem", options: problems.map((each) => each.name), value: state.problem,
    names: Object.fromEntries(problems.map((each) => [each.name, each.name.replaceAll("_", " ")])),
    onchange: (name) => {
      state.problem = name;
      state.start = named[name].start.slice();
      state.batch = 0;
      own();
      sync();
      compute();
    },
  });
  const about = element("p", { class: "about" });
  const steps = slider({ label: "steps", scale: wholeScale(1, 5000), value: state.steps, format: String, oninput: (v) => {
    state.steps = v;
    state.at = -1;
    own();
    compute();
  } });
  const noise = slider({ label: "noise of the gradient", scale: zeroLogScale(0.01, 100), value: state.noise, oninput: (v) => {
    state.noise = v;
    own();
    compute();
  } });
  const batch = slider({ label: "batch size (0: all parts)", scale: wholeScale(0, 101), value: 0, format: (v) => (v ? String(v) : "all"), oninput: (v) => {
    state.batch = Math.min(v, named[state.problem].parts.length);
    own();
    compute();
  } });
  const sampling = choice({ label: "parts are drawn by", options: ["shuffle", "replacement", "sequential"], value: state.sampling, onchange: (v) => {
    state.sampling = v;
    own();
    compute();
  } });
  const reroll = button("Other random numbers", () => {
    state.seed += 1;
    own();
    compute();
  });
  const parts = element("div", {}, batch.element, sampling.element);
  const list = cards({
    most: MOST, color: (i) => i, schedules: true,
    onchange: () => {
      own();
      compute();
    },
    first: (given) => one(["adam", "momentum", "nesterov", "rmsprop", "lion", "adagrad"].find((name) => !given.some((each) => each.name === name)) ?? "sgd", { lr: 0.1 }),
  });
  const tale = story("A story in seven steps", STORY, (step) => {
    Object.assign(state, initial(fields), structuredClone(step.set));
    sync();
    compute();
    begin();
  });
  const text = code();

  root.append(
    tale.element,
    element("div", { class: "stage" },
      element("div", { class: "pictures" },
        map.element,
        element("div", { class: "transport" }, play, forward, scrub, count),
        loss.element),
      element("div", { class: "panel" },
        problem.element, about, list.element,
        element("details", { open: true }, element("summary", {}, "Steps and noise"), steps.element, noise.element, parts, reroll))),
    text.element,
  );

  function own() {
    tale.choose(-1, false);
  }

  function inside(at) {
    const { domain } = named[state.problem];
    return domain ? at.map((v, i) => Math.min(Math.max(v, domain[0][i]), domain[1][i])) : at;
  }

  function sync() {
    problem.set(state.problem);
    if (state.start.length !== named[state.problem].start.length) state.start = named[state.problem].start.slice();
    state.start = inside(state.start);
    list.set(state.rules);
    steps.set(state.steps);
    noise.set(state.noise);
    batch.set(state.batch);
    sampling.set(state.sampling);
  }

  function compute() {
    const where = named[state.problem];
    about.textContent = where.said;
    parts.hidden = !where.parts.length;
    reroll.hidden = !(state.noise || state.batch);
    state.batch = Math.min(state.batch, where.parts.length);
    state.at = Math.min(state.at, state.steps);
    runs = state.rules.map((entry) => {
      const rule = ruleNamed[entry.name];
      const hyper = hyperOf(rule, entry.hyper);
      const at = rule.hyper.indexOf("lr");
      const shape = at < 0 ? null : shaped(entry.schedule, hyper[at], state.steps);
      const run = descend(where, rule, {
        hyper, lr: shape, start: state.start, steps: state.steps, noise: state.noise, seed: state.seed,
        batchSize: state.batch, sampling: state.sampling,
      });
      return { ...run, rule, entry, hyper, ...predicted(where, rule, entry, hyper, shape, run) };
    });
    runs.forEach((run, i) => list.note(i, told(where, run)));
    text.set(pythonLines());
    redraw();
    changed();
  }

  function predicted(where, rule, entry, hyper, shape, run) {
    const exact = isLinear(rule) && !rule.theory.frozen.length && where.spectrum && where.spectrum[0] > 0;
    const made = { rate: NaN, limit: NaN, floor: NaN, measured: NaN };
    if (where.minimum !== null && !run.diverged && !state.noise && !state.batch) made.measured = measuredRate(run.f, where.minimum, run.steps);
    if (!exact || shape || rule.hyper.indexOf("lr") < 0) return made;
    const map_ = linearize(rule, hyper);
    made.rate = rate(map_, where.spectrum);
    made.limit = limit(rule, entry.hyper, where.spectrum.at(-1));
    if (state.noise && made.rate < 1) made.floor = where.spectrum.reduce((sum, each) => sum + noiseFloor(map_, each, state.noise ** 2), 0);
    return made;
  }

  function told(where, run) {
    const words = [];
    const height = run.f[run.steps] - (where.minimum ?? 0);
    if (run.diverged) words.push(`diverged: gone after ${run.diverged} steps`);
    else if (where.minimum !== null && height > 10 * (run.f[0] - where.minimum)) words.push(`diverges: ${shown(height)} above the minimum`);
    else if (where.minimum !== null) words.push(`${shown(Math.max(run.f[run.steps] - where.minimum, 0))} above the minimum`);
    else words.push(`f = ${shown(run.f[run.steps])}`);
    if (Number.isFinite(run.rate)) {
      words.push(`error per step × ${shown(run.rate, 4)} by theory${Number.isFinite(run.measured) ? `, × ${shown(run.measured, 4)} measured` : ""}`);
    } else if (Number.isFinite(run.measured) && run.measured < 1.2) words.push(`error per step × ${shown(run.measured, 4)} measured`);
    if (Number.isFinite(run.limit)) words.push(`its limit: lr ${shown(run.limit, 4)}`);
    return words.join(" · ");
  }

  function frame() {
    const [w, h] = map.size;
    let [low, high] = named[state.problem].view;
    if (low.length === 1) {
      const f = heightsOf(low[0], high[0]);
      return { x: scale([low[0], high[0]], [0, w]), y: scale([f.low, f.high], [h, 0]), low, high };
    }
    const ratio = (high[0] - low[0]) / (high[1] - low[1]) / (w / h); // the same unit in both directions, at best
    const grow = (i, by) => {
      const extra = ((high[i] - low[i]) * (by - 1)) / 2;
      [low, high] = [low.slice(), high.slice()];
      low[i] -= extra;
      high[i] += extra;
    };
    if (named[state.problem].spectrum) {
      if (ratio < 1) grow(0, 1 / ratio);
      else grow(1, ratio);
    }
    return { x: scale([low[0], high[0]], [0, w]), y: scale([low[1], high[1]], [h, 0]), low, high };
  }

  function heightsOf(a, b) {
    const f = Array.from({ length: 200 }, (_, i) => named[state.problem].value(a + ((b - a) * i) / 199));
    const [low, high] = [Math.min(...f), Math.max(...f)];
    return { low: low - 0.08 * (high - low), high: high + 0.08 * (high - low) };
  }

  function drawMap(c, w, h, colors) {
    const where = named[state.problem];
    const view = frame();
    const flat = where.start.length === 1;
    const key = [where.name, w, h, colors.paper].join();
    if (flat) curve(c, w, h, colors, view, where);
    else {
      if (background?.key !== key) background = { key, ...landscape(where, view.low, view.high, w, h, colors) };
      drawLandscape(c, background, w, h, colors);
    }
    const height = (x) => where.value(x);
    const at = (run, t) => (flat
      ? [view.x(run.path[t]), view.y(height(run.path[t]))]
      : [view.x(run.path[2 * t]), view.y(run.path[2 * t + 1])]);
    c.strokeStyle = colors.ink;
    c.lineWidth = 1.6;
    for (const point of where.minimizers) {
      const [px, py] = [view.x(point[0]), view.y(flat ? height(point[0]) : point[1])];
      c.beginPath();
      c.moveTo(px - 5, py - 5);
      c.lineTo(px + 5, py + 5);
      c.moveTo(px - 5, py + 5);
      c.lineTo(px + 5, py - 5);
      c.stroke();
    }
    const shownTo = state.at < 0 ? state.steps : state.at;
    runs.forEach((run, i) => {
      const last = Math.min(shownTo, run.steps);
      c.strokeStyle = c.fillStyle = colors.series[i];
      c.lineWidth = 2.2;
      if (!flat) line(c, last + 1, (t) => at(run, t)[0], (t) => at(run, t)[1], 4000);
      const every = Math.max(1, Math.ceil(last / 80));
      for (let t = 0; t <= last; t += every) dot(c, at(run, t), flat || last <= 80 ? 2.8 : 1.8);
      c.strokeStyle = colors.paper;
      c.lineWidth = 1.5;
      dot(c, at(run, last), 6);
      c.stroke();
    });
    const [px, py] = flat ? [view.x(state.start[0]), view.y(height(state.start[0]))] : [view.x(state.start[0]), view.y(state.start[1])];
    start.place(Math.min(Math.max(px, 0), w), Math.min(Math.max(py, 0), h));
    map.label(`${where.name.replaceAll("_", " ")}, ${runs.map((run) => `${run.rule.name}: ${told(where, run)}`).join("; ")}`);
  }

  function curve(c, w, h, colors, view, where) {
    c.strokeStyle = colors.muted;
    c.lineWidth = 1.5;
    line(c, w, (i) => i, (i) => view.y(where.value(view.x.inverse(i))));
    c.fillStyle = colors.muted;
    c.fillText("height f(x) by x", 10, 18);
  }

  function dot(c, [x, y], size) {
    if (!(Math.abs(x) < 1e5 && Math.abs(y) < 1e5)) return;
    c.beginPath();
    c.arc(x, y, size, 0, 2 * Math.PI);
    c.fill();
  }

  function drawLoss(c, w, h, colors) {
    const where = named[state.problem];
    const log = where.minimum !== null;
    const above = (v) => (log ? Math.max(v - where.minimum, 1e-300) : v);
    let [low, high] = [Infinity, -Infinity];
    for (const run of runs) {
      for (let t = 0; t <= run.steps; t += Math.max(1, Math.floor(run.steps / 400))) {
        const v = above(run.f[t]);
        if (Number.isFinite(v)) [low, high] = [Math.min(low, v), Math.max(high, v)];
      }
    }
    const top = above(runs[0].f[0]);
    if (log) [low, high] = [Math.max(low, 1e-14 * top, 1e-300) / 1.5, Math.min(high, 1e4 * top) * 1.5];
    else {
      high = Math.min(high, top + 3 * Math.abs(top) + 1);
      low = Math.max(low, top - 30 * Math.abs(top) - 10);
    }
    if (!(high > low)) [low, high] = log ? [0.1, 10] : [low - 1, low + 1];
    const box = [54, 26, w - 12, h - 40];
    const [sx, sy] = axes(c, colors, {
      box, x: [0, state.steps], y: [low, high], yLog: log, xLabel: "step",
      yLabel: log ? "height above the minimum, logarithmic" : "height f",
    });
    const shownTo = state.at < 0 ? state.steps : state.at;
    clipped(c, box, () => {
      runs.forEach((run, i) => {
        c.strokeStyle = colors.series[i];
        c.lineWidth = 2;
        c.globalAlpha = 0.3;
        line(c, run.steps + 1, sx, (t) => sy(above(run.f[t])));
        c.globalAlpha = 1;
        line(c, Math.min(shownTo, run.steps) + 1, sx, (t) => sy(above(run.f[t])));
        if (log && Number.isFinite(run.rate) && !state.noise && !state.batch) {
          c.setLineDash([5, 4]);
          c.lineWidth = 1.2;
          line(c, state.steps + 1, sx, (t) => sy(Math.max(top * run.rate ** (2 * t), 1e-300)));
          c.setLineDash([]);
        }
        if (log && Number.isFinite(run.floor)) {
          c.setLineDash([2, 4]);
          c.lineWidth = 1.5;
          c.beginPath();
          c.moveTo(box[0], sy(run.floor));
          c.lineTo(box[2], sy(run.floor));
          c.stroke();
          c.setLineDash([]);
        }
      });
      c.strokeStyle = colors.muted;
      c.lineWidth = 1;
      c.beginPath();
      c.moveTo(sx(shownTo), box[1]);
      c.lineTo(sx(shownTo), box[3]);
      c.stroke();
    });
    if (runs.some((run) => Number.isFinite(run.floor) || Number.isFinite(run.rate))) {
      c.fillStyle = colors.muted;
      c.textAlign = "right";
      c.fillText(state.noise ? "dotted: where theory puts the noise floor" : "dashed: as fast as theory says", w - 16, w < 500 ? box[1] + 14 : 17);
    }
  }

  function redraw() {
    scrub.max = state.steps;
    scrub.value = state.at < 0 ? state.steps : state.at;
    const at = state.at < 0 ? state.steps : state.at;
    scrub.setAttribute("aria-valuetext", `step ${at} of ${state.steps}`);
    count.textContent = `step ${at}`;
    map.redraw();
    loss.redraw();
  }

  function begin() {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    playing = true;
    play.textContent = "Pause";
    clock = state.at < 0 || state.at >= state.steps ? 0 : state.at;
    let last = performance.now();
    const speed = state.steps / Math.min(6, 1.5 + state.steps / 20); // steps per second
    const tick = (time) => {
      if (!playing) return;
      clock += ((time - last) / 1000) * speed;
      last = time;
      state.at = Math.min(Math.floor(clock), state.steps);
      if (state.at >= state.steps) {
        state.at = -1;
        stop();
      }
      redraw();
      if (playing) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  function stop() {
    playing = false;
    play.textContent = "Play";
  }

  function pythonLines() {
    const where = named[state.problem];
    const own_ = state.rules.map((entry) => ruleNamed[entry.name]).filter((rule) => rule.module);
    const imports = [...new Set(own_.map((rule) => `from ${rule.module} import ${rule.name}`))];
    const scheduled = state.rules.some((entry) => entry.schedule !== "constant");
    const common = [`steps=${state.steps}`];
    if (state.noise) common.push(`noise=${state.noise}`);
    if (state.batch && where.parts.length) common.push(`batch_size=${state.batch}`, `sampling="${state.sampling}"`);
    const lines = state.rules.map((entry) => {
      const rule = ruleNamed[entry.name];
      const given = rule.hyper.filter((name, i) => (entry.hyper[name] ?? rule.defaults[i]) !== rule.defaults[i] || (name === "lr" && entry.schedule !== "constant"));
      const values = given.map((name) => {
        const value = entry.hyper[name] ?? rule.defaults[rule.hyper.indexOf(name)];
        return `${name}=${name === "lr" ? shapeLine(entry.schedule, value, state.steps) : value}`;
      });
      return `    descend("${where.name}", ${rule.module ? rule.name : `"${rule.name}"`}, [${state.start.join(", ")}], ${[...common, ...values].join(", ")}),`;
    });
    return [
      `from thalweg import descend, plots${scheduled ? ", schedules" : ""}`, ...imports, "",
      "traces = [", ...lines, "]",
      "plots.paths(traces).figure.figure.savefig(\"paths.png\")",
      ...(state.noise || state.batch ? ["# Python draws other random numbers: the paths differ, their statistics do not."] : []),
    ].join("\n");
  }

  sync();
  compute();
  return {
    read(given) {
      state = read(fields, given);
      if (!given.includes("start=")) state.start = named[state.problem].start.slice();
      stop();
      sync();
      compute();
      tale.choose(state.story, false);
    },
    write: () => written(fields, { ...state, story: tale.at() }),
    show: (visible) => {
      if (!visible) stop();
    },
  };
}
