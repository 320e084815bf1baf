// exp, log and powers, computed with twice the digits and rounded once. A browser's own may be wrong in the last
// digit, and 1 - beta ** t makes that digit the fifth from the last.

const LN2 = [0.6931471805599453, 2.3190468138462996e-17];
const SPLIT = 134217729; // 2 ** 27 + 1
const LEAST = 1e-250;
const MOST = 1e250; // beyond these the low digits would be lost

function plus(a, b) {
  const sum = a + b;
  const rest = sum - a;
  return [sum, a - (sum - rest) + (b - rest)];
}

function times(a, b) {
  const product = a * b;
  let c = SPLIT * a;
  const high = c - (c - a);
  const low = a - high;
  c = SPLIT * b;
  const top = c - (c - b);
  const rest = b - top;
  return [product, high * top - product + high * rest + low * top + low * rest];
}

function add([a, b], [c, d]) {
  const [sum, rest] = plus(a, c);
  return plus(sum, rest + b + d);
}

function multiply([a, b], [c, d]) {
  const [product, rest] = times(a, c);
  return plus(product, rest + (a * d + b * c));
}

function divide([a, b], c) {
  const quotient = a / c;
  const [product, rest] = times(quotient, c);
  return plus(quotient, (a - product - rest + b) / c);
}

function inverse(high, low) {
  const near = 1 / high;
  const [product, rest] = times(near, high);
  return near + (1 - product - rest - near * low) / high;
}

function exponential(x) {
  const k = Math.round(x[0] / LN2[0]);
  const reduced = add(x, multiply([-k, 0], LN2));
  const r = [reduced[0] / 256, reduced[1] / 256];
  let sum = [0, 0];
  for (let n = 11; n > 0; n -= 1) {
    sum = divide(multiply(r, add([1, 0], sum)), n);
  }
  for (let n = 0; n < 8; n += 1) {
    sum = add([2 * sum[0], 2 * sum[1]], multiply(sum, sum));
  }
  const [high, low] = add([1, 0], sum);
  const half = 2 ** Math.trunc(k / 2);
  const rest = 2 ** (k - Math.trunc(k / 2));
  return [high * half * rest, low * half * rest];
}

function logarithm(x) {
  const d = x - 1;
  if (Math.abs(d) < 2 ** -12) {
    let sum = [0, 0];
    for (let n = 9; n > 0; n -= 1) {
      sum = multiply([d, 0], add(divide([1, 0], n), [-sum[0], -sum[1]]));
    }
    return sum;
  }
  const near = Math.log(x);
  const rest = add(multiply([x, 0], exponential([-near, 0])), [-1, 0]);
  return add([near, 0], add(rest, [(-rest[0] * rest[0]) / 2, 0]));
}

export function exp(x) {
  const near = Math.exp(x);
  return near > LEAST && near < MOST ? exponential([x, 0])[0] : near;
}

export function log(x) {
  return x > LEAST && x < MOST ? logarithm(x)[0] : Math.log(x);
}

export function power(x, y) {
  const near = x ** y;
  const size = Math.abs(near);
  if (!(size > LEAST && size < MOST) || y === 1 || y === 0 || !(Math.abs(x) > LEAST)) {
    return near;
  }
  if (!Number.isInteger(y)) {
    return x < MOST ? exponential(multiply([y, 0], logarithm(x)))[0] : near;
  }
  let count = Math.abs(y);
  let [high, low, base, digits] = [1, 0, x, 0];
  for (;;) { // `times` is written out here: it is most of a step's work
    const top = SPLIT * base - (SPLIT * base - base);
    const bottom = base - top;
    if (count % 2) {
      const product = high * base;
      const first = SPLIT * high - (SPLIT * high - high);
      const second = high - first;
      const rest = first * top - product + first * bottom + second * top + second * bottom;
      const tail = rest + (high * digits + low * base);
      high = product + tail;
      low = tail - (high - product);
    }
    count = Math.floor(count / 2);
    if (!count) {
      return y > 0 ? high : inverse(high, low);
    }
    const square = base * base;
    const tail = top * top - square + 2 * top * bottom + bottom * bottom + 2 * base * digits;
    base = square + tail;
    digits = tail - (base - square);
  }
}

// The rest of a division, with the sign of the divisor, and the whole part, rounded down.
export function modulo(x, y) {
  const rest = x % y;
  return rest && (rest < 0) !== (y < 0) ? rest + y : rest;
}

export function quotient(x, y) {
  return Math.round((x - modulo(x, y)) / y);
}
