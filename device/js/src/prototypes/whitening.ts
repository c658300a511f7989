// Whitening: embeddings on axes along which samples of one class spread alike. Axes: N samples, D embedding.

const WIDEST = 512; // above it nothing is whitened: D³ multiplications, and D² numbers

/** D rows of the matrix W for W · vector: the inverse of L, where L · Lᵀ is the covariance of samples around their class's mean,
 * shrunk towards the same spread in every direction as if that had been seen on D samples more. Null where nothing spreads, and
 * above WIDEST: nothing changes. `vectors` N of [D], `means` of the classes, `labels` [N], places in `means`. */
export function whitening(
  vectors: readonly Float64Array[],
  labels: readonly number[],
  means: readonly Float64Array[],
): Float64Array[] | null {
  const D = vectors[0]?.length ?? 0;
  if (D > WIDEST) return null;
  const sums = rows(D);
  vectors.forEach((vector, at) => {
    const off = vector.map((value, place) => value - (means[labels[at] ?? 0]?.[place] ?? 0));
    off.forEach((one, row) => off.forEach((other, column) => void (sums[row]![column]! += one * other)));
  });
  const spread = sums.reduce((all, row, place) => all + (row[place] ?? 0), 0) / D;
  if (spread === 0) return null;
  const seen = Math.max(vectors.length - new Set(labels).size, 1);
  sums.forEach((row, place) => void (row[place]! += (D * spread) / seen));
  return inverse(cholesky(sums.map((row) => row.map((value) => value / (seen + D)))));
}

/** L, lower triangular, of a positive definite matrix L · Lᵀ. */
function cholesky(matrix: readonly Float64Array[]): Float64Array[] {
  const lower = rows(matrix.length);
  matrix.forEach((values, row) => {
    for (let column = 0; column <= row; column++) {
      let left = values[column] ?? 0;
      for (let place = 0; place < column; place++) left -= lower[row]![place]! * lower[column]![place]!;
      lower[row]![column] = row === column ? Math.sqrt(left) : left / lower[column]![column]!;
    }
  });
  return lower;
}

/** Of a lower triangular matrix, by forward substitution. */
function inverse(lower: readonly Float64Array[]): Float64Array[] {
  const found = rows(lower.length);
  lower.forEach((values, row) => {
    for (let column = 0; column <= row; column++) {
      let left = row === column ? 1 : 0;
      for (let place = column; place < row; place++) left -= values[place]! * found[place]![column]!;
      found[row]![column] = left / values[row]!;
    }
  });
  return found;
}

function rows(size: number): Float64Array[] {
  return Array.from({ length: size }, () => new Float64Array(size));
}
