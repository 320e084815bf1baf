// Cards of rules: a name, its hyperparameters as sliders each on its own scale, and what is measured of it.

import {
  button, choice, element, linearScale, logScale, memoryScale, shown, slider, zeroLogScale,
} from "./controls.js";
import { rules } from "./generated.js";
import { shapes } from "./shapes.js";
import { ruleNamed } from "./state.js";

const MAIN = ["lr", "beta", "beta1", "beta2", "gamma", "rho"]; // shown at once; others lie under "more"

export function scaleOf(rule, i) {
  const [low, high] = rule.ranges[i];
  const [name, value] = [rule.hyper[i], rule.defaults[i]];
  if (low === 0 && high === 1) {
    return rule.ranges[i][2][0] === "(" ? linearScale(0.05, 0.95, (v) => Number(v.toFixed(2))) : memoryScale();
  }
  if (name === "lr") return logScale(1e-5, 20);
  if (name === "eps") return zeroLogScale(1e-16, 1);
  if (name === "warmup" || name === "t0") return zeroLogScale(1, 1e6);
  if (low === 0) return zeroLogScale(1e-6, Math.max(10, 10 * value));
  if (low !== null && high === null) return linearScale(low + 0.01, low + 2, (v) => Number(v.toFixed(2)));
  const reach = 3 * Math.max(1, Math.abs(value));
  return linearScale(low ?? value - reach, high ?? value + reach);
}

export function cards({ most, color, onchange, schedules, first, beside = () => [] }) {
  const place = element("div", { class: "cards" });
  const add = button("Add a rule", () => {
    list.push(first ? first(list) : { name: "adam", hyper: {}, schedule: "constant" });
    render();
    onchange();
  }, { class: "add" });
  const whole = element("div", {}, place, add);
  let list = [];
  let notes = [];

  function card(entry, index) {
    const rule = ruleNamed[entry.name];
    const values = (i) => entry.hyper[rule.hyper[i]] ?? rule.defaults[i];
    const sliders = rule.hyper.map((name, i) =>
      slider({
        label: name === "lr" ? "lr (rate)" : name.replaceAll("_", " "),
        scale: scaleOf(rule, i),
        value: values(i),
        format: (v) => shown(v, 4),
        oninput: (v) => {
          entry.hyper[name] = v;
          onchange();
        },
      }).element);
    const name = choice({
      label: `Rule ${index + 1}`, hidden: true, options: rules.map((each) => each.name), value: entry.name,
      onchange: (chosen) => {
        const lr = entry.hyper.lr;
        entry.name = chosen;
        entry.hyper = lr !== undefined && ruleNamed[chosen].hyper.includes("lr") ? { lr } : {};
        render();
        onchange();
      },
    });
    const remove = button("×", () => {
      list.splice(index, 1);
      render();
      onchange();
    }, { class: "remove", "aria-label": `Remove ${entry.name}`, disabled: list.length === 1 });
    const note = element("p", { class: "note" });
    notes.push(note);
    const mark = element("span", { class: "swatch", "aria-hidden": "true" });
    mark.style.background = `var(--series${color(index) + 1})`;
    const head = element("div", { class: "card-head" }, mark, name.element, remove);
    const main = sliders.filter((_, i) => MAIN.includes(rule.hyper[i]));
    const others = sliders.filter((_, i) => !MAIN.includes(rule.hyper[i]));
    if (schedules && rule.hyper.includes("lr")) {
      main.push(choice({
        label: "schedule of lr", options: Object.keys(shapes), names: shapes, value: entry.schedule ?? "constant",
        onchange: (chosen) => {
          entry.schedule = chosen;
          onchange();
        },
      }).element);
    }
    const about = element("p", { class: "about" }, rule.said, " ", element("cite", {}, rule.source_of));
    const more = element("details", { open: entry.open === true }, element("summary", {}, "more"), ...others, about);
    more.addEventListener("toggle", () => {
      entry.open = more.open;
    });
    const made = element("article", { class: "card", "aria-label": entry.name }, head, ...main, ...beside(entry), note, more);
    return made;
  }

  function render() {
    notes = [];
    place.replaceChildren(...list.map(card));
    add.hidden = list.length >= most;
  }
  return {
    element: whole,
    set(given) {
      list = given;
      render();
    },
    note(index, text) {
      if (notes[index] && notes[index].textContent !== text) notes[index].textContent = text;
    },
  };
}
