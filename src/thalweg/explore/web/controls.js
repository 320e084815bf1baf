// What a reader touches: sliders, lists, buttons, and code to copy. All text is text: no name can become markup.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

let ids = 0;

export function unique(name) {
  ids += 1;
  return `${name}-${ids}`;
}

// Digits that a slider can tell apart; the code to copy has the same.
export function rounded(value, digits = 3) {
  return value === 0 ? 0 : Number(value.toPrecision(digits));
}

export function shown(value, digits = 3) {
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) {
    const [mantissa, exponent] = value.toExponential(Math.max(digits - 2, 0)).split("e");
    return `${Number(mantissa)}·10${raised(Number(exponent))}`;
  }
  return String(rounded(value, digits));
}

export function raised(exponent) {
  const digits = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  return String(exponent).replace(/./g, (c) => (c === "-" ? "⁻" : digits[Number(c)]));
}

export function python(value) {
  const text = String(value);
  return text.includes("e") || !Number.isInteger(value) ? text : text;
}

// Scales: where a value lies on a slider from 0 to 1, and back.
export const linearScale = (low, high, round = (v) => rounded(v)) => ({
  to: (value) => (value - low) / (high - low),
  from: (share) => round(low + share * (high - low)),
});

export const wholeScale = (low, high) => {
  const logarithm = (v) => Math.log(v + 1 - low + 4);
  const [a, b] = [logarithm(low), logarithm(high)];
  return {
    to: (value) => (logarithm(value) - a) / (b - a),
    from: (share) => Math.round(Math.exp(a + share * (b - a)) - 5 + low),
    whole: true,
  };
};

export const logScale = (low, high) => ({
  to: (value) => Math.log(value / low) / Math.log(high / low),
  from: (share) => rounded(low * (high / low) ** share),
});

export const zeroLogScale = (low, high) => ({ // 0 at the left end
  to: (value) => (value <= 0 ? 0 : 0.06 + 0.94 * Math.max(0, Math.log(value / low) / Math.log(high / low))),
  from: (share) => (share < 0.05 ? 0 : rounded(low * (high / low) ** Math.max(0, (share - 0.06) / 0.94))),
});

export const memoryScale = (decades = 4) => ({ // by the logarithm of 1 - value
  to: (value) => -Math.log10(1 - Math.min(value, 1 - 1e-9)) / decades,
  from: (share) => {
    const rest = 10 ** (-decades * share);
    const digits = Math.max(2, Math.ceil(-Math.log10(rest)) + 1);
    return share <= 0 ? 0 : Number((1 - rest).toFixed(digits));
  },
});

export function slider({ label, scale, value, oninput, format = shown, hint }) {
  const id = unique("slider");
  const output = element("output", { for: id, class: "value" });
  const input = element("input", {
    type: "range", id, min: 0, max: 1000, step: scale.whole ? "any" : 1,
    "aria-describedby": undefined,
    oninput: () => {
      const now = scale.from(Number(input.value) / 1000);
      show(now);
      oninput(now);
    },
    onkeydown: (event) => { // whole numbers go up and down by one
      const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (!scale.whole || !by) return;
      event.preventDefault();
      const now = Math.max(scale.from(0), Math.min(scale.from(1), current + by));
      set(now);
      oninput(now);
    },
  });
  let current = value;
  function show(now) {
    current = now;
    output.textContent = format(now);
    input.setAttribute("aria-valuetext", format(now));
  }
  function set(now) {
    input.value = String(1000 * Math.min(Math.max(scale.to(now), 0), 1));
    show(now);
  }
  set(value);
  const head = element("label", { for: id, class: "slider-label" }, element("span", { title: hint }, label), output);
  return { element: element("div", { class: "slider" }, head, input), set };
}

export function choice({ label, options, value, onchange, names = {}, hidden }) {
  const id = unique("choice");
  const select = element(
    "select", { id, onchange: () => onchange(select.value) },
    ...options.map((each) => element("option", { value: each }, names[each] ?? each)),
  );
  select.value = value;
  const head = element("label", { for: id, class: hidden ? "unseen" : "choice-label" }, label);
  return {
    element: element("div", { class: "choice" }, head, select),
    set: (now) => {
      select.value = now;
    },
  };
}

export function button(label, onclick, properties = {}) {
  return element("button", { type: "button", onclick, ...properties }, label);
}

// Whether a text could be put on the clipboard.
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // a page from a file may not write to it everywhere
  }
}

// The Python that does the same, with a button that copies it.
export function code(title = "The same in Python") {
  const text = element("code");
  const say = element("span", { class: "unseen", role: "status" });
  const copy = button("Copy", async () => {
    let done = await copied(text.textContent);
    if (!done) {
      const range = document.createRange();
      range.selectNodeContents(text);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      done = document.execCommand?.("copy") ?? false;
    }
    copy.textContent = done ? "Copied" : "Selected";
    say.textContent = done ? "Copied to the clipboard" : "Selected: press Ctrl+C";
    setTimeout(() => {
      copy.textContent = "Copy";
      say.textContent = "";
    }, 1500);
  }, { class: "copy" });
  const made = element(
    "section", { class: "code", "aria-label": title },
    element("div", { class: "code-head" }, element("h2", {}, title), copy, say),
    element("pre", { tabindex: 0, role: "region", "aria-label": `${title}: code` }, text),
  );
  return {
    element: made,
    set: (now) => {
      text.textContent = now;
    },
  };
}

// Numbered steps of a story: each sets the room up, and says in a few sentences what is to be seen.
export function story(label, steps, onstep) {
  const said = element("p", { class: "said", "aria-live": "polite" }, "Follow the story from 1 on, or change anything that you see.");
  const tabs = steps.map((step, i) =>
    button("", () => choose(i, true), { class: "step", "aria-pressed": "false" }));
  tabs.forEach((tab, i) => {
    tab.append(element("span", { class: "number", "aria-hidden": "true" }, String(i + 1)), steps[i].title);
  });
  let at = -1;
  function choose(i, act) {
    at = i < steps.length ? i : -1;
    tabs.forEach((tab, j) => tab.setAttribute("aria-pressed", String(at === j)));
    said.textContent = at < 0 ? "Follow the story from 1 on, or change anything that you see." : steps[at].text;
    if (act) onstep(steps[i]);
  }
  return {
    element: element("div", { class: "story", role: "group", "aria-label": label }, element("div", { class: "steps" }, ...tabs), said),
    choose,
    at: () => at, // the step that is told, or -1
  };
}
