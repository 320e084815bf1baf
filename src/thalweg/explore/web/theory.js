// What a rule will do on a quadratic, read off its function as thalweg.theory does: a step from tiny multiples of basis
// vectors gives the columns of its matrix. Which states are linear and which are a preconditioner, Python has found.

const TINY = 2 ** -300; // its square is nothing beside 1
const LATE = 2 ** 40; // a step so late that bias corrections are gone

export function isLinear(rule) {
  return !rule.theory.refused;
}

export function hyperOf(rule, given) {
  return rule.hyper.map((name, i) => given[name] ?? rule.defaults[i]);
}

function stepper(rule, hyper) {
  const h = hyper.slice();
  if (rule.theory.frozen.length && rule.hyper.includes("eps")) {
    h[rule.hyper.indexOf("eps")] = 0; // it belongs to the preconditioner, which is held at 1
  }
  for (const name of rule.theory.zeroed) {
    h[rule.hyper.indexOf(name)] = 0;
  }
  const uniform = rule.uniform.map(() => 0);
  const [g, x] = [new Float64Array(1), new Float64Array(1)];
  const states = rule.state.map(() => new Float64Array(1));
  const step = (at) => {
    [g[0], x[0]] = [at.g ?? 0, at.x ?? 0];
    rule.state.forEach((name, i) => {
      states[i][0] = at[name] ?? 0;
    });
    const u = uniform.slice();
    rule.step(1, g, x, states, LATE, u, h);
    const result = { x: x[0] };
    rule.state.forEach((name, i) => {
      result[name] = states[i][0];
    });
    rule.uniform.forEach((name, i) => {
      result[name] = u[i];
    });
    return result;
  };
  const ones = Object.fromEntries(rule.state.map((name) => [name, 1]));
  rule.uniform.forEach((name, i) => {
    const first = step(ones)[name];
    uniform[i] = 1;
    uniform[i] = first / (1 - (step(ones)[name] - first)); // the fixed point
  });
  return step;
}

function* subsets(names) {
  for (let size = 0; size <= names.length; size += 1) {
    for (let mask = 0; mask < 2 ** names.length; mask += 1) {
      const chosen = names.filter((_, i) => mask & (2 ** i));
      if (chosen.length === size) yield chosen;
    }
  }
}

// The states that hold the preconditioner at 1 for this gradient; those in `before` are 1 themselves.
function heldFor(step, frozen, before, g) {
  const held = Object.fromEntries(frozen.map((name) => [name, 1]));
  for (const name of frozen) {
    if (!before.includes(name)) {
      const low = step({ ...held, g })[name];
      const high = step({ ...held, [name]: 2, g })[name];
      held[name] = 1 + (1 - low) / (high - low);
    }
  }
  return held;
}

function held(step, frozen) {
  if (!frozen.length) return {};
  for (const before of [...subsets(frozen), []]) {
    const small = heldFor(step, frozen, before, TINY);
    const large = heldFor(step, frozen, before, 2 ** -4);
    const gains = [step({ ...small, g: TINY }).x / TINY, step({ ...large, g: 2 ** -4 }).x * 16];
    if (Math.abs(gains[0] - gains[1]) <= 1e-9 * Math.abs(gains[1])) return small;
  }
  return heldFor(step, frozen, [], TINY);
}

// z <- (A + curvature b e') z: A a list of rows, b a column; the last of z is x.
export function linearize(rule, hyper) {
  const step = stepper(rule, hyper);
  const base = held(step, rule.theory.frozen);
  const names = rule.theory.states;
  const column = (name) => {
    const result = step({ ...base, [name]: TINY });
    return names.map((each) => result[each] / TINY);
  };
  const columns = names.map(column);
  return { A: names.map((_, i) => columns.map((each) => each[i])), b: column("g") };
}

export function matrix({ A, b }, curvature) {
  const last = b.length - 1;
  return A.map((row, i) => row.map((value, j) => (j === last ? value + curvature * b[i] : value)));
}

