// Batches: linear regression on real rows, by minibatches of any size, drawn in any way.

import { cards } from "./cards.js";
import { button, choice, code, element, shown, slider, story, wholeScale } from "./controls.js";
import { axes, clipped, figure, line } from "./draw.js";
import { sets } from "./generated.js";
import { batches as drawn, generator, normal } from "./random.js";
import { first } from "./run.js";
import { initial, oneOf, read, ruleList, ruleNamed, whole, written } from "./state.js";
import { hyperOf, isLinear, linearize, noiseFloor, rate } from "./theory.js";

const MOST = 4;
const FEW = 60; // rows of the recycled set
const DRAWS = { shuffle: "shuffled each epoch", replacement: "independent draws", sequential: "in their own order" };
const DATA = {
  rows: "all rows", copies: "all rows, four times each", few: `${FEW} rows, again and again`, stream: "fresh rows for ever",
};
const prepared = sets.map((set) => ({ ...set, n: set.y.length, d: set.features.length, flat: Float64Array.from(set.X.flat()) }));

const one = (batch, lr, more = {}) => ({ name: "sgd", hyper: { lr }, schedule: "constant", batch, draws: "shuffle", data: "rows", ...more });
const fields = {
  set: oneOf("diabetes", sets.map((set) => set.name)),
  list: ruleList([one(1, 0.01), one(16, 0.1), one(442, 0.4)], MOST),
  epochs: whole(20, 1, 200),
  by: oneOf("epochs", ["epochs", "examples", "steps"]),
  seed: whole(0, 0, 1e9),
  story: whole(-1, -1, 20), // -1: none of it
};

const STORY = [
  {
    title: "Many small steps",
    text: "One pass over the data is an epoch. The whole set gives one careful step per epoch; single examples give 442 rough ones. Measured by epochs, small batches are far ahead at first: most of what a batch says, its first few examples say already.",
    set: { by: "epochs", epochs: 20, list: [one(1, 0.01), one(16, 0.1), one(442, 0.4)] },
  },
  {
    title: "The same by steps",
    text: "Now the axis counts steps, which is time on a machine that does a batch in parallel. Each step of a large batch is better. So the size of a batch trades work against time; it does not make the work less.",
    set: { by: "steps", epochs: 100, list: [one(16, 0.1), one(64, 0.2), one(442, 0.4)] },
  },
  {
    title: "The noise floor",
    text: "At a constant rate the loss stops falling: each step's noise throws the weights about as much as the slope draws them back. The dotted lines are where theory puts that floor, from the rule's matrix and the scatter of the gradients. Four times the batch, a quarter of the floor.",
    set: { by: "epochs", epochs: 200, list: [one(2, 0.05, { draws: "replacement" }), one(8, 0.05, { draws: "replacement" }), one(32, 0.05, { draws: "replacement" })] },
  },
  {
    title: "Rate and batch together",
    text: "Four times the batch at four times the rate: both go down alike by epochs, and reach the same floor, with a quarter of the steps. This is the linear scaling rule. It ends where the rate meets its limit.",
    set: { by: "epochs", epochs: 40, list: [one(2, 0.01, { draws: "replacement" }), one(8, 0.04, { draws: "replacement" }), one(32, 0.16, { draws: "replacement" })] },
  },
  {
    title: "How rows are drawn",
    text: "Shuffled each epoch, every row comes once before any comes twice, and errors cancel over an epoch: the floor is lower than with independent draws. In their own order it is as low, as long as the file has no order of its own.",
    set: { by: "epochs", epochs: 60, list: [one(4, 0.02, { draws: "replacement" }), one(4, 0.02), one(4, 0.02, { draws: "sequential" })] },
  },
  {
    title: "Rows that are there four times",
    text: "Copying each row four times makes epochs four times as long. By epochs the copied set looks faster; change the axis to examples, and the curves lie on each other. Copies teach nothing: they cost time.",
    set: { by: "epochs", epochs: 10, list: [one(16, 0.05), one(16, 0.05, { data: "copies" })] },
  },
  {
    title: "A stream against a recycled set",
    text: "One learner sees sixty rows again and again, the other fresh rows for ever. At first nobody can tell them apart. Then the first has learnt its sixty rows, noise and all, and stops well above the minimum, while the stream goes on: new data are worth more than more epochs.",
    set: { by: "examples", epochs: 60, list: [one(4, 0.01, { data: "few" }), one(4, 0.01, { data: "stream" })] },
  },
];

