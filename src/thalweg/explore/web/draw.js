// Canvases that fit their place, in the colours of the page.

import { element, raised } from "./controls.js";

let known = null;

export function theme() {
  if (!known) {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(`--${name}`).trim();
    known = Object.fromEntries(
      ["paper", "panel", "ink", "muted", "faint", "line", "accent", "warn", "low", "high", "good", "bad", "class0", "class1"]
        .map((name) => [name, read(name)]));
    known.series = [1, 2, 3, 4, 5, 6].map((i) => read(`series${i}`));
  }
  return known;
}

const figures = new Set();

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  known = null;
  for (const each of figures) each.redraw();
});

// Pixels of the page per unit of a picture: more where the page's letters are larger, as on a wall of a screen.
export function unit() {
  return Number.parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
}

export function rgb(color) {
  const value = Number.parseInt(color.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

export function mix(a, b, share) {
  const [p, q] = [rgb(a), rgb(b)];
  return p.map((each, i) => Math.round(each + (q[i] - each) * share));
}

// A canvas that is drawn again when its size, the theme or what it shows changes.
export function figure(label, height, draw) {
  const canvas = element("canvas", { role: "img", "aria-label": label });
  const place = element("div", { class: "figure" }, canvas);
  const context = canvas.getContext("2d");
  let [w, h, due] = [0, 0, false];
  function now() {
    due = false;
    if (!w || !place.isConnected) return;
    const ratio = Math.min(devicePixelRatio || 1, 3) * unit();
    const [wide, tall] = [Math.round(w * ratio), Math.round(h * ratio)];
    if (canvas.width !== wide || canvas.height !== tall) [canvas.width, canvas.height] = [wide, tall];
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, w, h);
    context.font = "12px system-ui, sans-serif";
    context.lineJoin = "round";
    draw(context, w, h, theme());
  }
  const made = {
    element: place,
    canvas,
    redraw() {
      if (due) return;
      due = true;
      requestAnimationFrame(now);
    },
    now,
    label(text) {
      if (canvas.getAttribute("aria-label") !== text) canvas.setAttribute("aria-label", text);
    },
    get size() {
      return [w, h];
    },
  };
  new ResizeObserver(([entry]) => {
    const wide = Math.round(entry.contentRect.width / unit());
    const tall = Math.round(typeof height === "function" ? height(wide) : height);
    if (wide === w && tall === h) return;
    [w, h] = [wide, tall];
    canvas.style.height = `${h * unit()}px`;
    made.redraw();
  }).observe(place);
  figures.add(made);
  return made;
}

export function scale(from, to, log = false) {
  const f = log ? Math.log10 : (v) => v;
  const [a, b] = [f(from[0]), f(from[1])];
  const at = (v) => to[0] + ((f(v) - a) / (b - a || 1)) * (to[1] - to[0]);
  at.inverse = (p) => {
    const v = a + ((p - to[0]) / (to[1] - to[0])) * (b - a);
    return log ? 10 ** v : v;
  };
  at.domain = from;
  at.log = log;
  return at;
}

export function ticks(low, high, log, most = 6) {
  if (log) {
    const [a, b] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
    const every = Math.max(1, Math.ceil((b - a + 1) / most));
    const found = [];
    for (let k = a; k <= b; k += 1) if ((k - b) % every === 0) found.push(10 ** k);
    return found;
  }
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((m) => m >= rough);
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) found.push(Math.abs(v) < step / 1e6 ? 0 : v);
  return found;
}

export function tickText(v, log) {
  if (log) {
    const k = Math.round(Math.log10(v));
    return k >= -2 && k <= 4 ? String(Number(v.toPrecision(1))) : `10${raised(k)}`;
  }
  const size = Math.abs(v);
  return size >= 1e5 || (size && size < 1e-3) ? v.toExponential(0) : String(Number(v.toPrecision(6)));
}

