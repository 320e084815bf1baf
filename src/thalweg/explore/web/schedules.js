// Schedules: how a rate changes over a training, every one of thalweg.schedules, alone or after a warmup.

import {
  button, choice, code, element, linearScale, logScale, shown, slider, story, wholeScale, zeroLogScale,
} from "./controls.js";
import { axes, clipped, figure, line } from "./draw.js";
import { schedules, share } from "./generated.js";
import { SHARE, named, pythonOf, valueOf } from "./shapes.js";
import { initial, oneOf, read, whole, written } from "./state.js";

const MOST = 4;

function scaleOf(argument, steps) {
  if (argument in SHARE) return wholeScale(1, Math.max(2, 2 * steps));
  if (argument === "growth") return linearScale(1, 4, Math.round);
  if (argument === "decay") return zeroLogScale(1e-4, 10);
  if (argument === "power") return linearScale(0, 3, (v) => Number(v.toFixed(2)));
  if (argument === "factor") return linearScale(0.05, 1, (v) => Number(v.toFixed(2)));
  if (argument === "rise") return linearScale(0, 0.95, (v) => Number(v.toFixed(2)));
  if (argument.endsWith("divisor")) return logScale(1, 1e5);
  return zeroLogScale(1e-4, 10);
}

const list = (value) => ({
  value,
  write: (given) => given.map(({ name, values, rise }) =>
    [name, ...Object.entries(values).map(([key, v]) => `${key}:${v}`), ...(rise ? [`warmup:${rise}`] : [])].join(";")).join(","),
  read: (text) => {
    const found = text.split(",").map((each) => {
      const [name, ...parts] = each.split(";");
      if (!Object.hasOwn(named, name)) return null;
      const made = { name, values: {}, rise: 0 };
      for (const part of parts) {
        const [key, v] = part.split(":");
        const value_ = Number(v);
        if (!Number.isFinite(value_)) continue;
        if (key === "warmup") made.rise = Math.max(0, Math.min(1e5, Math.round(value_)));
        else if (named[name].arguments.includes(key)) made.values[key] = legal(key, value_);
      }
      return made;
    }).filter(Boolean);
    return found.length ? found.slice(0, MOST) : value;
  },
});

function legal(argument, v) {
  if (argument in SHARE || argument === "growth") return Math.max(1, Math.round(Math.min(v, 1e6)));
  if (argument === "rise") return Math.min(Math.max(v, 0), 0.99);
  if (argument === "factor") return Math.max(v, 1e-6);
  if (argument.endsWith("divisor")) return Math.max(v, 1);
  return argument === "decay" || argument === "power" ? Math.max(v, 0) : v;
}

const of = (name, values = {}, rise = 0) => ({ name, values, rise });
const fields = {
  steps: whole(100, 2, 5000),
  list: list([of("cosine", {}, 10), of("warmup_stable_decay"), of("step")]),
  axis: oneOf("linear", ["linear", "log"]),
  story: whole(-1, -1, 20), // -1: none of it
};

const STORY = [
  { title: "A constant rate", text: "The simplest choice. It is fast at first, but with noisy gradients it never settles: the noise keeps the descent at a height that grows with the rate.", set: [of("constant")] },
  { title: "Falling by stairs", text: "Large steps while far away, small ones at the end. The rate falls to a tenth every so often. One has to say when; the loss curve drops visibly at each stair.", set: [of("step"), of("exponential")] },
  { title: "Half a cosine", text: "No stairs to place: only the length of the training is needed. It stays high for long, and ends at 0, where the noise is averaged away. A line to 0 does nearly the same.", set: [of("cosine"), of("linear")] },
  { title: "A warmup before it", text: "The first gradients of a network are the least reliable, and its curvature is highest then. A short rise keeps the first steps small. Any schedule may follow it.", set: [of("cosine", {}, 10), of("linear", {}, 10)] },
  { title: "Stable, then a decay", text: "Cosine must know the end from the start. This one holds a plateau for as long as you like and decays when you decide to stop: a model can be taken off at any time.", set: [of("warmup_stable_decay"), of("cosine", {}, 10)] },
  { title: "Without an end", text: "If nobody knows when training ends, the rate may fall like 1/t or 1/√t. Robbins and Monro proved 1951 that 1/t falls fast enough to settle and slowly enough to arrive.", set: [of("inverse_time", { decay: 0.1 }), of("inverse_sqrt")] },
  { title: "Up and down", text: "One cycle rises to a rate that would not be stable for long, then falls far below the start. Restarts take the cosine again and again, each period longer.", set: [of("one_cycle"), of("warm_restarts", { period: 14, growth: 2 })] },
];

export const schedulesRoom = {
  name: "schedules",
  title: "Schedules",
  question: "How should the rate change while you train?",
  lead: "A large rate gets there fast, a small one settles down. A schedule is a plan for going from one to the other.",
  build,
};

