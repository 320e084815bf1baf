// Schedules of a rate over a descent, from the formulas that Python wrote, and the Python lines that make them.

import { schedules, share } from "./generated.js";
import { rounded } from "./controls.js";

const named = Object.fromEntries(schedules.map((each) => [each.name, each]));

function at(name, ...given) {
  const schedule = named[name];
  const values = schedule.arguments.map((_, i) => given[i] ?? schedule.defaults[i]);
  return (t) => schedule.at(t, ...values);
}

// The rate at each step of a descent of so many, or null where it is constant.
export function shaped(shape, lr, steps) {
  const third = Math.max(1, Math.round(steps / 3));
  const rise = Math.max(1, Math.round(steps / 10));
  switch (shape) {
    case "cosine": return at("cosine", lr, steps);
    case "linear": return at("linear", lr, steps);
    case "one_cycle": return at("one_cycle", lr, steps);
    case "step": return at("step", lr, third);
    case "inverse_sqrt": return at("inverse_sqrt", lr);
    case "warmup": return (t) => lr * share(t, rise);
    default: return null;
  }
}

export function shapeLine(shape, lr, steps) {
  const third = Math.max(1, Math.round(steps / 3));
  const rise = Math.max(1, Math.round(steps / 10));
  const value = rounded(lr, 6);
  switch (shape) {
    case "cosine": case "linear": case "one_cycle": return `schedules.${shape}(${value}, ${steps})`;
    case "step": return `schedules.step(${value}, ${third})`;
    case "inverse_sqrt": return `schedules.inverse_sqrt(${value})`;
    case "warmup": return `schedules.warmup(${value}, ${rise})`;
    default: return String(value);
  }
}
