// Network: a small net on points in the plane, trained by up to four rules from one start on the same minibatches.

import { cards } from "./cards.js";
import { button, choice, code, element, linearScale, shown, slider, wholeScale } from "./controls.js";
import { axes, clipped, figure, line, rgb } from "./draw.js";
import {
  ACTIVATIONS, FACTORS, PLACES, SETS, forward, gradient, layerNorms, lossOf, network as made, points, sharpen, start, workspace,
} from "./mlp.js";
import { batches, generator, normal } from "./random.js";
import { first } from "./run.js";
import { initial, number, numbers, oneOf, read, ruleList, ruleNamed, whole, written } from "./state.js";
import { hyperOf, isLinear, limit, linearize } from "./theory.js";

const MOST = 4;
const ROWS = 200; // of the test set
const GRID = 40; // of a decision surface
const STARTS = Object.keys(FACTORS);
const one = (name, hyper = {}) => ({ name, hyper, schedule: "constant" });
const fields = {
  set: oneOf("moons", SETS),
  rows: whole(120, 8, 400),
  noise: number(0.1, 0, 0.5),
  flip: number(0, 0, 0.4),
  copies: whole(1, 1, 10),
  widths: numbers([16, 16]),
  activation: oneOf("tanh", ACTIVATIONS),
  start: oneOf("usual", STARTS),
  batch: whole(20, 1, 4000),
  rules: ruleList([one("sgd", { lr: 0.3 }), one("momentum", { lr: 0.1, beta: 0.9 }), one("adam", { lr: 0.01 }), one("lion", { lr: 0.003 })], MOST),
  seed: whole(1, 0, 1e9),
  preset: whole(-1, -1, 20), // -1: none
  cured: whole(0, 0, 1),
  step: whole(0, 0, 100_000), // to which it is trained
};

const BASE = { set: "moons", rows: 120, noise: 0.1, flip: 0, copies: 1, widths: [16, 16], activation: "tanh", start: "usual", batch: 20, seed: 1 };
const CASES = [
  {
    title: "Edge of stability",
    set: { ...BASE, batch: 400, rules: [one("sgd", { lr: 0.5 }), one("sgd", { lr: 2 }), one("momentum", { lr: 0.1, beta: 0.9 })] },
    what: "Whole batches, three rates. Watch the sharpness: training lets it rise until it meets the rule's own limit (the line at 1), and then it stays there. A larger rate meets a lower limit, so it ends in a flatter place. The limit you met in the Stability room is not a wall that ends training; it is where training lives.",
  },
  {
    title: "Rate too high",
    set: { ...BASE, rules: [one("sgd", { lr: 20 }), one("adam", { lr: 1 })] },
    what: "The loss jumps and never settles: each step overshoots by more than it gains. In the end the units are driven so far out that they saturate, and the first layers get hardly any gradient.",
    cure: "Divide the rate by a hundred", fix: { rules: [one("sgd", { lr: 0.2 }), one("adam", { lr: 0.01 })] },
  },
  {
    title: "Sigmoids saturate",
    set: { ...BASE, widths: [8, 8, 8, 8, 8, 8], activation: "sigmoid", rules: [one("sgd", { lr: 0.3 }), one("momentum", { lr: 0.1, beta: 0.9 })] },
    what: "The slope of a sigmoid is at most a quarter, so each layer passes on a fraction of the gradient. Look at the gradient by layer: from the last to the first it falls to a thousandth and less. The loss stays at log 2 = 0.69, as if the net tossed a coin.",
    cure: "Take tanh instead", fix: { activation: "tanh" },
  },
  {
    title: "Dead ReLUs",
    set: { ...BASE, activation: "relu", widths: [8, 8], rules: [one("sgd", { lr: 12 }), one("momentum", { lr: 3, beta: 0.9 })] },
    what: "One step too large pushes the units so far down that they are 0 on every example. Their slope is 0 there as well, so nothing brings them back: the gradient of the hidden layers is 0, and the surface is flat.",
    cure: "A smaller rate from the start", fix: { rules: [one("sgd", { lr: 0.2 }), one("momentum", { lr: 0.05, beta: 0.9 })] },
  },
  {
    title: "All weights alike",
    set: { ...BASE, start: "zero", rules: [one("sgd", { lr: 0.3 }), one("adam", { lr: 0.01 })] },
    what: "Started at zero, all units of a layer get the same gradient, for ever. The net is as good as one unit wide, and here not even that: the loss stays at log 2.",
    cure: "Start with random weights", fix: { start: "usual" },
  },
  {
    title: "Weights too large",
    set: { ...BASE, start: "large", rules: [one("sgd", { lr: 0.3 }), one("adam", { lr: 0.01 })] },
    what: "With weights four times the usual size nearly every tanh sits at −1 or 1 from the start. The first surface is a patchwork, and the loss begins at 1.6, worse than a coin, which has 0.69.",
    cure: "Scale the start by the width", fix: { start: "usual" },
  },
  {
    title: "Overfit",
    set: { ...BASE, rows: 24, noise: 0.3, flip: 0.15, batch: 24, widths: [32, 32], rules: [one("momentum", { lr: 0.1, beta: 0.9 }), one("adam", { lr: 0.02 })] },
    what: "Twenty-four noisy examples and more than a thousand weights. The training loss goes to 0 while the test loss (dashed) turns and rises: the net learns the noise by heart, and draws islands about single points.",
    cure: "Ten times the data", fix: { rows: 240, batch: 24 },
  },
  {
    title: "Duplicated rows",
    set: { ...BASE, rows: 24, copies: 10, noise: 0.25, batch: 24, rules: [one("momentum", { lr: 0.1, beta: 0.9 }), one("adam", { lr: 0.02 })] },
    what: "Each example is there ten times. An epoch is ten times as long, and it looks as if training were fast by epochs, but the net knows no more than from the 24 examples it has: the test loss is theirs.",
    cure: "As many rows, all different", fix: { rows: 240, copies: 1 },
  },
];