function build(root, changed) {
  let state = initial(fields);
  const plot = figure("Value of each schedule by step", (w) => Math.max(260, Math.min(0.5 * w, 460)), draw);
  const steps = slider({ label: "steps of the training", scale: wholeScale(2, 5000), value: state.steps, format: String, oninput: (v) => {
    state.steps = v;
    render();
    update();
  } });
  const axis = choice({ label: "Vertical axis", options: ["linear", "log"], names: { log: "logarithmic" }, value: state.axis, onchange: (v) => {
    state.axis = v;
    update();
  } });
  const place = element("div", { class: "cards" });
  const add = button("Add a schedule", () => {
    state.list.push(of(schedules.map((each) => each.name).find((name) => !state.list.some((each) => each.name === name)) ?? "cosine"));
    render();
    update();
  }, { class: "add" });
  const tale = story("Seven plans", STORY, (step) => {
    state.list = structuredClone(step.set);
    render();
    update(false);
  });
  const text = code();
  root.append(tale.element,
    element("div", { class: "stage" }, element("div", { class: "pictures" }, plot.element),
      element("div", { class: "panel" }, place, add, steps.element, axis.element)),
    text.element);

  function values(entry) {
    return named[entry.name].arguments.map((argument, i) => entry.values[argument] ?? valueOf(entry.name, i, state.steps - entry.rise > 0 ? state.steps - entry.rise : state.steps));
  }

  function at(entry) {
    const given = values(entry);
    const later = (t) => named[entry.name].at(t, ...given);
    return entry.rise ? (t) => later(Math.max(t - entry.rise, 0)) * share(t, entry.rise) : later;
  }

  function card(entry, index) {
    const schedule = named[entry.name];
    const now = values(entry);
    const sliders = schedule.arguments.map((argument, i) =>
      slider({ label: argument.replaceAll("_", " "), scale: scaleOf(argument, state.steps), value: now[i], format: (v) => shown(v, 4), oninput: (v) => {
        entry.values[argument] = v;
        if (argument === "boundary1") entry.values.boundary2 = Math.max(values(entry)[4], v + 1);
        if (argument === "boundary2") entry.values.boundary1 = Math.min(values(entry)[3], Math.max(1, v - 1));
        update();
      } }).element);
    sliders.push(slider({ label: "warmup before it", scale: wholeScale(0, Math.max(1, state.steps)), value: entry.rise, format: (v) => (v ? `${v} steps` : "none"), oninput: (v) => {
      entry.rise = v;
      update();
    } }).element);
    const name = choice({ label: `Schedule ${index + 1}`, hidden: true, options: schedules.map((each) => each.name), value: entry.name,
      names: Object.fromEntries(schedules.map((each) => [each.name, each.name.replaceAll("_", " ")])),
      onchange: (v) => {
        Object.assign(entry, of(v, {}, entry.rise));
        render();
        update();
      } });
    const mark = element("span", { class: "swatch", "aria-hidden": "true" });
    mark.style.background = `var(--series${index + 1})`;
    const remove = button("×", () => {
      state.list.splice(index, 1);
      render();
      update();
    }, { class: "remove", "aria-label": `Remove ${entry.name}`, disabled: state.list.length === 1 });
    return element("article", { class: "card", "aria-label": entry.name },
      element("div", { class: "card-head" }, mark, name.element, remove),
      element("details", { open: state.list.length < 2 || entry.open === true, ontoggle: (event) => {
        entry.open = event.target.open;
      } }, element("summary", {}, "arguments"), ...sliders, element("p", { class: "about" }, schedule.said.replaceAll("``", ""))));
  }

  function render() {
    place.replaceChildren(...state.list.map(card));
    add.hidden = state.list.length >= MOST;
    steps.set(state.steps);
    axis.set(state.axis);
  }

  function draw(c, w, h, colors) {
    const n = Math.min(state.steps + 1, 1200);
    const t = (i) => Math.round((i * state.steps) / (n - 1));
    const lines = state.list.map((entry) => {
      const f = at(entry);
      return Array.from({ length: n }, (_, i) => f(t(i)));
    });
    const all = lines.flat().filter(Number.isFinite);
    const log = state.axis === "log";
    let high = Math.max(...all, 1e-12) * (log ? 1.4 : 1.08);
    let low = log ? Math.max(Math.min(...all.filter((v) => v > 0), high), high / 1e6) / 1.4 : Math.min(0, ...all);
    if (!(high > low)) [low, high] = [0, 1];
    const box = [56, 26, w - 14, h - 42];
    const [sx, sy] = axes(c, colors, { box, x: [0, state.steps], y: [low, high], yLog: log, xLabel: "steps taken", yLabel: "value of the schedule" });
    clipped(c, [box[0], box[1] - 3, box[2] + 3, box[3] + 2], () => {
      lines.forEach((values_, k) => {
        c.strokeStyle = colors.series[k];
        c.lineWidth = 2.4;
        line(c, n, (i) => sx(t(i)), (i) => sy(log ? Math.max(values_[i], low / 10) : values_[i]));
      });
    });
    plot.label(state.list.map((entry, k) => `${entry.name}: from ${shown(lines[k][0])} to ${shown(lines[k].at(-1))}`).join("; "));
  }

  function update(own = true) {
    if (own) tale.choose(-1, false);
    text.set(pythonLines());
    plot.redraw();
    changed();
  }

  function pythonLines() {
    const lines = state.list.map((entry) => {
      const made = pythonOf(entry.name, values(entry));
      return `    ${entry.rise ? `schedules.warmup(${made}, ${entry.rise})` : made},`;
    });
    return ["from thalweg import descend, plots, schedules", "", "chosen = [", ...lines, "]",
      `plots.schedule(chosen, ${state.steps}).figure.figure.savefig("schedules.png")`,
      `trace = descend("noisy_bowl", "sgd", steps=${state.steps}, batch_size=1, lr=chosen[0])`].join("\n");
  }

  render();
  update();
  return {
    read(given) {
      state = read(fields, given);
      render();
      update();
      tale.choose(state.story, false);
    },
    write: () => written(fields, { ...state, story: tale.at() }),
  };
}
