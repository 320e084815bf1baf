// Schedules from the formulas that Python wrote: their usual arguments over a training, and the Python lines that make them.

import { schedules, share } from "./generated.js";
import { rounded } from "./controls.js";

export const named = Object.fromEntries(schedules.map((each) => [each.name, each]));
const HEIGHTS = { initial: 1, peak: 1, value: 1, value1: 1, value2: 0.3, value3: 0.1 }; // of the rate
export const SHARE = { // of all steps, where an argument counts steps
  steps: 1, every: 0.25, period: 0.25, warmup_steps: 0.1, stable_steps: 0.5, decay_steps: 0.4, boundary1: 1 / 3, boundary2: 2 / 3,
};
const WARMUP = "warmup"; // a rise, then constant

export const shapes = { // by name, what a reader is shown
  constant: "constant rate",
  ...Object.fromEntries(schedules.filter(({ name }) => name !== "constant").map(({ name }) => [name, name.replaceAll("_", " ")])),
  [WARMUP]: "warmup, then constant",
};

// The usual value of an argument, for a rate of 1 over so many steps.
export function valueOf(name, at, steps) {
  const [argument, given] = [named[name].arguments[at], named[name].defaults[at]];
  if (argument in SHARE) return Math.max(argument === "boundary2" ? 2 : 1, Math.round(SHARE[argument] * steps));
  return given ?? HEIGHTS[argument] ?? (argument === "decay" ? 0.03 : 1);
}

function valuesOf(name, lr, steps) {
  return named[name].arguments.map((argument, i) => (argument in HEIGHTS ? rounded(lr * HEIGHTS[argument], 6) : valueOf(name, i, steps)));
}

const riseOf = (steps) => Math.max(1, Math.round(steps / 10));

// The rate at each step of a descent of so many, or null where it is constant.
export function shaped(shape, lr, steps) {
  if (shape === WARMUP) return (t) => lr * share(t, riseOf(steps));
  if (shape === "constant" || !Object.hasOwn(named, shape)) return null;
  const values = valuesOf(shape, lr, steps);
  return (t) => named[shape].at(t, ...values);
}

export function shapeLine(shape, lr, steps) {
  if (shape === WARMUP) return `schedules.warmup(${rounded(lr, 6)}, ${riseOf(steps)})`;
  if (shape === "constant" || !Object.hasOwn(named, shape)) return String(rounded(lr, 6));
  return pythonOf(shape, valuesOf(shape, lr, steps));
}

// The Python that makes a schedule of these values.
export function pythonOf(name, values) {
  const schedule = named[name];
  const inside = name === "piecewise_constant"
    ? `[${values.slice(0, 3).join(", ")}], [${values.slice(3).join(", ")}]`
    : schedule.arguments.map((argument, i) => `${argument}=${values[i]}`).filter((_, i) => values[i] !== schedule.defaults[i]).join(", ");
  return `schedules.${name}(${inside})`;
}
