/** The baseline: linear layers in plain JavaScript over Float32Array, in the order a compiler would choose. */

export interface LinearShape {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
}

export function flopsOf({ rows, inner, columns }: LinearShape): number {
  return 2 * rows * inner * columns;
}

/** y[r, c] = sum_k x[r, k] * w[c, k]; two columns at a time share the loads of x. */
export function linearJs(
  x: Float32Array,
  w: Float32Array,
  y: Float32Array,
  { rows, inner, columns }: LinearShape,
): void {
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c += 2) {
      let first = 0;
      let second = 0;
      const [a, b, other] = [r * inner, c * inner, Math.min(c + 1, columns - 1) * inner];
      for (let k = 0; k < inner; k++) {
        const value = x[a + k] as number;
        first += value * (w[b + k] as number);
        second += value * (w[other + k] as number);
      }
      y[r * columns + c] = first;
      if (c + 1 < columns) y[r * columns + c + 1] = second;
    }
  }
}

/** Runs one linear layer per shape, on buffers made once. */
export function baselineRunner(shapes: readonly LinearShape[]): () => void {
  const random = (n: number) => Float32Array.from({ length: n }, () => Math.random() - 0.5);
  const buffers = shapes.map((shape) => ({
    shape,
    x: random(shape.rows * shape.inner),
    w: random(shape.columns * shape.inner),
    y: new Float32Array(shape.rows * shape.columns),
  }));
  return () => {
    for (const { shape, x, w, y } of buffers) linearJs(x, w, y, shape);
  };
}