// The frame of a plot: a grid, ticks and what the axes are. Returns the scales.
export function axes(c, colors, { box, x, y, xLog, yLog, xLabel, yLabel, xTicks, yTicks, xText, yText }) {
  const [left, top, right, bottom] = box;
  const [sx, sy] = [scale(x, [left, right], xLog), scale(y, [bottom, top], yLog)];
  c.save();
  c.strokeStyle = colors.faint;
  c.fillStyle = colors.muted;
  c.lineWidth = 1;
  c.textAlign = "center";
  c.textBaseline = "top";
  for (const v of xTicks ?? ticks(...x, xLog, Math.max(2, (right - left) / 70))) {
    const p = Math.round(sx(v)) + 0.5;
    c.globalAlpha = 0.6;
    c.beginPath();
    c.moveTo(p, top);
    c.lineTo(p, bottom);
    c.stroke();
    c.globalAlpha = 1;
    c.fillText((xText ?? tickText)(v, xLog), p, bottom + 6);
  }
  c.textAlign = "right";
  c.textBaseline = "middle";
  for (const v of yTicks ?? ticks(...y, yLog, Math.max(2, (bottom - top) / 38))) {
    const p = Math.round(sy(v)) + 0.5;
    c.globalAlpha = 0.6;
    c.beginPath();
    c.moveTo(left, p);
    c.lineTo(right, p);
    c.stroke();
    c.globalAlpha = 1;
    c.fillText((yText ?? tickText)(v, yLog), left - 7, p);
  }
  c.textBaseline = "alphabetic";
  if (xLabel) {
    c.textAlign = "right";
    c.fillText(xLabel, right, bottom + 34);
  }
  if (yLabel) {
    c.textAlign = "left";
    c.fillText(yLabel, Math.max(left - 40, 2), top - 9);
  }
  c.restore();
  return [sx, sy];
}

export function clipped(c, [left, top, right, bottom], draw) {
  c.save();
  c.beginPath();
  c.rect(left, top, right - left, bottom - top);
  c.clip();
  draw();
  c.restore();
}

// A line through points (x(i), y(i)); it is thinned to what the width can show, and ends at what is not finite.
export function line(c, n, x, y, most = 1500) {
  c.beginPath();
  const every = Math.max(1, Math.floor(n / most));
  let open = false;
  for (let i = 0; i < n; i += 1) {
    if (i % every && i !== n - 1) continue;
    const [px, py] = [x(i), y(i)];
    if (!Number.isFinite(px) || !Number.isFinite(py)) {
      open = false;
      continue;
    }
    const clamped = Math.max(-1e4, Math.min(1e4, py));
    if (open) c.lineTo(Math.max(-1e4, Math.min(1e4, px)), clamped);
    else c.moveTo(px, clamped);
    open = true;
  }
  c.stroke();
}

// A ring in the picture that a pointer or the arrow keys move.
export function handle(label, onmove) {
  const made = element("button", { type: "button", class: "handle", "aria-label": label });
  let from = null;
  made.addEventListener("pointerdown", (event) => {
    from = made.offsetParent.getBoundingClientRect();
    made.setPointerCapture(event.pointerId);
    event.preventDefault();
    made.focus();
  });
  made.addEventListener("pointermove", (event) => {
    if (from) onmove((event.clientX - from.left) / unit(), (event.clientY - from.top) / unit());
  });
  for (const end of ["pointerup", "pointercancel"]) {
    made.addEventListener(end, () => {
      from = null;
    });
  }
  made.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!by) return;
    event.preventDefault();
    const step = event.shiftKey ? 20 : 4;
    onmove(Number(made.dataset.x) + step * by[0], Number(made.dataset.y) + step * by[1]);
  });
  return {
    element: made,
    place(x, y) {
      [made.dataset.x, made.dataset.y] = [x, y];
      made.style.transform = `translate(${x * unit()}px, ${y * unit()}px)`;
    },
  };
}