// The eigenvalues of a small matrix, each [real part, imaginary part].
export function eigenvalues(M) {
  if (M.length === 1) return [[M[0][0], 0]];
  if (M.length === 2) {
    const [[a, b], [c, d]] = M;
    const middle = (a + d) / 2;
    const D = ((a - d) / 2) ** 2 + b * c;
    const root = Math.sqrt(Math.abs(D));
    return D < 0 ? [[middle, root], [middle, -root]] : [[middle + root, 0], [middle - root, 0]];
  }
  return roots(characteristic(M));
}

function characteristic(M) { // Faddeev and Le Verrier; the highest power first
  const n = M.length;
  const coefficients = [1];
  let B = M.map((row) => row.map(() => 0));
  for (let k = 1; k <= n; k += 1) {
    B.forEach((row, i) => {
      row[i] += coefficients[k - 1];
    });
    B = M.map((row) => row.map((_, j) => row.reduce((sum, value, l) => sum + value * B[l][j], 0)));
    coefficients.push(-B.reduce((sum, row, i) => sum + row[i], 0) / k);
  }
  return coefficients;
}

function roots(coefficients) { // Durand and Kerner
  const n = coefficients.length - 1;
  const size = 1 + Math.max(...coefficients.map(Math.abs));
  const z = Array.from({ length: n }, (_, i) => {
    const angle = (2 * Math.PI * i) / n + 0.4;
    return [Math.min(size, 1.2) * Math.cos(angle), Math.min(size, 1.2) * Math.sin(angle)];
  });
  for (let round = 0; round < 200; round += 1) {
    let moved = 0;
    for (let i = 0; i < n; i += 1) {
      let [pr, pi] = [0, 0];
      for (const c of coefficients) {
        [pr, pi] = [pr * z[i][0] - pi * z[i][1] + c, pr * z[i][1] + pi * z[i][0]];
      }
      let [qr, qi] = [1, 0];
      for (let j = 0; j < n; j += 1) {
        if (j !== i) {
          const [dr, di] = [z[i][0] - z[j][0], z[i][1] - z[j][1]];
          [qr, qi] = [qr * dr - qi * di, qr * di + qi * dr];
        }
      }
      const size2 = qr * qr + qi * qi || 1e-300;
      const [dr, di] = [(pr * qr + pi * qi) / size2, (pi * qr - pr * qi) / size2];
      z[i] = [z[i][0] - dr, z[i][1] - di];
      moved = Math.max(moved, Math.hypot(dr, di));
    }
    if (moved < 1e-14) break;
  }
  return z;
}

export function radius(M) {
  if (M.length === 2) { // sums of numbers of one sign: more exact at a double root
    const [[a, b], [c, d]] = M;
    const middle = (a + d) / 2;
    const D = ((a - d) / 2) ** 2 + b * c;
    return D < 0 ? Math.hypot(middle, Math.sqrt(-D)) : Math.abs(middle) + Math.sqrt(D);
  }
  return Math.max(...eigenvalues(M).map(([re, im]) => Math.hypot(re, im)));
}

export function rate(map, spectrum) {
  return spectrum.reduce((worst, each) => Math.max(worst, radius(matrix(map, each))), 0);
}

const limits = new Map();

// The rate at which a descent on a curvature begins to diverge; Infinity if none does.
export function limit(rule, given, curvature) {
  const lr = rule.hyper.indexOf("lr");
  const hyper = hyperOf(rule, given);
  const key = [rule.name, ...hyper.map((v, i) => (i === lr ? "" : v)), curvature].join();
  if (!limits.has(key)) {
    if (limits.size > 5000) limits.clear();
    limits.set(key, edge(rule, hyper, lr, curvature));
  }
  return limits.get(key);
}

function edge(rule, hyper, lr, curvature) {
  const excess = (value) => {
    const h = hyper.slice();
    h[lr] = value;
    return radius(matrix(linearize(rule, h), curvature)) - 1;
  };
  let low = 1e-5 / curvature;
  if (!(excess(low) < 1e-9)) return NaN;
  let high = low;
  while (excess(high) < 1e-12) {
    low = high;
    high *= 1.25;
    if (high > 1e9 / curvature) return Infinity;
  }
  for (let i = 0; i < 50; i += 1) {
    const middle = Math.sqrt(low * high);
    if (excess(middle) < 0) low = middle;
    else high = middle;
  }
  return Math.sqrt(low * high);
}

