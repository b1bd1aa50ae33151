/**
 * What it costs to do without inputs of a linear layer when those that stay take over as well as they can: the greedy
 * order of Optimal Brain Surgeon (Hassibi and Stork 1993) for blocks of inputs, as in Optimal Brain Compression
 * (Frantar and Alistarh 2022, eq. 7). With H = Σ x xᵀ + λ I, removing the block S from weights W costs
 *
 *   tr( W_S ([H⁻¹]_SS)⁻¹ W_Sᵀ )
 *
 * and the rest becomes  W ← W - W_S ([H⁻¹]_SS)⁻¹ [H⁻¹]_S,  H⁻¹ ← H⁻¹ - [H⁻¹]_:S ([H⁻¹]_SS)⁻¹ [H⁻¹]_S:.
 */
import { factorise, solveFactored } from '../refit/cholesky.js';

export interface Removal {
  /** Σ x xᵀ [inputs, inputs]. */
  readonly gram: Float64Array;
  /** W [outputs, inputs]. */
  readonly weights: Float64Array;
  readonly inputs: number;
  /** Inputs that go together: 1 for neurons, the channels of a head for heads. */
  readonly block: number;
}

/** λ relative to the mean diagonal of Σ x xᵀ: enough for inputs that others explain fully. */
const ridge = 1e-3;

/**
 * Cost of each block: the squared error Σ ‖W x - W' x'‖² once it and all blocks that go before it are gone, so that
 * the blocks of the greatest costs are those to keep. Of equal blocks the higher index goes first. Throws RangeError
 * when the moments are not finite.
 */
export function removalCosts({ gram, weights, inputs: n, block }: Removal): Float64Array {
  const count = n / block;
  const costs = new Float64Array(count);
  const inverse = inverseOf(gram, n);
  const w = weights.slice();
  const left = Array.from({ length: count }, (_, i) => i);
  let total = 0;
  while (left.length > 1) {
    const found = left.map((index) => blockCost(w, inverse, n, block, index));
    let at = 0;
    found.forEach((cost, i) => {
      if (cost <= (found[at] as number)) at = i;
    });
    const index = left[at] as number;
    total += found[at] as number;
    costs[index] = total;
    left.splice(at, 1);
    remove(w, inverse, n, block, index);
  }
  const [last] = left;
  if (last !== undefined) costs[last] = total + blockCost(w, inverse, n, block, last);
  return costs;
}

function inverseOf(gram: Float64Array, n: number): Float64Array {
  const regular = gram.slice();
  const identity = new Float64Array(n * n);
  let trace = 0;
  for (let i = 0; i < n; i++) trace += gram[i * n + i] as number;
  const lambda = trace === 0 ? 1 : (ridge * trace) / n;
  for (let i = 0; i < n; i++) {
    regular[i * n + i] = (regular[i * n + i] as number) + lambda;
    identity[i * n + i] = 1;
  }
  if (factorise(regular, n) !== undefined) throw new RangeError('the moments of the inputs are not finite');
  solveFactored(regular, n, identity, n);
  return identity;
}

/** ([H⁻¹]_SS)⁻¹ [block, block]. */
function precision(inverse: Float64Array, n: number, block: number, index: number): Float64Array {
  const own = new Float64Array(block * block);
  const result = new Float64Array(block * block);
  for (let i = 0; i < block; i++) {
    result[i * block + i] = 1;
    for (let j = 0; j < block; j++)
      own[i * block + j] = inverse[(index * block + i) * n + index * block + j] as number;
  }
  factorise(own, block);
  solveFactored(own, block, result, block);
  return result;
}

function blockCost(w: Float64Array, inverse: Float64Array, n: number, block: number, index: number): number {
  const start = index * block;
  if (block === 1) {
    let squares = 0;
    for (let row = start; row < w.length; row += n) squares += (w[row] as number) ** 2;
    return squares / (inverse[start * n + start] as number);
  }
  const p = precision(inverse, n, block, index);
  let cost = 0;
  for (let row = start; row < w.length; row += n)
    for (let i = 0; i < block; i++)
      for (let j = 0; j < block; j++)
        cost += (w[row + i] as number) * (p[i * block + j] as number) * (w[row + j] as number);
  return cost;
}

/** Takes a block out of the weights and of H⁻¹. */
function remove(w: Float64Array, inverse: Float64Array, n: number, block: number, index: number): void {
  const p = precision(inverse, n, block, index);
  const start = index * block;
  const gone = inverse.slice(start * n, (start + block) * n);
  for (const matrix of [w, inverse]) {
    const factors = new Float64Array(block);
    for (let row = 0; row < matrix.length; row += n) {
      for (let i = 0; i < block; i++) {
        let sum = 0;
        for (let j = 0; j < block; j++)
          sum += (matrix[row + start + j] as number) * (p[j * block + i] as number);
        factors[i] = sum;
      }
      for (let i = 0; i < block; i++) {
        const factor = factors[i] as number;
        if (factor === 0) continue;
        for (let k = 0; k < n; k++)
          matrix[row + k] = (matrix[row + k] as number) - factor * (gone[i * n + k] as number);
      }
    }
  }
  // Exact zeros, so that rounding never brings a removed block back.
  for (const matrix of [w, inverse])
    for (let row = start; row < matrix.length; row += n) matrix.fill(0, row, row + block);
}
