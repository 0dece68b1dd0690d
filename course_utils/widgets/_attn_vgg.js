/* The forward pass of a small AttnVGG: 3 × 3 convolutions with folded batch norm, taps before the
   pools, softmax attention, and one head per descriptor. A feature map is an object
   { values, channels, rows, columns }, stored channel by channel and row by row. */

const BLOCKS = [2, 2, 3, 3, 3];
const TAPS = [2, 3]; // convolutions of each block; the blocks that are attended to

/** Decode the 16 bits of a half-precision value. */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
}

/** Read tensors of the given shapes, stored in half precision one after the other. */
function unpacked(view, shapes) {
  let at = 0;
  return shapes.map((shape) => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () =>
      half(view.getUint16(2 * at++, true)),
    );
    return { values, shape };
  });
}

/** Pad a map with zeros. One step down in the result is `stride` = `columns + 2` values ahead. */
function padded({ values, channels, rows, columns }) {
  const stride = columns + 2;
  const plane = (rows + 2) * stride + 2;
  const large = new Float32Array(channels * plane);
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < rows; y++) {
      large.set(
        values.subarray((c * rows + y) * columns, (c * rows + y + 1) * columns),
        c * plane + (y + 1) * stride + 1,
      );
    }
  }
  return { large, stride, plane };
}

/** Add one row of the kernels of four outputs, for one channel, at all positions of a padded map.

    `k0` is where the first output's row starts in the weights, `from` where that of the map does.
    Twelve numbers instead of lists of them: this is the loop that takes nearly all the time. */
function addRow([s0, s1, s2, s3], large, from, w, k0, step) {
  const k1 = k0 + step;
  const k2 = k1 + step;
  const k3 = k2 + step;
  const a0 = w[k0];
  const a1 = w[k0 + 1];
  const a2 = w[k0 + 2];
  const b0 = w[k1] || 0; // the last group may have fewer than four outputs
  const b1 = w[k1 + 1] || 0;
  const b2 = w[k1 + 2] || 0;
  const c0 = w[k2] || 0;
  const c1 = w[k2 + 1] || 0;
  const c2 = w[k2 + 2] || 0;
  const d0 = w[k3] || 0;
  const d1 = w[k3 + 1] || 0;
  const d2 = w[k3 + 2] || 0;
  const length = s0.length;
  let left = large[from];
  let here = large[from + 1];
  for (let i = 0, ahead = from + 2; i < length; i++, ahead++) {
    const right = large[ahead];
    s0[i] += a0 * left + a1 * here + a2 * right;
    s1[i] += b0 * left + b1 * here + b2 * right;
    s2[i] += c0 * left + c1 * here + c2 * right;
    s3[i] += d0 * left + d1 * here + d2 * right;
    left = here;
    here = right;
  }
}

/** Write one output's sums into its map from `start` on: without the border, and after a ReLU. */
function keepPositive(sums, stride, values, start, rows, columns) {
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      values[start + y * columns + x] = Math.max(0, sums[y * stride + x]);
    }
  }
}

/** A 3 × 3 convolution (outputs, channels, 3, 3) with padding 1, followed by a ReLU.

    It computes four outputs at a time in one loop over all positions of the padded map. The results
    at the two columns of the border are thrown away, which is faster than one loop per row. */
function conv3(map, weight, bias) {
  const { rows, columns, channels } = map;
  const outputs = weight.shape[0];
  const step = 9 * channels; // weights of one output
  const { large, stride, plane } = padded(map);
  const values = new Float32Array(outputs * rows * columns);
  const sums = Array.from({ length: 4 }, () => new Float64Array(rows * stride));
  for (let o = 0; o < outputs; o += 4) {
    sums.forEach((s, j) => s.fill(bias.values[o + j] ?? 0));
    for (let c = 0; c < channels; c++) {
      for (let ky = 0; ky < 3; ky++) {
        const from = c * plane + ky * stride;
        addRow(sums, large, from, weight.values, o * step + 9 * c + 3 * ky, step);
      }
    }
    for (let j = 0; j < 4 && o + j < outputs; j++) {
      keepPositive(sums[j], stride, values, (o + j) * rows * columns, rows, columns);
    }
  }
  return { values, channels: outputs, rows, columns };
}

