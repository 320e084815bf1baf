// The state of a room as text for the address, and back. What an address says is checked: it may come from anyone.

import { rules } from "./generated.js";

export const ruleNamed = Object.fromEntries(rules.map((rule) => [rule.name, rule]));

export const number = (value, low, high) => ({
  value,
  write: String,
  read: (text) => {
    const found = Number(text);
    return Number.isFinite(found) ? Math.min(Math.max(found, low), high) : value;
  },
});

export const whole = (value, low, high) => {
  const field = number(value, low, high);
  return { ...field, read: (text) => Math.round(field.read(text)) };
};

export const oneOf = (value, options) => ({
  value,
  write: String,
  read: (text) => (options.includes(text) ? text : value),
});

export const numbers = (value) => ({
  value,
  write: (given) => given.map((each) => Number(each.toPrecision(6))).join("_"),
  read: (text) => {
    const found = text.split("_").map(Number);
    return found.length > 0 && found.length <= 12 && found.every(Number.isFinite) ? found : value;
  },
});

// Rules with what differs from their defaults: "sgd;lr:0.1,adam".
export const ruleList = (value, most) => ({
  value,
  write: (given) =>
    given.map(({ name, hyper, schedule, batch, draws, data }) => {
      const rule = ruleNamed[name];
      const changed = rule.hyper.filter((each, i) => hyper[each] !== undefined && hyper[each] !== rule.defaults[i]);
      const parts = changed.map((each) => `${each}:${hyper[each]}`);
      if (schedule && schedule !== "constant") parts.push(`schedule:${schedule}`);
      if (batch) parts.push(`batch:${batch}`);
      if (draws && draws !== "shuffle") parts.push(`draws:${draws}`);
      if (data && data !== "rows") parts.push(`data:${data}`);
      return [name, ...parts].join(";");
    }).join(","),
  read: (text) => {
    const found = text.split(",").map((each) => {
      const [name, ...parts] = each.split(";");
      const rule = Object.hasOwn(ruleNamed, name) ? ruleNamed[name] : null;
      if (!rule) return null;
      const made = { name, hyper: {}, schedule: "constant" };
      for (const part of parts) {
        const [key, given] = part.split(":");
        const at = rule.hyper.indexOf(key);
        if (["schedule", "draws", "data"].includes(key) && /^[a-z_]{1,30}$/.test(given)) made[key] = given;
        else if (key === "batch" && Number(given) >= 1) made.batch = Math.min(Math.round(Number(given)), 5000);
        else if (at >= 0 && legal(rule, at, Number(given))) made.hyper[key] = Number(given);
      }
      return made;
    }).filter(Boolean);
    return found.length ? found.slice(0, most) : value;
  },
});

export function legal(rule, at, value) {
  const [low, high, ends] = rule.ranges[at];
  if (!Number.isFinite(value)) return false;
  const above = low === null || (ends[0] === "[" ? value >= low : value > low);
  const below = high === null || (ends[1] === "]" ? value <= high : value < high);
  return above && below;
}

export function initial(fields) {
  return Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, structuredClone(field.value)]));
}

export function written(fields, state) {
  return Object.entries(fields)
    .filter(([name, field]) => field.write(state[name]) !== field.write(field.value))
    .map(([name, field]) => `&${name}=${encodeURIComponent(field.write(state[name])).replace(/%(3B|3A|2C)/g, decodeURIComponent)}`)
    .join("");
}

export function read(fields, text) {
  const state = initial(fields);
  for (const part of text.split("&")) {
    const at = part.indexOf("=");
    const name = part.slice(0, at);
    if (at < 1 || !Object.hasOwn(fields, name)) continue;
    try {
      state[name] = fields[name].read(decodeURIComponent(part.slice(at + 1)));
    } catch {
      // an address that was cut in the middle of a character
    }
  }
  return state;
}
