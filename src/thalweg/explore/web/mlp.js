// A small multilayer perceptron for two classes: forward and backward over a minibatch, without any library.

import { normal } from "./random.js";

export const ACTIVATIONS = ["tanh", "relu", "sigmoid"];

export function network(widths, activation) {
  const sizes = [2, ...widths, 1];
  const layers = [];
  let count = 0;
  for (let l = 0; l + 1 < sizes.length; l += 1) {
    layers.push({ inputs: sizes[l], outputs: sizes[l + 1], weights: count, biases: count + sizes[l] * sizes[l + 1] });
    count += (sizes[l] + 1) * sizes[l + 1];
  }
  return { sizes, layers, count, activation };
}

// usual: Glorot's for tanh and sigmoid, He's for ReLU; others are so many times that.
export const FACTORS = { usual: 1, small: 0.02, large: 4, zero: 0 };

export function start(net, how, random) {
  const x = new Float64Array(net.count);
  const factor = FACTORS[how];
  for (const { inputs, outputs, weights } of net.layers) {
    const spread = net.activation === "relu" ? Math.sqrt(2 / inputs) : Math.sqrt(2 / (inputs + outputs));
    for (let i = 0; i < inputs * outputs; i += 1) x[weights + i] = factor * spread * normal(random);
  }
  return x;
}

export function workspace(net, rows) {
  return {
    rows,
    values: net.sizes.map((size) => new Float64Array(size * rows)),
    slopes: net.sizes.map((size) => new Float64Array(size * rows)),
    moves: net.sizes.map((size) => new Float64Array(size * rows)), // of the values, as x moves along v
    turns: net.sizes.map((size) => new Float64Array(size * rows)), // of the slopes
  };
}

// The outputs (logits) of rows; points are pairs of numbers one after the other.
export function forward(net, x, points, n, space) {
  space.values[0].set(points.subarray(0, 2 * n));
  net.layers.forEach(({ inputs, outputs, weights, biases }, l) => {
    const [from, to] = [space.values[l], space.values[l + 1]];
    const last = l === net.layers.length - 1;
    for (let r = 0; r < n; r += 1) {
      const [a, b] = [r * inputs, r * outputs];
      for (let j = 0; j < outputs; j += 1) {
        let sum = x[biases + j];
        const w = weights + j * inputs;
        for (let i = 0; i < inputs; i += 1) sum += x[w + i] * from[a + i];
        if (!last) {
          if (net.activation === "tanh") sum = Math.tanh(sum);
          else if (net.activation === "relu") sum = sum > 0 ? sum : 0;
          else sum = 1 / (1 + Math.exp(-sum));
        }
        to[b + j] = sum;
      }
    }
  });
  return space.values.at(-1);
}

const softplus = (z) => (z > 0 ? z + Math.log1p(Math.exp(-z)) : Math.log1p(Math.exp(z)));

// The mean logistic loss of labels 0 and 1.
export function lossOf(outputs, labels, n) {
  let sum = 0;
  for (let r = 0; r < n; r += 1) sum += softplus(labels[r] ? -outputs[r] : outputs[r]);
  return sum / n;
}

// The slope of an activation where its value is v.
function derivative(activation, v) {
  if (activation === "tanh") return 1 - v * v;
  if (activation === "relu") return v > 0 ? 1 : 0;
  return v * (1 - v);
}

// The loss, and its gradient in g.
export function gradient(net, x, points, labels, n, g, space) {
  const outputs = forward(net, x, points, n, space);
  const loss = lossOf(outputs, labels, n);
  g.fill(0);
  const top = space.slopes.at(-1);
  for (let r = 0; r < n; r += 1) top[r] = (1 / (1 + Math.exp(-outputs[r])) - labels[r]) / n;
  for (let l = net.layers.length - 1; l >= 0; l -= 1) {
    const { inputs, outputs: width, weights, biases } = net.layers[l];
    const [from, slope, below] = [space.values[l], space.slopes[l + 1], space.slopes[l]];
    if (l) below.fill(0, 0, n * inputs);
    for (let r = 0; r < n; r += 1) {
      const [a, b] = [r * inputs, r * width];
      for (let j = 0; j < width; j += 1) {
        const s = slope[b + j];
        if (s === 0) continue;
        const w = weights + j * inputs;
        g[biases + j] += s;
        for (let i = 0; i < inputs; i += 1) {
          g[w + i] += s * from[a + i];
          if (l) below[a + i] += s * x[w + i];
        }
      }
      if (!l) continue;
      for (let i = 0; i < inputs; i += 1) below[a + i] *= derivative(net.activation, from[a + i]);
    }
  }
  return loss;
}

// The norm of the gradient of each layer.
export function layerNorms(net, g) {
  return net.layers.map(({ weights, biases, outputs }) => {
    let sum = 0;
    for (let i = weights; i < biases + outputs; i += 1) sum += g[i] * g[i];
    return Math.sqrt(sum);
  });
}

