// Random numbers that a seed fixes. They are not NumPy's: Python draws others from the same seed.

export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 4294967296;
  };
}

export function normal(random) {
  const radius = Math.sqrt(-2 * Math.log(1 - random()));
  return radius * Math.cos(2 * Math.PI * random());
}

export function shuffled(n, random) {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i -= 1) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

// Yields the parts of each step for ever, as thalweg.descend draws them.
export function* batches(n, size, sampling, random) {
  for (;;) {
    let order;
    if (sampling === "shuffle") {
      order = shuffled(n, random);
    } else if (sampling === "replacement") {
      order = Uint32Array.from({ length: n }, () => Math.floor(random() * n));
    } else {
      order = Uint32Array.from({ length: n }, (_, i) => i);
    }
    for (let i = 0; i < n; i += size) {
      yield order.subarray(i, Math.min(i + size, n));
    }
  }
}
