// Stability: for each rate and memory, how fast a rule converges on a range of curvatures, and where it diverges.

import { scaleOf } from "./cards.js";
import { button, choice, code, element, rounded, shown, slider, story } from "./controls.js";
import { axes, clipped, figure, handle, line, mix, rgb, scale, unit } from "./draw.js";
import { rules } from "./generated.js";
import { STORY } from "./stability_story.js";
import { initial, number, numbers, oneOf, read, ruleNamed, whole, written } from "./state.js";
import { best, eigenvalues, hyperOf, isLinear, limit, linearize, matrix, radius, rate } from "./theory.js";

const usable = rules.filter((rule) => rule.hyper.includes("lr")).map((rule) => rule.name);
const DECADES = 3; // of the memory's axis: from 0 to 0.999
const fields = {
  rule: oneOf(usable.includes("momentum") ? "momentum" : usable[0], usable),
  low: number(0.2, 0.01, 10),
  high: number(4, 0.01, 10),
  lr: number(0.4, 1e-6, 1e6),
  memory: number(0.5, 0, 0.9999),
  count: whole(5, 1, 9),
  others: numbers([0]),
  story: whole(-1, -1, 20), // -1: none of it
};

export const stability = {
  name: "stability",
  title: "Stability",
  question: "How large may the rate be, and what does memory change?",
  lead: "Each point of the map is a rate and a memory. Blue is fast, pale is slow, and beyond the edge the descent diverges. Nothing here is simulated: the map is read off the rule's own equation.",
  build,
};