export const batchesRoom = {
  name: "batches",
  title: "Batches",
  question: "How many examples should a step look at?",
  lead: "Linear regression on real measurements. A minibatch is a sample, so its gradient is a guess; larger batches guess better and cost more.",
  build,
};

function build(root, changed) {
  let state = initial(fields);
  let runs = [];
  let due = false;
  const plot = figure("Height above the minimum", (w) => Math.max(280, Math.min(0.55 * w, 480)), draw);
  const epochs = slider({ label: "passes over the data", scale: wholeScale(1, 200), value: state.epochs, format: String, oninput: (v) => {
    state.epochs = v;
    own();
    compute();
  } });
  const by = choice({ label: "Horizontal axis", options: ["epochs", "examples", "steps"], value: state.by, onchange: (v) => {
    state.by = v;
    own();
    compute();
  } });
  const set = choice({ label: "Data", options: sets.map((each) => each.name), value: state.set, onchange: (v) => {
    state.set = v;
    own();
    compute();
  } });
  const about = element("p", { class: "about" });
  const list = cards({
    most: MOST, color: (i) => i, schedules: false, first: () => one(32, 0.1),
    onchange: () => {
      own();
      later();
    },
    beside: (entry) => [
      slider({ label: "batch size", scale: wholeScale(1, data().n), value: entry.batch ?? 16, format: String, oninput: (v) => {
        entry.batch = v;
        own();
        later();
      } }).element,
      choice({ label: "data", options: Object.keys(DATA), names: DATA, value: entry.data ?? "rows", onchange: (v) => {
        entry.data = v;
        own();
        compute();
      } }).element,
      choice({ label: "rows are drawn", options: Object.keys(DRAWS), names: DRAWS, value: entry.draws ?? "shuffle", onchange: (v) => {
        entry.draws = v;
        own();
        compute();
      } }).element,
    ],
  });
  const reroll = button("Other random numbers", () => {
    state.seed += 1;
    own();
    compute();
  });
  const tale = story("A story in seven steps", STORY, (step) => {
    Object.assign(state, structuredClone(step.set));
    sync();
    compute();
  });
  const text = code();
  root.append(tale.element,
    element("div", { class: "stage" },
      element("div", { class: "pictures" }, plot.element,
        element("p", { class: "caption" }, "Height of the loss on all rows above its minimum. Dotted: the floor that theory predicts for independent draws at a constant rate.")),
      element("div", { class: "panel" }, set.element, about, by.element, epochs.element, list.element, reroll)),
    text.element);

  const data = () => prepared.find((each) => each.name === state.set);

  function own() {
    tale.choose(-1, false);
  }

  function later() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      compute();
    });
  }

  function clean(entry) {
    entry.batch = Math.min(Math.max(entry.batch ?? 16, 1), data().n);
    if (!Object.hasOwn(DRAWS, entry.draws ?? "")) entry.draws = "shuffle";
    if (!Object.hasOwn(DATA, entry.data ?? "")) entry.data = "rows";
    return entry;
  }

  function above(w) { // the loss on all rows less its minimum: a quadratic of the distance to the minimizer
    const { spectrum, eigenvectors, minimizer } = data();
    let sum = 0;
    spectrum.forEach((each, k) => {
      let along = 0;
      for (let j = 0; j < w.length; j += 1) along += eigenvectors[k][j] * (w[j] - minimizer[j]);
      sum += (each / 2) * along * along;
    });
    return sum;
  }

  function train(entry) {
    const { n, d, flat, y, minimizer, minimum } = data();
    const rule = ruleNamed[entry.name];
    const h = Float64Array.from(hyperOf(rule, entry.hyper));
    const { x, s, u } = first(rule, h, d, new Float64Array(d));
    const random = generator(state.seed);
    const spread = Math.sqrt(2 * minimum);
    const teacher = entry.data === "few" || entry.data === "stream"; // labels of the best fit, with fresh noise
    const rows = entry.data === "few" ? FEW : entry.data === "copies" ? 4 * n : n;
    const fixed = teacher ? Float64Array.from({ length: FEW }, () => spread * normal(random)) : null;
    const order = drawn(rows, Math.min(entry.batch, rows), entry.draws, random);
    const total = state.epochs * n * (entry.data === "copies" && state.by === "epochs" ? 4 : 1);
    const [g, at] = [new Float64Array(d), new Float64Array(d)];
    const points = { seen: [0], steps: [0], height: [above(x)] };
    let [seen, t, next] = [0, 0, 1];
    while (seen < total) {
      const batch = order.next().value;
      g.fill(0);
      for (const each of batch) {
        const row = entry.data === "stream" ? Math.floor(random() * n) : each % n;
        let [z, label] = [0, teacher ? (entry.data === "few" ? fixed[each] : spread * normal(random)) : y[row]];
        for (let j = 0; j < d; j += 1) {
          z += flat[row * d + j] * x[j];
          if (teacher) label += flat[row * d + j] * minimizer[j];
        }
        const slope = (z - label) / batch.length;
        for (let j = 0; j < d; j += 1) g[j] += slope * flat[row * d + j];
      }
      t += 1;
      rule.step(d, g, x, s, t, u, h);
      seen += batch.length;
      if (t >= next || seen >= total) {
        rule.answer(d, x, s, u, h, at);
        const value = above(at);
        points.seen.push(seen);
        points.steps.push(t);
        points.height.push(value);
        if (!(value < 1e12)) return { points, rows, diverged: t };
        next = Math.max(t + 1, t + Math.floor((total / Math.min(entry.batch, rows)) / 400));
      }
    }
    return { points, rows, diverged: 0 };
  }

  function floorOf(entry) {
    const rule = ruleNamed[entry.name];
    if (!isLinear(rule) || rule.theory.frozen.length || !rule.hyper.includes("lr")) return NaN;
    const { spectrum, noise, minimum } = data();
    const map = linearize(rule, hyperOf(rule, entry.hyper));
    if (!(rate(map, spectrum) < 1)) return NaN;
    const of = (k) => (entry.data === "stream" ? 2 * minimum * spectrum[k] : noise[k]) / entry.batch;
    return entry.data === "few" ? NaN : spectrum.reduce((sum, each, k) => sum + noiseFloor(map, each, of(k)), 0);
  }

  function sync() {
    set.set(state.set);
    by.set(state.by);
    epochs.set(state.epochs);
    list.set(state.list.map(clean));
  }

  function compute() {
    const { n, d, name } = data();
    about.textContent = `${n} rows, ${d} features: ${data().features.join(", ")}`;
    runs = state.list.map((entry) => ({ ...train(clean(entry)), entry, floor: floorOf(entry) }));
    runs.forEach((run, i) => {
      const words = [run.diverged ? `diverged after ${run.diverged} steps` : `${run.points.steps.at(-1).toLocaleString("en")} steps, ends ${shown(run.points.height.at(-1))} above the minimum`];
      if (Number.isFinite(run.floor)) words.push(`floor by theory ${shown(run.floor)}`);
      list.note(i, words.join(" · "));
    });
    plot.label(`Height above the minimum on ${name}: ${runs.map((run) => `${run.entry.name}, batch ${run.entry.batch}: ${shown(run.points.height.at(-1))}`).join("; ")}`);
    text.set(pythonLines());
    plot.redraw();
    changed();
  }

  function draw(c, w, h, colors) {
    const { n } = data();
    const across = (run) => (state.by === "steps" ? run.points.steps : state.by === "examples" ? run.points.seen : run.points.seen.map((v) => v / (run.entry.data === "copies" ? 4 * n : n)));
    const most = Math.max(1, ...runs.map((run) => across(run).at(-1)));
    const all = runs.flatMap((run) => run.points.height).filter((v) => v > 0 && Number.isFinite(v));
    const top = runs[0].points.height[0];
    const low = Math.max(Math.min(...all, ...runs.map((run) => run.floor).filter(Number.isFinite)), top * 1e-9) / 1.8;
    const box = [58, 26, w - 14, h - 42];
    const name = { epochs: "epochs", examples: "examples seen", steps: "steps" }[state.by];
    const [sx, sy] = axes(c, colors, { box, x: [0, most], y: [low, Math.min(Math.max(...all), 20 * top) * 1.6], yLog: true, xLabel: name, yLabel: "height above the minimum, logarithmic" });
    clipped(c, box, () => {
      runs.forEach((run, i) => {
        const x = across(run);
        c.strokeStyle = colors.series[i];
        c.lineWidth = 1.8;
        line(c, x.length, (k) => sx(x[k]), (k) => sy(Math.max(run.points.height[k], 1e-30)));
        if (Number.isFinite(run.floor)) {
          c.setLineDash([2, 4]);
          c.lineWidth = 1.8;
          c.beginPath();
          c.moveTo(box[0], sy(run.floor));
          c.lineTo(box[2], sy(run.floor));
          c.stroke();
          c.setLineDash([]);
        }
      });
    });
  }

  function pythonLines() {
    const { n } = data();
    const own_ = state.list.map((entry) => ruleNamed[entry.name]).filter((rule) => rule.module);
    const total = state.epochs * n;
    const rows = { // what is trained on, its epochs, and how it is drawn
      rows: () => ["X, y", state.epochs],
      copies: () => ["np.tile(X, (4, 1)), np.tile(y, 4)", state.by === "epochs" ? state.epochs : Math.max(1, Math.round(state.epochs / 4))],
      few: () => [`*fresh(np.arange(${FEW}))`, Math.round(total / FEW)],
      stream: () => [`*fresh(random.integers(${n}, size=${total}))`, 1, "sequential"],
    };
    const lines = state.list.flatMap((entry) => {
      const rule = ruleNamed[entry.name];
      const given = Object.entries(entry.hyper).map(([name, v]) => `, ${name}=${v}`).join("");
      const [own, epochs_, draws = entry.draws] = rows[entry.data]();
      const batch = Math.min(entry.batch, entry.data === "few" ? FEW : entry.batch);
      return [
        `fit = linear.train(${own}, rule=${rule.module ? rule.name : `"${rule.name}"`}, epochs=${epochs_}, batch_size=${batch}, sampling="${draws}", intercept=False${given})`,
        "print(height(fit))",
      ];
    });
    const fresh = [
      "random = np.random.default_rng(0)", "",
      "def fresh(rows):", "    # labels of the best fit, with fresh noise",
      "    return X[rows], X[rows] @ best + np.std(X @ best - y) * random.normal(size=len(rows))", "",
    ];
    return [
      "import numpy as np", "", "from thalweg import data, linear",
      ...own_.map((rule) => `from ${rule.module} import ${rule.name}`), "",
      `loaded = data.load("${state.set}")`,
      "X = (loaded.X - loaded.X.mean(axis=0)) / loaded.X.std(axis=0)",
      "y = (loaded.y - loaded.y.mean()) / loaded.y.std()",
      "best = np.linalg.lstsq(X, y)[0]", "",
      "def height(fit):", "    # of the loss on all rows above its minimum",
      "    return np.mean((X @ (fit.coef[0, 0] - best)) ** 2) / 2", "",
      ...(state.list.some((entry) => ["few", "stream"].includes(entry.data)) ? fresh : []),
      "# Python draws other random numbers: the curves differ, their statistics do not.",
      ...lines,
    ].join("\n");
  }

  sync();
  compute();
  return {
    read(given) {
      state = read(fields, given);
      sync();
      compute();
      tale.choose(state.story, false);
    },
    write: () => written(fields, { ...state, story: tale.at() }),
  };
}
