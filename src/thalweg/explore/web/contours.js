// The landscape of a problem of two variables: heights as shades, and lines of equal height.

import { mix } from "./draw.js";

// Heights above the minimum by their logarithm: a line for each doubling. Without a minimum, evenly.
function heights(problem, values) {
  if (problem.minimum === null) {
    const [low, high] = values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    return values.map((v) => (20 * (v - low)) / (high - low));
  }
  const top = values.reduce((a, b) => Math.max(a, b), 0) - problem.minimum;
  return values.map((v) => Math.log2(Math.max((v - problem.minimum) / top, 2 ** -16)) + 16);
}

export function landscape(problem, low, high, width, height, colors) {
  const [columns, rows] = [Math.max(2, Math.round(width / 3)), Math.max(2, Math.round(height / 3))];
  const values = new Float64Array(columns * rows);
  for (let j = 0; j < rows; j += 1) {
    const y = high[1] - ((j + 0.5) / rows) * (high[1] - low[1]);
    for (let i = 0; i < columns; i += 1) {
      values[j * columns + i] = problem.value(low[0] + ((i + 0.5) / columns) * (high[0] - low[0]), y);
    }
  }
  const level = heights(problem, values);
  let most = 1;
  let least = Infinity;
  for (const v of level) [most, least] = [Math.max(most, v), Math.min(least, v)];
  const shades = Array.from({ length: 257 }, (_, i) => mix(colors.low, colors.high, i / 256));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, rows];
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  level.forEach((v, i) => {
    const band = (Math.floor(v) + 0.35 * (v - Math.floor(v)) - least) / (most - least + 1);
    const [r, g, b] = shades[Math.max(0, Math.min(256, Math.round(256 * band)))];
    image.data.set([r, g, b, 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
  return { canvas, lines: contourLines(level, columns, rows, least, most) };
}

// Marching squares: for each whole level, segments in units of a cell.
function contourLines(level, columns, rows, least, most) {
  const segments = [];
  for (let j = 0; j + 1 < rows; j += 1) {
    for (let i = 0; i + 1 < columns; i += 1) {
      const k = j * columns + i;
      const corner = [level[k], level[k + 1], level[k + columns + 1], level[k + columns]];
      const bottom = Math.ceil(Math.min(...corner));
      const top = Math.floor(Math.max(...corner));
      for (let v = Math.max(bottom, Math.ceil(least)); v <= Math.min(top, most); v += 1) {
        const cut = [];
        for (let e = 0; e < 4; e += 1) {
          const [p, q] = [corner[e], corner[(e + 1) % 4]];
          if (p < v !== q < v) {
            const s = (v - p) / (q - p);
            cut.push([[i + s, j], [i + 1, j + s], [i + 1 - s, j + 1], [i, j + 1 - s]][e]);
          }
        }
        for (let e = 0; e + 1 < cut.length; e += 2) segments.push(...cut[e], ...cut[e + 1]);
      }
    }
  }
  return { segments: Float32Array.from(segments), columns, rows };
}

export function drawLandscape(c, { canvas, lines }, width, height, colors) {
  c.imageSmoothingEnabled = true;
  c.imageSmoothingQuality = "high";
  c.drawImage(canvas, 0, 0, width, height);
  const [sx, sy] = [width / lines.columns, height / lines.rows];
  c.strokeStyle = colors.line;
  c.lineWidth = 0.8;
  c.beginPath();
  for (let i = 0; i < lines.segments.length; i += 4) {
    c.moveTo((lines.segments[i] + 0.5) * sx, (lines.segments[i + 1] + 0.5) * sy);
    c.lineTo((lines.segments[i + 2] + 0.5) * sx, (lines.segments[i + 3] + 0.5) * sy);
  }
  c.stroke();
}