// The Hessian of the loss times v, exactly: how the gradient changes as x moves along v (Pearlmutter 1994).
export function product(net, x, v, points, labels, n, hv, space) {
  const { values, slopes, moves, turns } = space;
  const outputs = forward(net, x, points, n, space);
  moves[0].fill(0, 0, 2 * n);
  net.layers.forEach(({ inputs, outputs: width, weights, biases }, l) => {
    const last = l === net.layers.length - 1;
    for (let r = 0; r < n; r += 1) {
      const [a, b] = [r * inputs, r * width];
      for (let j = 0; j < width; j += 1) {
        const w = weights + j * inputs;
        let sum = v[biases + j];
        for (let i = 0; i < inputs; i += 1) sum += v[w + i] * values[l][a + i] + x[w + i] * moves[l][a + i];
        moves[l + 1][b + j] = last ? sum : sum * derivative(net.activation, values[l + 1][b + j]);
      }
    }
  });
  hv.fill(0);
  const top = net.layers.length;
  for (let r = 0; r < n; r += 1) {
    const p = 1 / (1 + Math.exp(-outputs[r]));
    slopes[top][r] = (p - labels[r]) / n;
    turns[top][r] = (p * (1 - p) * moves[top][r]) / n;
  }
  for (let l = top - 1; l >= 0; l -= 1) {
    const { inputs, outputs: width, weights, biases } = net.layers[l];
    const [from, move, slope, turn, below, under] = [values[l], moves[l], slopes[l + 1], turns[l + 1], slopes[l], turns[l]];
    if (l) {
      below.fill(0, 0, n * inputs);
      under.fill(0, 0, n * inputs);
    }
    for (let r = 0; r < n; r += 1) {
      const [a, b] = [r * inputs, r * width];
      for (let j = 0; j < width; j += 1) {
        const [s, q] = [slope[b + j], turn[b + j]];
        const w = weights + j * inputs;
        hv[biases + j] += q;
        for (let i = 0; i < inputs; i += 1) {
          hv[w + i] += q * from[a + i] + s * move[a + i];
          if (l) {
            below[a + i] += s * x[w + i];
            under[a + i] += q * x[w + i] + s * v[w + i];
          }
        }
      }
      if (!l) continue;
      for (let i = 0; i < inputs; i += 1) {
        const [value, first] = [from[a + i], derivative(net.activation, from[a + i])];
        const bend = net.activation === "tanh" ? -2 * value : net.activation === "relu" ? 0 : 1 - 2 * value;
        under[a + i] = under[a + i] * first + below[a + i] * bend * move[a + i];
        below[a + i] *= first;
      }
    }
  }
}

// One step of power iteration on D H D, where D is the root of the preconditioner: v is replaced, the eigenvalue returned.
export function sharpen(net, x, points, labels, n, root, v, space, [scaled, hv]) {
  for (let i = 0; i < net.count; i += 1) scaled[i] = root[i] * v[i];
  product(net, x, scaled, points, labels, n, hv, space);
  let [value, norm] = [0, 0];
  for (let i = 0; i < net.count; i += 1) {
    hv[i] *= root[i];
    value += v[i] * hv[i];
    norm += hv[i] * hv[i];
  }
  norm = Math.sqrt(norm);
  if (norm > 0 && Number.isFinite(norm)) for (let i = 0; i < net.count; i += 1) v[i] = hv[i] / norm;
  return value;
}

export const SETS = ["circles", "moons", "spirals", "xor", "blobs"];

// Points of two classes in [-1.2, 1.2] squared; `flip` is the share of wrong labels.
export function points(set, n, noise, flip, random) {
  const [p, y] = [new Float64Array(2 * n), new Float64Array(n)];
  for (let i = 0; i < n; i += 1) {
    const label = i % 2;
    const s = random();
    let at;
    if (set === "circles") {
      const r = label ? 0.35 * Math.sqrt(s) : 0.7 + 0.3 * s;
      const angle = 2 * Math.PI * random();
      at = [r * Math.cos(angle), r * Math.sin(angle)];
    } else if (set === "moons") {
      const angle = Math.PI * s;
      at = label ? [0.75 * Math.cos(angle) - 0.35, 0.75 * Math.sin(angle) - 0.25] : [0.35 - 0.75 * Math.cos(angle), 0.25 - 0.75 * Math.sin(angle)];
    } else if (set === "spirals") {
      const angle = 3.2 * Math.sqrt(s) * Math.PI * 0.6 + label * Math.PI;
      at = [Math.sqrt(s) * Math.cos(angle), Math.sqrt(s) * Math.sin(angle)];
    } else if (set === "xor") {
      const a = [random() * 2 - 1, random() * 2 - 1];
      at = a[0] * a[1] > 0 === (label === 1) ? a : [-a[0], a[1]];
    } else {
      at = [(label ? 0.45 : -0.45) + 0.22 * normal(random), (label ? 0.4 : -0.4) + 0.22 * normal(random)];
    }
    p[2 * i] = at[0] + noise * normal(random);
    p[2 * i + 1] = at[1] + noise * normal(random);
    y[i] = random() < flip ? 1 - label : label;
  }
  return { p, y };
}

// The same places in Python: X of n points, from label and sign, a column, and s, uniform in [0, 1).
export const PLACES = {
  circles: [
    "r = torch.where(label == 1, 0.35 * s.sqrt(), 0.7 + 0.3 * s)",
    "angle = 2 * math.pi * torch.rand(n)",
    "X = torch.stack([r * angle.cos(), r * angle.sin()], 1)",
  ],
  moons: ["X = sign * torch.stack([0.75 * (math.pi * s).cos() - 0.35, 0.75 * (math.pi * s).sin() - 0.25], 1)"],
  spirals: [
    "angle = math.pi * (1.92 * s.sqrt() + label)",
    "X = s.sqrt()[:, None] * torch.stack([angle.cos(), angle.sin()], 1)",
  ],
  xor: ["X = 2 * torch.rand(n, 2) - 1", "X[:, 0] *= torch.where((X.prod(1) > 0) == (label == 1), 1, -1)"],
  blobs: ["X = sign * torch.tensor([0.45, 0.4]) + 0.22 * torch.randn(n, 2)"],
};