// The mean of f = curvature x^2 / 2 in the long run, when each gradient has noise of this variance.
export function noiseFloor(map, curvature, variance) {
  const multiply = (P, Q) =>
    P.map((row) => Q[0].map((_, j) => row.reduce((sum, value, k) => sum + value * Q[k][j], 0)));
  let power = matrix(map, curvature);
  if (!(radius(power) < 1)) return Infinity;
  let sum = map.b.map((p) => map.b.map((q) => p * q));
  for (let i = 0; i < 60; i += 1) {
    const flipped = power[0].map((_, j) => power.map((row) => row[j]));
    const more = multiply(multiply(power, sum), flipped);
    sum = sum.map((row, k) => row.map((value, l) => value + more[k][l]));
    power = multiply(power, power);
  }
  return (curvature / 2) * variance * sum.at(-1).at(-1);
}

// The fastest lr, and memory where the rule has one, for a spectrum: the best of a grid, then Nelder and Mead's search.
export function best(rule, given, spectrum) {
  const lr = rule.hyper.indexOf("lr");
  const memory = rule.hyper.indexOf(rule.theory.memories[0]);
  const base = hyperOf(rule, given);
  const at = ([p, q]) => {
    const h = base.slice();
    h[lr] = Math.exp(p);
    if (memory >= 0) h[memory] = Math.min(Math.max(-Math.expm1(-q), 0), 1 - 1e-9);
    return h;
  };
  const value = (point) => {
    const found = rate(linearize(rule, at(point)), spectrum);
    return Number.isFinite(found) ? found : 1e300;
  };
  const top = Math.log(Math.max(...spectrum));
  let first = null;
  let least = Infinity;
  for (let q = 0; q <= (memory < 0 ? 0 : 7); q += 0.5) {
    for (let p = -6 - top; p <= 8 - top; p += 0.3) {
      const found = value([p, q]);
      if (found < least) [least, first] = [found, [p, q]];
    }
  }
  if (!first) return { rate: Infinity };
  const found = memory < 0 ? narrowed((p) => value([p, 0]), first[0] - 0.3, first[0] + 0.3) : simplex(value, first);
  const h = at(found);
  return { rate: value(found), lr: h[lr], memory: memory < 0 ? undefined : h[memory] };
}

function narrowed(value, low, high) { // golden sections
  const share = (Math.sqrt(5) - 1) / 2;
  for (let i = 0; i < 60; i += 1) {
    const [a, b] = [high - share * (high - low), low + share * (high - low)];
    if (value(a) < value(b)) high = b;
    else low = a;
  }
  return [(low + high) / 2, 0];
}

function simplex(value, first) {
  let found = first;
  for (const size of [0.2, 0.02, 0.002]) { // begun anew: it may stop at a kink
    let corners = [found, [found[0] + size, found[1]], [found[0], found[1] + size]].map((x) => ({ x, f: value(x) }));
    for (let i = 0; i < 70; i += 1) {
      corners.sort((a, b) => a.f - b.f);
      const worst = corners[2];
      const middle = [0, 1].map((k) => (corners[0].x[k] + corners[1].x[k]) / 2);
      const along = (by) => {
        const x = middle.map((m, k) => m + by * (m - worst.x[k]));
        return { x, f: value(x) };
      };
      let next = along(1);
      if (next.f < corners[0].f) {
        const far = along(2);
        if (far.f < next.f) next = far;
      } else if (next.f >= corners[1].f) next = along(next.f < worst.f ? 0.5 : -0.5);
      if (next.f < worst.f) corners[2] = next;
      else {
        corners = corners.map(({ x }) => x.map((v, k) => (v + corners[0].x[k]) / 2)).map((x) => ({ x, f: value(x) }));
      }
    }
    corners.sort((a, b) => a.f - b.f);
    found = corners[0].x;
  }
  return found;
}
