// A descent, step by step, as thalweg.descend takes it.

import { batches, generator, normal } from "./random.js";

const GONE = 1e150; // beyond it a path counts as diverged

export function first(rule, h, n, start) {
  const value = (name) => {
    const from = rule.start[name] ?? 0;
    return typeof from === "string" ? h[rule.hyper.indexOf(from)] : from;
  };
  return {
    x: Float64Array.from(start),
    s: rule.state.map((name) => new Float64Array(n).fill(value(name))),
    u: rule.uniform.map(value),
  };
}

// hyper: an array of numbers; lr: a function of the steps taken so far, or null.
// Returns x, the judged points, f, and the step at which it diverged (0: never).
export function descend(problem, rule, { hyper, lr, start, steps, noise, seed, batchSize, sampling }) {
  const n = start.length;
  const h = Float64Array.from(hyper);
  const at = rule.hyper.indexOf("lr");
  if (lr) h[at] = lr(0);
  const { x, s, u } = first(rule, h, n, start);
  const random = generator(seed);
  const drawn = batchSize ? batches(problem.parts.length, batchSize, sampling, random) : null;
  const path = new Float64Array((steps + 1) * n).fill(NaN);
  const f = new Float64Array(steps + 1).fill(NaN);
  // Not f(...x): to spread an array takes longer than the step.
  const asked = n === 1 ? (f_, at_) => f_(at_[0]) : (f_, at_) => f_(at_[0], at_[1]);
  const g = new Float64Array(n);
  const out = new Float64Array(n);
  for (let t = 0; t <= steps; t += 1) {
    if (t) rule.answer(n, x, s, u, h, out);
    else out.set(x);
    f[t] = asked(problem.value, out);
    let size = 0;
    for (let i = 0; i < n; i += 1) {
      path[t * n + i] = out[i];
      size = Math.max(size, Math.abs(x[i]));
    }
    if (!(size < GONE) || !(Math.abs(f[t]) < GONE)) return { path, f, diverged: t, steps: t };
    if (t === steps) break;
    if (drawn) {
      const parts = drawn.next().value;
      g.fill(0);
      for (const part of parts) {
        const slope = asked(problem.parts[part], x);
        for (let i = 0; i < n; i += 1) g[i] += slope[i] / parts.length;
      }
    } else {
      const slope = asked(problem.gradient, x);
      for (let i = 0; i < n; i += 1) g[i] = slope[i];
    }
    if (noise) for (let i = 0; i < n; i += 1) g[i] += noise * normal(random);
    if (lr) h[at] = lr(t);
    rule.step(n, g, x, s, t + 1, u, h);
    if (problem.domain) {
      const [low, high] = problem.domain;
      for (let i = 0; i < n; i += 1) x[i] = Math.min(Math.max(x[i], low[i]), high[i]);
    }
  }
  return { path, f, diverged: 0, steps };
}

// The factor per step by which the distance to the minimum shrank in the later half of the way down.
export function measuredRate(f, minimum, steps) {
  const scale = f[0] - minimum;
  let end = steps;
  while (end > 2 && !(f[end] - minimum > 1e-13 * scale)) end -= 1;
  const begin = Math.floor(end / 2);
  if (end - begin < 4) return NaN;
  let [top, bottom] = [0, 0]; // the highest in each half of it: paths that swing have low points
  const middle = Math.floor((begin + end) / 2);
  for (let t = begin; t < middle; t += 1) top = Math.max(top, f[t] - minimum);
  for (let t = middle; t < end; t += 1) bottom = Math.max(bottom, f[t] - minimum);
  return Math.sqrt(bottom / top) ** (1 / (middle - begin));
}