export const network = {
  name: "network",
  title: "Network",
  question: "What happens in a network while it learns?",
  lead: "Up to four rules train the same small network from the same start on the same minibatches. Colours are what the net believes; dots are the examples.",
  build,
};

function build(root, changed) {
  let state = initial(fields);
  let [data, test, net, lanes, space, drawn, step, timer] = [null, null, null, [], null, null, 0, 0];
  let [running, visible, turn, fresh, goal] = [false, false, 0, [], Infinity];
  const g = { array: null };

  const surfaces = element("div", { class: "surfaces" });
  const loss = figure("Loss by step", 250, drawLoss);
  const sharp = figure("Sharpness over the rule's limit by step", 250, drawSharp);
  const norms = figure("Gradient of each layer", 190, drawNorms);
  const play = button("Train", () => (running ? pause() : go()), { class: "play" });
  const again = button("Start over", () => reset());
  const once = button("One step", () => {
    pause();
    advance(1);
    settled();
  });
  const count = element("output", { class: "value" });
  const about = element("div", { class: "verdict", role: "status", hidden: true });
  const presets = CASES.map((each) => button(each.title, () => take(each), { class: "preset", "aria-pressed": "false" }));

  const set = (name) => (v) => {
    state[name] = v;
    unnamed();
    reset();
  };
  const controls = {
    set: choice({ label: "Examples", options: SETS, value: state.set, onchange: set("set") }),
    activation: choice({ label: "Activation", options: ACTIVATIONS, value: state.activation, onchange: set("activation") }),
    start: choice({ label: "First weights", options: STARTS, value: state.start, names: { usual: "usual (Glorot, He)", small: "a fiftieth of it", large: "four times it", zero: "all zero" }, onchange: set("start") }),
    rows: slider({ label: "examples", scale: wholeScale(8, 400), value: state.rows, format: String, oninput: set("rows") }),
    copies: slider({ label: "copies of each", scale: linearScale(1, 10, Math.round), value: state.copies, format: String, oninput: set("copies") }),
    noise: slider({ label: "scatter", scale: linearScale(0, 0.5, (v) => Number(v.toFixed(2))), value: state.noise, oninput: set("noise") }),
    flip: slider({ label: "wrong labels", scale: linearScale(0, 0.4, (v) => Number(v.toFixed(2))), value: state.flip, format: (v) => `${Math.round(100 * v)} %`, oninput: set("flip") }),
    batch: slider({ label: "batch size", scale: wholeScale(1, 400), value: state.batch, format: (v) => (data && v >= data.y.length ? "all" : String(v)), oninput: set("batch") }),
  };
  const widths = element("input", { type: "text", id: "network-widths", inputmode: "numeric", value: "16, 16", onchange: () => {
    const found = widths.value.split(/[\s,]+/).filter(Boolean).map(Number);
    if (found.length && found.length <= 6 && found.every((w) => Number.isInteger(w) && w >= 1 && w <= 64)) set("widths")(found);
    else sync();
  } });
  const list = cards({ most: MOST, color: (i) => i, schedules: false, onchange: () => {
    unnamed();
    reset();
  }, first: () => one("rmsprop", { lr: 0.01 }) });
  const text = code();

  root.append(
    element("div", { class: "presets", role: "group", "aria-label": "What can go wrong" }, ...presets), about,
    element("div", { class: "stage" },
      element("div", { class: "pictures two" },
        element("div", { class: "wide" }, surfaces),
        element("div", { class: "wide transport" }, play, once, again, count),
        element("div", {}, loss.element), element("div", {}, sharp.element),
        element("div", { class: "wide" }, norms.element, element("p", { class: "caption" }, "Sharpness is the largest curvature of the loss, as the rule feels it: measured by power iteration on products with the Hessian, after scaling by what the rule divides by. At 1 it equals the rule's own limit, read off its equation as in the Stability room."))),
      element("div", { class: "panel" }, list.element,
        element("details", { open: true }, element("summary", {}, "Data"), controls.set.element, controls.rows.element, controls.copies.element, controls.noise.element, controls.flip.element, controls.batch.element),
        element("details", { open: true }, element("summary", {}, "Network"), element("div", { class: "choice" }, element("label", { for: "network-widths", class: "choice-label" }, "Widths of hidden layers"), widths), controls.activation.element, controls.start.element,
          button("Other random numbers", () => set("seed")(state.seed + 1))))),
    text.element,
  );

  function unnamed() {
    for (const each of presets) each.setAttribute("aria-pressed", "false");
    about.hidden = true;
    [state.preset, state.cured] = [-1, 0];
  }

  function take(each) {
    Object.assign(state, structuredClone(BASE), structuredClone(each.set));
    unnamed();
    state.preset = CASES.indexOf(each);
    tell();
    sync();
    reset();
    go();
  }

  // What the preset shows, and the cure as a button.
  function tell() {
    const each = CASES[state.preset];
    presets.forEach((made_, i) => made_.setAttribute("aria-pressed", String(i === state.preset)));
    about.hidden = !each;
    about.classList.toggle("cured", state.cured === 1);
    if (!each) return;
    const cure = each.cure && button(each.cure, () => {
      Object.assign(state, structuredClone(each.fix), { cured: 1 });
      about.classList.add("cured");
      cure.disabled = true;
      sync();
      reset();
      go();
    }, { class: "plain", disabled: state.cured === 1 });
    about.replaceChildren(element("p", {}, each.what), ...(cure ? [cure] : []));
  }

  function sync() {
    for (const [name, control] of Object.entries(controls)) control.set(state[name]);
    widths.value = state.widths.join(", ");
    list.set(state.rules);
  }

  // Everything anew; the examples and the first weights depend on the seed alone.
  function reset() {
    state.widths = state.widths.map((w) => Math.min(64, Math.max(1, Math.round(w)))).slice(0, 6);
    const random = generator(state.seed);
    const few = points(state.set, state.rows, state.noise, state.flip, random);
    data = { p: new Float64Array(2 * state.rows * state.copies), y: new Float64Array(state.rows * state.copies) };
    for (let k = 0; k < state.copies; k += 1) {
      data.p.set(few.p, 2 * state.rows * k);
      data.y.set(few.y, state.rows * k);
    }
    test = points(state.set, ROWS, state.noise, 0, generator(state.seed + 7919));
    net = made(state.widths, state.activation);
    const n = data.y.length;
    space = workspace(net, Math.max(n, ROWS, GRID * GRID));
    g.array = new Float64Array(net.count);
    const x0 = start(net, state.start, generator(state.seed + 1));
    const v0 = Float64Array.from({ length: net.count }, () => normal(random));
    const size = Math.hypot(...v0);
    lanes = state.rules.map((entry, i) => {
      const rule = ruleNamed[entry.name];
      const h = Float64Array.from(hyperOf(rule, entry.hyper));
      const known = isLinear(rule) && rule.hyper.includes("lr");
      return {
        rule, h, ...first(rule, h, net.count, x0), v: v0.map((each) => each / size), at: new Float64Array(net.count),
        root: new Float64Array(net.count).fill(1), edge: known ? limit(rule, entry.hyper, 1) : NaN,
        unit: known ? unitOf(rule, h) : NaN, steps: [], loss: [], test: [], sharp: [], norms: null, gone: 0,
        scratch: [0, 1].map(() => new Float64Array(net.count)), index: i,
      };
    });
    drawn = batches(n, Math.min(state.batch, n), "shuffle", generator(state.seed + 2));
    [step, goal] = [0, Infinity];
    layout();
    measure(true);
    text.set(pythonLines());
    redraw();
    changed();
  }

  function unitOf(rule, h) {
    const at = h.slice();
    at[rule.hyper.indexOf("lr")] = 1;
    return linearize(rule, Array.from(at)).b.at(-1);
  }

  function layout() {
    fresh = lanes.map((lane) => {
      const canvas = element("canvas", { role: "img", "aria-label": `Decision surface of ${lane.rule.name}` });
      canvas.width = canvas.height = 360;
      const mark = element("span", { class: "swatch", "aria-hidden": "true" });
      mark.style.background = `var(--series${lane.index + 1})`;
      const note = element("p", { class: "note" });
      return { canvas, note, whole: element("figure", { class: "figure" }, element("figcaption", {}, mark, `${lane.rule.name}, lr ${shown(lane.h[lane.rule.hyper.indexOf("lr")] ?? NaN)}`), canvas, note) };
    });
    surfaces.replaceChildren(...fresh.map((each) => each.whole));
  }

  function advance(steps) {
    for (let k = 0; k < steps; k += 1) {
      const rows = drawn.next().value;
      const [p, y] = [new Float64Array(2 * rows.length), new Float64Array(rows.length)];
      rows.forEach((row, r) => {
        p[2 * r] = data.p[2 * row];
        p[2 * r + 1] = data.p[2 * row + 1];
        y[r] = data.y[row];
      });
      step += 1;
      for (const lane of lanes) {
        if (lane.gone) continue;
        const value = gradient(net, lane.x, p, y, rows.length, g.array, space);
        if (!Number.isFinite(value)) {
          lane.gone = step;
          continue;
        }
        lane.rule.step(net.count, g.array, lane.x, lane.s, step, lane.u, lane.h);
      }
    }
  }

  // What the next step adds to x per unit of gradient: the rule is asked, with the states that carry gradients at 0.
  function preconditioner(lane) {
    const { rule } = lane;
    if (!rule.theory.frozen?.length) return;
    const [still, slope] = [new Float64Array(net.count), new Float64Array(net.count)];
    for (let i = 0; i < net.count; i += 1) slope[i] = g.array[i] === 0 ? 1e-150 : g.array[i];
    const s = lane.s.map((each, k) => (rule.theory.linear.includes(rule.state[k]) ? new Float64Array(net.count) : each.slice()));
    const h = lane.h.slice();
    h[rule.hyper.indexOf("lr")] = 1;
    const kept = slope.slice();
    rule.step(net.count, slope, still, s, step + 1, lane.u.slice(), h);
    for (let i = 0; i < net.count; i += 1) lane.root[i] = Math.sqrt(Math.max(still[i] / kept[i] / lane.unit, 0)) || 0;
  }

  function measure(all) {
    for (const lane of lanes) {
      if (lane.gone || (!all && lane.index !== turn % lanes.length)) continue;
      const n = data.y.length;
      if (step) lane.rule.answer(net.count, lane.x, lane.s, lane.u, lane.h, lane.at);
      else lane.at.set(lane.x);
      const value = gradient(net, lane.at, data.p, data.y, n, g.array, space);
      lane.norms = layerNorms(net, g.array);
      lane.value = value;
      preconditioner(lane);
      lane.curvature = NaN;
      if (Number.isFinite(lane.edge)) {
        for (let k = 0; k < (lane.steps.length ? 2 : 12); k += 1) lane.curvature = sharpen(net, lane.x, data.p, data.y, n, lane.root, lane.v, space, lane.scratch);
      }
      const outputs = forward(net, lane.at, test.p, ROWS, space);
      lane.right = test.y.reduce((sum, y, r) => sum + (outputs[r] > 0 === (y === 1)), 0) / ROWS;
      if (!Number.isFinite(value)) lane.gone = step;
      if (lane.steps.at(-1) !== step) {
        lane.steps.push(step);
        lane.loss.push(value);
        lane.test.push(lossOf(outputs, test.y, ROWS));
        lane.sharp.push((lane.curvature * lane.h[lane.rule.hyper.indexOf("lr")]) / lane.edge);
        if (lane.steps.length > 1500) for (const name of ["steps", "loss", "test", "sharp"]) lane[name] = lane[name].filter((_, i) => i % 2 === 0);
      }
    }
    turn += 1;
  }

  const cells = new Float64Array(2 * GRID * GRID);
  for (let j = 0; j < GRID; j += 1) {
    for (let i = 0; i < GRID; i += 1) {
      cells[2 * (j * GRID + i)] = -1.3 + (2.6 * (i + 0.5)) / GRID;
      cells[2 * (j * GRID + i) + 1] = 1.3 - (2.6 * (j + 0.5)) / GRID;
    }
  }
  const small = document.createElement("canvas");
  small.width = small.height = GRID;

  function paint(lane, colors) {
    const { canvas, note } = fresh[lane.index];
    const outputs = forward(net, lane.at, cells, GRID * GRID, space);
    const c = small.getContext("2d");
    const image = c.createImageData(GRID, GRID);
    const [paper, a, b] = [rgb(colors.paper), rgb(colors.class0), rgb(colors.class1)];
    for (let k = 0; k < GRID * GRID; k += 1) {
      const believed = Math.tanh(outputs[k] / 2); // from -1 to 1
      const to = believed > 0 ? b : a;
      const share = Number.isFinite(believed) ? 0.12 + 0.55 * Math.abs(believed) : 0;
      for (let q = 0; q < 3; q += 1) image.data[4 * k + q] = paper[q] + (to[q] - paper[q]) * share;
      image.data[4 * k + 3] = 255;
    }
    c.putImageData(image, 0, 0);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    const at = (v) => ((v + 1.3) / 2.6) * canvas.width;
    context.lineWidth = 1.5;
    context.strokeStyle = colors.paper;
    for (let r = 0; r < Math.min(data.y.length, state.rows); r += 1) {
      context.fillStyle = data.y[r] ? colors.class1 : colors.class0;
      context.beginPath();
      if (data.y[r]) context.arc(at(data.p[2 * r]), canvas.height - at(data.p[2 * r + 1]), 5.5, 0, 7);
      else context.rect(at(data.p[2 * r]) - 5, canvas.height - at(data.p[2 * r + 1]) - 5, 10, 10);
      context.fill();
      context.stroke();
    }
    const words = lane.gone ? `diverged at step ${lane.gone}`
      : `loss ${shown(lane.value)}, test ${shown(lane.test.at(-1) ?? NaN)}, ${Math.round(100 * lane.right)} % right`;
    if (note.textContent !== words) note.textContent = words;
  }

  function frame(c, w, h, colors, label, x, y, options) {
    const box = [50, 26, w - 12, h - 40];
    return [box, ...axes(c, colors, { box, x: [0, Math.max(x, 10)], y, xLabel: "step", yLabel: label, ...options })];
  }

  function drawLoss(c, w, h, colors) {
    for (const lane of lanes) if (!running || lane.index === turn % lanes.length) paint(lane, colors);
    const all = lanes.flatMap((lane) => [...lane.loss, ...lane.test]).filter((v) => Number.isFinite(v) && v > 0);
    const low = Math.max(1e-6, Math.min(0.5, ...all)) / 1.3;
    const high = Math.min(50, Math.max(1, ...all)) * 1.2;
    const [box, sx, sy] = frame(c, w, h, colors, "loss (dashed: of the test set)", step, [low, high], { yLog: true });
    clipped(c, box, () => {
      for (const lane of lanes) {
        c.strokeStyle = colors.series[lane.index];
        c.lineWidth = 2;
        line(c, lane.steps.length, (i) => sx(lane.steps[i]), (i) => sy(Math.max(lane.loss[i], 1e-9)));
        c.lineWidth = 1.4;
        c.setLineDash([4, 4]);
        line(c, lane.steps.length, (i) => sx(lane.steps[i]), (i) => sy(Math.max(lane.test[i], 1e-9)));
        c.setLineDash([]);
      }
    });
  }

  function drawSharp(c, w, h, colors) {
    const all = lanes.flatMap((lane) => lane.sharp).filter((v) => Number.isFinite(v) && v > 0);
    const high = Math.min(100, Math.max(2, ...all)) * 1.2;
    const low = Math.max(1e-3, Math.min(0.1, ...all)) / 1.2;
    const [box, sx, sy] = frame(c, w, h, colors, "sharpness over the rule's limit", step, [low, high], { yLog: true });
    clipped(c, box, () => {
      c.fillStyle = colors.bad;
      c.globalAlpha = 0.6;
      c.fillRect(box[0], box[1], box[2] - box[0], sy(1) - box[1]);
      c.globalAlpha = 1;
      c.strokeStyle = colors.warn;
      c.lineWidth = 1.6;
      c.beginPath();
      c.moveTo(box[0], sy(1));
      c.lineTo(box[2], sy(1));
      c.stroke();
      for (const lane of lanes) {
        c.strokeStyle = colors.series[lane.index];
        c.lineWidth = 2;
        line(c, lane.steps.length, (i) => sx(lane.steps[i]), (i) => sy(lane.sharp[i] > 0 ? lane.sharp[i] : NaN));
      }
    });
    c.fillStyle = colors.warn;
    c.textAlign = "right";
    c.fillText("limit", box[2] - 4, sy(1) - 5);
    const without = lanes.filter((lane) => !Number.isFinite(lane.edge)).map((lane) => lane.rule.name);
    if (without.length) {
      c.fillStyle = colors.muted;
      c.fillText(`no limit is known for ${[...new Set(without)].join(", ")}`, box[2] - 4, box[3] - 8);
    }
  }

  function drawNorms(c, w, h, colors) {
    const layers = net.layers.length;
    const box = [50, 26, w - 12, h - 26];
    const all = lanes.flatMap((lane) => lane.norms ?? []).filter((v) => v > 0 && Number.isFinite(v));
    const [low, high] = [Math.max(1e-8, Math.min(...all, 1e-2) / 2), Math.max(...all, 0.1) * 2];
    const [, sy] = axes(c, colors, { box, x: [0, layers], xTicks: [], y: [low, high], yLog: true, yLabel: "gradient of each layer, from the first to the last" });
    const wide = (box[2] - box[0]) / layers;
    const bar = Math.min(26, (0.7 * wide) / lanes.length);
    c.textAlign = "center";
    for (let l = 0; l < layers; l += 1) {
      const middle = box[0] + wide * (l + 0.5);
      c.fillStyle = colors.muted;
      c.fillText(`${net.sizes[l]} → ${net.sizes[l + 1]}`, middle, h - 8);
      lanes.forEach((lane, k) => {
        const v = lane.norms?.[l];
        if (!(v > 0)) return;
        const y = sy(Math.min(Math.max(v, low), high));
        c.fillStyle = colors.series[lane.index];
        c.fillRect(middle + bar * (k - lanes.length / 2) + 1, y, bar - 2, box[3] - y);
      });
    }
  }

  function redraw() {
    count.textContent = `step ${step}, epoch ${shown(Math.floor((10 * step * Math.min(state.batch, data.y.length)) / data.y.length) / 10)}`;
    for (const each of [loss, sharp, norms]) each.redraw();
  }

  function tick() {
    if (!running || !visible) return;
    const before = performance.now();
    do advance(1); while (performance.now() - before < 5 && step < goal);
    measure(false);
    redraw();
    root.dataset.frames = String(Number(root.dataset.frames ?? 0) + 1);
    if (step >= goal) pause();
    if (!running) return;
    if (Number(root.dataset.frames) % 60 === 0) changed();
    timer = requestAnimationFrame(tick);
  }

  function go() {
    running = true;
    play.textContent = "Pause";
    cancelAnimationFrame(timer);
    timer = requestAnimationFrame(tick);
  }

  // All lanes at one step, as the link and the Python have it.
  function settled() {
    measure(true);
    redraw();
    text.set(pythonLines());
    changed();
  }

  function pause() {
    if (!running) return;
    [running, goal] = [false, Infinity];
    play.textContent = "Train";
    settled();
  }

  function pythonLines() {
    const own = state.rules.map((entry) => ruleNamed[entry.name]).filter((rule) => rule.module);
    const act = { tanh: "Tanh", relu: "ReLU", sigmoid: "Sigmoid" }[state.activation];
    const sizes = [2, ...state.widths, 1];
    const layers = sizes.slice(1).map((size, l) => `    torch.nn.Linear(${sizes[l]}, ${size}),`).join(` torch.nn.${act}(),\n`);
    const chosen = state.rules.map((entry) => {
      const given = Object.entries(entry.hyper).map(([name, v]) => `"${name}": ${v}`).join(", ");
      return `    (${ruleNamed[entry.name].module ? entry.name : `"${entry.name}"`}, {${given}}),`;
    });
    const n = data.y.length;
    const batch = Math.min(state.batch, n);
    const epochs = step ? Math.max(1, Math.round(step / Math.ceil(n / batch))) : 100;
    return [
      "import copy", "import math", "", "import torch", "", "from thalweg import optim",
      ...own.map((rule) => `from ${rule.module} import ${rule.name}`), "",
      "def examples(n, flip):",
      "    label = torch.arange(n) % 2",
      "    sign, s = 2 * label[:, None] - 1, torch.rand(n)",
      ...PLACES[state.set].map((each) => `    ${each}`),
      `    X = X + ${state.noise} * torch.randn(n, 2)`,
      "    return X, torch.where(torch.rand(n) < flip, 1 - label, label).float()[:, None]", "",
      "torch.manual_seed(0)",
      `(X, y), (new_X, new_y) = examples(${state.rows}, ${state.flip}), examples(${ROWS}, 0.0)`,
      ...(state.copies > 1 ? [`X, y = X.repeat(${state.copies}, 1), y.repeat(${state.copies}, 1)`] : []),
      "first = torch.nn.Sequential(", layers, ")",
      "for layer in first[::2]:",
      `    torch.nn.init.normal_(layer.weight, std=${FACTORS[state.start]} * math.sqrt(2 / ${state.activation === "relu" ? "layer.in_features" : "(layer.in_features + layer.out_features)"}))`,
      "    torch.nn.init.zeros_(layer.bias)",
      "chosen = [", ...chosen, "]",
      "loss = torch.nn.functional.binary_cross_entropy_with_logits",
      "# Python draws other random numbers: the curves differ, what they show does not.",
      "for rule, hyper in chosen:",
      "    torch.manual_seed(1)  # the same minibatches for each",
      "    model = copy.deepcopy(first)",
      "    optimizer = optim.Descent(model.parameters(), rule, **hyper)",
      `    for _ in range(${epochs}):`,
      `        for rows in torch.randperm(len(X)).split(${batch}):`,
      "            optimizer.zero_grad()",
      "            loss(model(X[rows]), y[rows]).backward()",
      "            optimizer.step()",
      "    with torch.no_grad(), optimizer.answer():",
      "        print(rule, loss(model(X), y).item(), loss(model(new_X), new_y).item())",
    ].join("\n");
  }

  sync();
  reset();
  return {
    read(given) {
      pause();
      state = read(fields, given);
      tell();
      sync();
      reset();
      if (state.step) { // on to where its sender was
        go();
        goal = state.step;
      }
    },
    write: () => written(fields, { ...state, step: Math.max(step, Number.isFinite(goal) ? goal : 0) }),
    show(now) {
      visible = now;
      if (!now) pause();
      else if (running) go();
    },
  };
}