/** 2 × 2 max-pooling. */
function pool({ values, channels, rows, columns }) {
  const h = rows >> 1;
  const w = columns >> 1;
  const highest = new Float32Array(channels * h * w);
  for (let i = 0; i < highest.length; i++) {
    const at =
      (Math.floor(i / (h * w)) * rows + 2 * (Math.floor(i / w) % h)) * columns + 2 * (i % w);
    highest[i] = Math.max(
      values[at],
      values[at + 1],
      values[at + columns],
      values[at + columns + 1],
    );
  }
  return { values: highest, channels, rows: h, columns: w };
}

/** A 1 × 1 convolution without bias. */
function conv1({ values, channels, rows, columns }, weight) {
  const positions = rows * columns;
  const outputs = weight.shape[0];
  const sums = new Float64Array(outputs * positions);
  for (let o = 0; o < outputs; o++) {
    for (let c = 0; c < channels; c++) {
      const w = weight.values[o * channels + c];
      for (let i = 0, to = o * positions, from = c * positions; i < positions; i++) {
        sums[to + i] += w * values[from + i];
      }
    }
  }
  return { values: sums, channels: outputs, rows, columns };
}

/** Additive attention over local features, guided by deeper ones: the weights and the context. */
function attention(local, deep, [projectLocal, projectGlobal, score, bias]) {
  const { rows, columns, channels } = local;
  const positions = rows * columns;
  const l = conv1(local, projectLocal);
  const g = conv1(deep, projectGlobal);
  const scores = new Float64Array(positions).fill(bias.values[0]);
  for (let k = 0; k < l.channels; k++) {
    const coarse = g.values.subarray(
      k * deep.rows * deep.columns,
      (k + 1) * deep.rows * deep.columns,
    );
    enlarge(coarse, [deep.rows, deep.columns], [rows, columns]).forEach((up, i) => {
      scores[i] += score.values[k] * Math.max(0, l.values[k * positions + i] + up);
    });
  }
  const weights = softmax(scores);
  const context = Array.from({ length: channels }, (_, c) =>
    dot(weights, local.values.subarray(c * positions, (c + 1) * positions)),
  );
  return { map: { values: weights, rows, columns }, context };
}

/** Classify a square grey image with values in [0, 1].

    `tensors` are those of `live_model.folded`, in its order. Returns the logits, which are
    logarithms of probabilities, and the two maps. */
function forward(tensors, image, size) {
  const next = tensors.values();
  const take = (count) => Array.from({ length: count }, () => next.next().value);
  const read = [];
  let map = { values: image, channels: 1, rows: size, columns: size };
  BLOCKS.forEach((count, block) => {
    for (let i = 0; i < count; i++) {
      map = conv3(map, ...take(2));
    }
    if (TAPS.includes(block)) {
      read.push(map);
    }
    map = pool(map);
  });
  const attended = read.map((local) => attention(local, map, take(4)));
  const positions = map.rows * map.columns;
  const average = Array.from(
    { length: map.channels },
    (_, c) => sum(map.values.subarray(c * positions, (c + 1) * positions)) / positions,
  );
  const heads = [...attended.map(({ context }) => context), average].map((descriptor) => {
    const [weight, bias] = take(2);
    return softmax(
      bias.values.map(
        (b, o) =>
          b +
          dot(
            descriptor,
            weight.values.subarray(o * descriptor.length, (o + 1) * descriptor.length),
          ),
      ),
    );
  });
  const logits = Array.from(heads[0], (_, o) =>
    Math.log(sum(heads.map((probabilities) => probabilities[o])) / heads.length),
  );
  return { logits, maps: attended.map(({ map }) => map) };
}

export { attention, conv1, conv3, enlarge, forward, half, padded, pool, unpacked };