function build(root, changed) {
  let state = initial(fields);
  let [grid, painted, top] = [null, null, null]; // linear maps by grid point; the picture; the best

  const map = figure("Rate by learning rate and memory", (w) => Math.max(330, Math.min(0.62 * w, 520)), drawMap);
  map.canvas.addEventListener("pointerdown", (event) => {
    const from = map.canvas.getBoundingClientRect();
    point((event.clientX - from.left) / unit(), (event.clientY - from.top) / unit());
  });
  const here = handle("Rate and memory: drag it, or press the arrow keys", point);
  map.element.append(here.element);
  const strip = figure("Curvatures of the problem", 86, drawStrip);
  const ends = ["low", "high"].map((end) => {
    const made = handle(end === "low" ? "Least curvature: drag it, or press the arrow keys" : "Largest curvature: drag it, or press the arrow keys", (x) => {
      const v = rounded(Math.min(10, Math.max(0.01, stripScale().inverse(x))));
      state[end] = end === "low" ? Math.min(v, state.high) : Math.max(v, state.low);
      own();
      update();
    });
    made.element.classList.add("small");
    strip.element.append(made.element);
    return made;
  });
  const circle = figure("Eigenvalues in the unit circle", (w) => Math.min(w, 340), drawCircle);
  const path = figure("Error in each direction by step", (w) => Math.min(w, 340), drawPath);

  const rule = choice({ label: "Rule", options: usable, value: state.rule, onchange: (name) => {
    state.rule = name;
    const chosen = ruleNamed[name];
    state.lr = chosen.hyper.includes("lr") ? state.lr : 1;
    grid = null;
    own();
    update();
    sliders();
  } });
  const about = element("p", { class: "about" });
  const refused = element("p", { class: "verdict", role: "status" });
  const place = element("div");
  const told = element("div", { class: "note", "aria-live": "off" });
  const toBest = button("Go to the best", () => {
    if (!top || top.rate === Infinity) return;
    state.lr = rounded(top.lr, 4);
    if (top.memory !== undefined) state.memory = Number(top.memory.toFixed(4));
    own();
    update();
    sliders();
  }, { class: "plain" });
  const toLimit = button("Go to the limit", () => {
    const at = limit(current(), given(), state.high);
    if (!Number.isFinite(at)) return;
    state.lr = rounded(at, 4);
    own();
    update();
    sliders();
  }, { class: "plain" });
  const tale = story("A story in six steps", STORY, (step) => {
    Object.assign(state, structuredClone(step.set));
    grid = null;
    rule.set(state.rule);
    update();
    sliders();
  });
  const text = code();
  const stage = element("div", { class: "pictures two" },
    element("div", { class: "wide" }, map.element),
    element("div", { class: "wide" }, strip.element),
    element("div", {}, element("h2", {}, "What one step does"), circle.element,
      element("p", { class: "caption" }, "Each dot is a factor by which a part of the error is multiplied at each step. Off the line it also turns: the path swings. Larger dots are steeper directions.")),
    element("div", {}, element("h2", {}, "The path that follows"), path.element,
      element("p", { class: "caption" }, "The distance to the minimum in each direction, step by step, computed by the rule. Dashed: the rate that the map says.")));
  root.append(tale.element,
    element("div", { class: "stage" }, stage,
      element("div", { class: "panel" }, rule.element, about, place, element("div", { class: "presets" }, toBest, toLimit), told)),
    refused, text.element);

  const current = () => ruleNamed[state.rule];
  const memoryName = () => current().theory.memories?.[0];

  function given() {
    const made = {};
    const name = memoryName();
    if (name) for (const each of current().theory.memories) made[each] = state.memory;
    return name ? { ...made } : made;
  }

  function hyper(lr = state.lr, memory = state.memory) {
    const chosen = current();
    const h = hyperOf(chosen, given()).slice();
    h[chosen.hyper.indexOf("lr")] = lr;
    for (const each of chosen.theory.memories ?? []) h[chosen.hyper.indexOf(each)] = memory;
    return h;
  }

  function spectrum() {
    if (state.low === state.high) return [state.high];
    const n = Math.max(2, state.count);
    return Array.from({ length: n }, (_, i) => state.low * (state.high / state.low) ** (i / (n - 1)));
  }

  function own() {
    tale.choose(-1, false);
  }

  function sliders() {
    const chosen = current();
    const lr = slider({ label: "lr (rate)", scale: scaleOf(chosen, chosen.hyper.indexOf("lr")), value: state.lr, format: (v) => shown(v, 4), oninput: (v) => {
      state.lr = v;
      own();
      update();
    } });
    const found = [lr.element];
    if (memoryName()) {
      found.push(slider({
        label: chosen.theory.memories.join(" = "), scale: scaleOf(chosen, chosen.hyper.indexOf(memoryName())), value: state.memory, format: (v) => shown(v, 4),
        oninput: (v) => {
          state.memory = v;
          own();
          update();
        },
      }).element);
    }
    place.replaceChildren(...found);
  }

  // The axis of lr: from far below the limit to above it, at any memory of the map.
  function lrDomain() {
    const chosen = current();
    const at = (memory) => {
      const made = Object.fromEntries((chosen.theory.memories ?? []).map((name) => [name, memory]));
      const found = limit(chosen, made, 1);
      return Number.isFinite(found) ? found : 2;
    };
    const plain = at(0);
    const most = memoryName() ? Math.max(plain, at(0.9)) : plain;
    const half = (v, round) => 10 ** (round(2 * Math.log10(v)) / 2);
    return [half(plain / state.high / 60, Math.floor), half((1.6 * Math.max(most, plain)) / state.high, Math.ceil)];
  }

  const box = () => {
    const [w, h] = map.size;
    return [52, 22, w - 12, h - 42];
  };

  function scales() {
    const [left, upper, right, bottom] = box();
    const x = scale(lrDomain(), [left, right], true);
    if (!memoryName()) return { x };
    const y = (memory) => bottom - ((-Math.log10(1 - Math.min(memory, 0.9999)) / DECADES) * (bottom - upper));
    y.inverse = (p) => Math.min(1 - 10 ** (-DECADES * Math.max(0, Math.min(1, (bottom - p) / (bottom - upper)))), 0.999);
    return { x, y };
  }

  function point(px, py) {
    if (!isLinear(current())) return;
    const { x, y } = scales();
    const [left, , right] = box();
    state.lr = rounded(x.inverse(Math.min(Math.max(px, left), right)));
    if (y) {
      const memory = y.inverse(py);
      state.memory = Number(memory.toFixed(memory > 0.99 ? 4 : 3));
    }
    own();
    update();
    sliders();
  }

  function update() {
    const chosen = current();
    const linear = isLinear(chosen);
    about.textContent = `${chosen.said} ${chosen.source_of}`;
    refused.hidden = linear;
    stage.hidden = !linear;
    if (!linear) {
      refused.textContent = `There is no map for this one: ${chosen.theory.refused}. The Descent room shows what it does.`;
      told.textContent = "";
      text.set("");
      changed();
      return;
    }
    painted = null;
    top = null;
    const values = spectrum();
    const map_ = linearize(chosen, hyper());
    const now = rate(map_, values);
    const edge = limit(chosen, given(), state.high);
    const words = [
      now < 1 ? `The error shrinks by × ${shown(now, 4)} per step: ${shown(Math.log(10) / -Math.log(now), 3)} steps for each further digit.`
        : now > 1 + 1e-9 ? `The error grows by × ${shown(now, 4)} per step: it diverges.` : "It neither shrinks nor grows.",
      Number.isFinite(edge) ? `The limit is lr = ${shown(edge, 4)}.` : "No rate diverges.",
    ];
    if (chosen.theory.frozen.length) words.push("The rule's preconditioner is held still, and curvatures are those it leaves.");
    told.textContent = words.join(" ");
    text.set(pythonLines(values));
    map.label(`Rate of ${chosen.name} by lr${memoryName() ? ` and ${memoryName()}` : ""}. ${words.join(" ")}`);
    for (const each of [map, strip, circle, path]) each.redraw();
    changed();
  }

  // The linear maps of the grid depend on the rule alone, so a dragged spectrum needs their radii only.
  function gridOf() {
    const [, , right] = box();
    const columns = Math.max(40, Math.min(140, Math.round((right - 52) / 5)));
    const rows = memoryName() ? 64 : 1;
    const domain = lrDomain();
    const key = [state.rule, columns, rows, ...domain].join();
    if (grid?.key !== key) {
      const maps = [];
      for (let j = 0; j < rows; j += 1) {
        const memory = rows > 1 ? 1 - 10 ** ((-DECADES * j) / (rows - 1)) : 0;
        for (let i = 0; i < columns; i += 1) {
          maps.push(linearize(current(), hyper(domain[0] * (domain[1] / domain[0]) ** (i / (columns - 1)), memory)));
        }
      }
      grid = { key, columns, rows, maps };
    }
    return grid;
  }

  // Blue by the steps for one more digit: 2 are the darkest, 2,000 the palest; beyond the edge another colour.
  function paint(colors) {
    const { columns, rows, maps } = gridOf();
    const values = state.low === state.high ? [state.high] : [state.low, Math.sqrt(state.low * state.high), state.high];
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [columns, rows];
    const context = canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    const rates = new Float64Array(columns * rows);
    const bad = rgb(colors.bad);
    let found = 0;
    maps.forEach((each, k) => {
      rates[k] = rate(each, values);
      if (rates[k] < rates[found]) found = k;
      const [i, j] = [k % columns, rows - 1 - Math.floor(k / columns)];
      const share = Math.max(0, Math.min(1, 1 - Math.log10(Math.log(10) / -Math.log(Math.min(rates[k], 1 - 1e-9)) / 2) / 3));
      const color = rates[k] >= 1 ? bad : mix(colors.paper, colors.accent, 0.06 + 0.82 * share ** 1.4);
      image.data.set([...color, 255], 4 * (j * columns + i));
    });
    context.putImageData(image, 0, 0);
    return { canvas, rates, columns, rows };
  }

  function edgeOf(colors) { // the limit, and the edge between paths that swing and those that do not
    const chosen = current();
    const { y } = scales();
    if (!y) return [];
    const [, upper, , bottom] = box();
    const points = [];
    for (let p = bottom; p >= upper; p -= 6) {
      const memory = y.inverse(p);
      const made = Object.fromEntries(chosen.theory.memories.map((name) => [name, Number(memory.toFixed(5))]));
      points.push([limit(chosen, made, state.high), p]);
    }
    return points;
  }

  function drawMap(c, w, h, colors) {
    const chosen = current();
    const [left, upper, right, bottom] = box();
    const { x, y } = scales();
    if (!y) {
      drawCurves(c, w, h, colors, x);
      return;
    }
    const key = [state.rule, state.low, state.high, w, h, colors.paper].join();
    if (painted?.key !== key) painted = { key, ...paint(colors) };
    if (!top) top = best(chosen, {}, state.low === state.high ? [state.high] : [state.low, state.high]);
    clipped(c, [left, upper, right, bottom], () => {
      c.imageSmoothingEnabled = true;
      c.drawImage(painted.canvas, left, upper, right - left, bottom - upper);
    });
    axes(c, { ...colors, faint: "transparent" }, {
      box: [left, upper, right, bottom], x: lrDomain(), xLog: true, y: [0, 1], xLabel: "lr (rate)", yLabel: `${memoryName()} (memory)`,
      yTicks: [0, 0.5, 0.9, 0.99, 0.999].map((m) => -Math.log10(1 - m) / DECADES), yText: (v) => String(Number((1 - 10 ** (-DECADES * v)).toFixed(3))),
    });
    const points = edgeOf(colors);
    clipped(c, [left, upper, right, bottom], () => {
      c.strokeStyle = colors.warn;
      c.lineWidth = 2.5;
      line(c, points.length, (i) => x(points[i][0]), (i) => points[i][1]);
      c.strokeStyle = colors.ink;
      c.setLineDash([3, 4]);
      c.lineWidth = 1.2;
      for (const each of new Set([state.low, state.high])) { // where the pair of this curvature leaves the line
        const edge = swinging(each, x, y);
        line(c, edge.length, (i) => edge[i][0], (i) => edge[i][1]);
      }
      c.setLineDash([]);
    });
    const edge = x(points.at(-1)?.[0] ?? 1);
    if (right - edge > 60) label(c, colors, "diverges", (edge + right) / 2, upper + 24, colors.warn);
    nameRegions(c, colors, x, y);
    if (top.rate < 1) star(c, colors, x(top.lr), y(Math.min(top.memory, 0.999)));
    here.element.hidden = false;
    here.place(Math.min(Math.max(x(state.lr), left), right), Math.min(Math.max(y(state.memory), upper), bottom));
  }

  // Where the eigenvalues of a curvature become a pair: for each memory the lr at which they do.
  function swinging(curvature, x, y) {
    const [left, upper, right, bottom] = box();
    const edge = [];
    for (let p = bottom; p >= upper; p -= 5) {
      const memory = y.inverse(p);
      const turns = (px) => eigenvalues(matrix(linearize(current(), hyper(x.inverse(px), memory)), curvature)).some(([, im]) => Math.abs(im) > 1e-9);
      let [a, b] = [left, right];
      let found = null;
      for (let px = left; px <= right; px += (right - left) / 24) {
        if (turns(px)) {
          found = px;
          break;
        }
        a = px;
      }
      if (found === null || found === left) continue;
      b = found;
      for (let k = 0; k < 8; k += 1) {
        const middle = (a + b) / 2;
        if (turns(middle)) b = middle;
        else a = middle;
      }
      edge.push([b, p]);
    }
    return edge;
  }

  function nameRegions(c, colors, x, y) {
    const [left, upper, right, bottom] = box();
    const sums = { creeps: [0, 0, 0], swings: [0, 0, 0] };
    for (let px = left + 10; px < right; px += 22) {
      for (let py = upper + 10; py < bottom; py += 18) {
        const map_ = linearize(current(), hyper(x.inverse(px), y.inverse(py)));
        if (rate(map_, [state.low, state.high]) >= 1) continue;
        const pairs = [state.low, state.high].map((each) => eigenvalues(matrix(map_, each)).some(([, im]) => Math.abs(im) > 1e-9));
        const name = pairs.every(Boolean) ? "swings" : pairs.some(Boolean) ? null : "creeps";
        if (!name) continue;
        sums[name][0] += px;
        sums[name][1] += py;
        sums[name][2] += 1;
      }
    }
    const words = { creeps: "creeps", swings: "all directions swing" };
    for (const [name, [sx, sy, n]] of Object.entries(sums)) if (n > 6) label(c, colors, words[name], sx / n, sy / n, colors.ink);
  }

  function label(c, colors, words, px, py, color) {
    c.save();
    c.font = "600 12px system-ui, sans-serif";
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.lineWidth = 4;
    c.strokeStyle = colors.paper;
    c.globalAlpha = 0.85;
    c.strokeText(words, px, py);
    c.globalAlpha = 1;
    c.fillStyle = color;
    c.fillText(words, px, py);
    c.restore();
  }

  function star(c, colors, px, py) {
    c.save();
    c.translate(px, py);
    c.beginPath();
    for (let i = 0; i < 10; i += 1) {
      const [angle, r] = [(Math.PI * i) / 5 - Math.PI / 2, i % 2 ? 4 : 9];
      c.lineTo(r * Math.cos(angle), r * Math.sin(angle));
    }
    c.closePath();
    c.fillStyle = colors.paper;
    c.strokeStyle = colors.ink;
    c.lineWidth = 1.5;
    c.fill();
    c.stroke();
    c.restore();
  }

  function drawCurves(c, w, h, colors, x) { // a rule without memory: the factor of each curvature by the rate
    const [left, upper, right, bottom] = box();
    const values = spectrum();
    const [sx, sy] = axes(c, colors, { box: [left, upper, right, bottom], x: lrDomain(), xLog: true, y: [0, 1.5], xLabel: "lr (rate)", yLabel: "factor per step" });
    const n = 300;
    const at = Array.from({ length: n }, (_, i) => x.inverse(left + ((right - left) * i) / (n - 1)));
    const maps = at.map((lr) => linearize(current(), hyper(lr)));
    clipped(c, [left, upper, right, bottom], () => {
      c.fillStyle = colors.bad;
      c.fillRect(left, upper, right - left, sy(1) - upper);
      c.strokeStyle = colors.accent;
      values.forEach((each, k) => {
        c.lineWidth = 1 + (1.4 * (k + 1)) / values.length;
        c.globalAlpha = 0.75;
        line(c, n, (i) => sx(at[i]), (i) => sy(radius(matrix(maps[i], each))));
      });
      c.globalAlpha = 1;
      c.strokeStyle = colors.ink;
      c.lineWidth = 2.6;
      line(c, n, (i) => sx(at[i]), (i) => sy(rate(maps[i], values)));
      c.strokeStyle = colors.warn;
      c.lineWidth = 2;
      const edge = limit(current(), given(), state.high);
      c.beginPath();
      c.moveTo(sx(edge), upper);
      c.lineTo(sx(edge), bottom);
      c.stroke();
    });
    label(c, colors, "diverges", left + 60, upper + 18, colors.warn);
    top = best(current(), {}, values);
    star(c, colors, sx(top.lr), sy(top.rate));
    here.element.hidden = false;
    const now = rate(linearize(current(), hyper()), values);
    here.place(Math.min(Math.max(sx(state.lr), left), right), Math.min(Math.max(sy(now), upper), bottom));
  }

  function stripScale() {
    const [w] = strip.size;
    return scale([0.01, 10], [24, w - 24], true);
  }

  function drawStrip(c, w, h, colors) {
    const x = stripScale();
    axes(c, colors, { box: [24, 22, w - 24, h - 34], x: [0.01, 10], xLog: true, y: [0, 1], yTicks: [] });
    c.fillStyle = colors.muted;
    c.fillText(`curvatures λ; condition number ${shown(state.high / state.low, 3)}`, 24, 13);
    const middle = (22 + h - 34) / 2;
    c.strokeStyle = colors.accent;
    c.lineWidth = 4;
    c.lineCap = "round";
    c.beginPath();
    c.moveTo(x(state.low), middle);
    c.lineTo(x(state.high), middle);
    c.stroke();
    c.fillStyle = colors.accent;
    for (const each of spectrum()) {
      c.beginPath();
      c.arc(x(each), middle, 4, 0, 7);
      c.fill();
    }
    ends[0].place(x(state.low), middle);
    ends[1].place(x(state.high), middle);
  }

  function drawCircle(c, w, h, colors) {
    const values = spectrum();
    const map_ = linearize(current(), hyper());
    const found = values.map((each) => eigenvalues(matrix(map_, each)));
    const far = Math.max(1, ...found.flat().map(([re, im]) => Math.hypot(re, im)));
    const r = (Math.min(w, h) / 2 - 14) / Math.min(far * 1.02, 2);
    const [cx, cy] = [w / 2, h / 2];
    c.fillStyle = colors.panel;
    c.beginPath();
    c.arc(cx, cy, r, 0, 7);
    c.fill();
    c.strokeStyle = colors.muted;
    c.lineWidth = 1.5;
    c.stroke();
    c.strokeStyle = colors.faint;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(0, cy);
    c.lineTo(w, cy);
    c.moveTo(cx, 0);
    c.lineTo(cx, h);
    c.stroke();
    const worst = rate(map_, values);
    c.strokeStyle = worst < 1 ? colors.accent : colors.warn;
    c.setLineDash([4, 4]);
    c.beginPath();
    c.arc(cx, cy, r * worst, 0, 7);
    c.stroke();
    c.setLineDash([]);
    c.fillStyle = colors.muted;
    c.textAlign = "left";
    c.fillText("1", cx + r + 4, cy - 4);
    c.fillText("−1", cx - r + 4, cy - 4);
    found.forEach((each, k) => {
      for (const [re, im] of each) {
        const out = Math.hypot(re, im) >= 1;
        c.fillStyle = out ? colors.warn : colors.accent;
        c.strokeStyle = colors.paper;
        c.beginPath();
        c.arc(cx + r * re, cy - r * im, 4 + (4 * (k + 1)) / values.length, 0, 7);
        c.globalAlpha = 0.85;
        c.fill();
        c.globalAlpha = 1;
        c.stroke();
      }
    });
    circle.label(`Factors per step: ${values.map((v, k) => `curvature ${shown(v)}: ${found[k].map(([re, im]) => (im ? `${shown(re)} ± ${shown(Math.abs(im))}i` : shown(re))).join(", ")}`).join("; ")}`);
  }

  function drawPath(c, w, h, colors) {
    const values = spectrum();
    const map_ = linearize(current(), hyper());
    const worst = rate(map_, values);
    const steps = Math.max(12, Math.min(400, worst < 1 ? Math.ceil(Math.log(1e-4) / Math.log(worst)) : 40));
    const box_ = [40, 10, w - 8, h - 40];
    const tall = worst > 1 ? 8 : 1.15;
    const [sx, sy] = axes(c, colors, { box: box_, x: [0, steps], y: [-tall, tall], xLabel: "step" });
    clipped(c, box_, () => {
      values.forEach((each, k) => {
        const M = matrix(map_, each);
        let z = M.map((_, i) => (i === M.length - 1 ? 1 : 0));
        const x = [1];
        for (let t = 0; t < steps; t += 1) {
          z = M.map((row) => row.reduce((sum, value, j) => sum + value * z[j], 0));
          x.push(z.at(-1));
        }
        c.strokeStyle = colors.accent;
        c.globalAlpha = 0.35 + (0.65 * (k + 1)) / values.length;
        c.lineWidth = 1 + (1.5 * (k + 1)) / values.length;
        line(c, steps + 1, sx, (t) => sy(x[t]));
      });
      c.globalAlpha = 1;
      c.strokeStyle = worst < 1 ? colors.ink : colors.warn;
      c.setLineDash([4, 4]);
      c.lineWidth = 1.2;
      for (const sign of [1, -1]) line(c, steps + 1, sx, (t) => sy(sign * worst ** t));
      c.setLineDash([]);
    });
  }

  function pythonLines(values) {
    const chosen = current();
    const rule_ = chosen.module ? chosen.name : `"${chosen.name}"`;
    const memories = chosen.theory.memories.map((name) => `, ${name}=${state.memory}`).join("");
    const zeroed = chosen.theory.zeroed.map((name) => `, ${name}=0.0`).join("");
    const list = values.map((v) => Number(v.toPrecision(4))).join(", ");
    return [
      "from thalweg import theory", ...(chosen.module ? [`from ${chosen.module} import ${chosen.name}`] : []), "",
      `spectrum = [${list}]`,
      `print(theory.rate(${rule_}, spectrum, lr=${state.lr}${memories}${zeroed}))`,
      `print(theory.max_lr(${rule_}, ${state.high}${memories}${zeroed}))`,
      `print(theory.best(${rule_}, ${state.low}, ${state.high}${zeroed}))`,
    ].join("\n");
  }

  sliders();
  update();
  return {
    read(given_) {
      state = read(fields, given_);
      if (state.low > state.high) [state.low, state.high] = [state.high, state.low];
      grid = null;
      rule.set(state.rule);
      sliders();
      update();
      tale.choose(state.story, false);
    },
    write: () => written(fields, { ...state, story: tale.at() }),
  };
}
