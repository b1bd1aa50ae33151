/** A small Pangu model with random weights that exist in memory alone, and helpers to run it. */
import { openModel } from 'hew';
import { type CalibrationData, fromTokens } from '../../compiler/calibration.js';
import { evalDim } from '../../ir/dim.js';
import { interpretEntry } from '../../ir/interpret.js';
import { materialise, type TensorSource } from '../../ir/materialise.js';
import { type Module, modelDims } from '../../ir/module.js';
import { encodeBytes } from '../../ir/numeric.js';
import { fillName } from '../../ir/recipe.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { elementCount } from '../../ir/type.js';
import { randomNumbers } from '../../passes/prune/scores.js';

export const tinySizes = {
  hidden_size: '16',
  num_hidden_layers: '4',
  num_attention_heads: '4',
  num_key_value_heads: '2',
  head_dim: '4',
  intermediate_size: '24',
  vocab_size: '32',
  max_position_embeddings: '16',
  sandwich_norm: 'true',
};

export interface TinyModel {
  readonly module: Module;
  readonly source: TensorSource;
}

/** Weights differ from tensor to tensor and are the same in every run; gains are near 1. */
export function tinyModel(
  set: Readonly<Record<string, string>> = {},
  spec = 'examples/pangu/pangu.hew',
  without: readonly string[] = [],
): TinyModel {
  const sizes = Object.entries({ ...tinySizes, ...set }).filter(([key]) => !without.includes(key));
  const { module } = openModel({ spec, set: Object.fromEntries(sizes) });
  return { module, source: randomSource(module) };
}

/** A diffusion transformer of two blocks. */
export function tinyDit(set: Readonly<Record<string, string>> = {}): TinyModel {
  const sizes = { hidden_size: '16', depth: '2', num_heads: '4', input_size: '8', patch_size: '4' };
  const others = { in_channels: '1', num_classes: '3', max_batch: '4' };
  const { module } = openModel({ spec: 'examples/dit/dit.hew', set: { ...sizes, ...others, ...set } });
  return { module, source: randomSource(module) };
}

export function randomSource(
  module: Module,
  change: (name: string, values: number[]) => number[] = (_, v) => v,
): TensorSource {
  const shapes = new Map<string, number[]>();
  const dims = modelDims(module);
  for (const [name, param] of module.params) {
    const shape = param.type.shape.map((d) => evalDim(d, dims));
    for (const index of module.loops.get(param.loop ?? '')?.indices ?? [0]) {
      const full = param.loop === undefined ? name : fillName(name, { loop: param.loop, value: index });
      for (const [one, own] of unstacked(full, shape)) shapes.set(one, own);
    }
  }
  return {
    read: (name) => {
      const shape = shapes.get(name) ?? [];
      const random = randomNumbers(
        [...name].reduce((seed, c) => (Math.imul(seed, 31) + c.charCodeAt(0)) | 0, 7),
      );
      const gain = name.includes('norm');
      const values = Array.from({ length: elementCount(shape) }, () =>
        Math.fround(gain ? 0.5 + random() : random() - 0.5),
      );
      return { dtype: 'f32', bytes: encodeBytes('f32', change(name, values)) };
    },
  };
}

/** A stack of experts is one tensor for each in a checkpoint. */
function unstacked(name: string, shape: number[]): [string, number[]][] {
  const [count = 0, ...inner] = shape;
  if (!/\{\w+\}/.test(name)) return [[name, shape]];
  return Array.from({ length: count }, (_, i) => [name.replace(/\{\w+\}/, `${i}`), inner]);
}

const expertSizes = {
  shared_expert_intermediate_size: '12',
  moe_intermediate_size: '8',
  num_hidden_layers: '2',
};

/** Grouped experts: 4 in 2 groups. */
export function tinyMoge(): TinyModel {
  const routing = { num_experts: '4', num_groups: '2', num_experts_per_tok: '2' };
  return tinyModel({ ...expertSizes, ...routing }, 'examples/moge/moge.hew', ['intermediate_size']);
}

/** Lookup experts: 3. */
export function tinyMole(): TinyModel {
  const without = ['intermediate_size', 'sandwich_norm'];
  return tinyModel({ ...expertSizes, num_lookup_experts: '3' }, 'examples/mole/mole.hew', without);
}

/** Token windows of the tiny vocabulary. */
export function tinyData(module: Module, windows = 3, length = 9): CalibrationData {
  const random = randomNumbers(3);
  const ids = (): Int32Array => Int32Array.from({ length }, () => Math.floor(random() * 32));
  return fromTokens(module, Array.from({ length: windows }, ids));
}

/** Logits of one prefill, by the reference interpreter. */
export function logitsOf({ module, source }: TinyModel, precision: 'f32' | 'f64' = 'f64'): Float64Array {
  const ids = tensor('i32', [5], [3, 1, 4, 1, 5]);
  const { logits } = interpretEntry(module, 'prefill', { ids }, { source, precision });
  return (logits as Tensor).data;
}

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  return Math.max(...Array.from(a, (value, i) => Math.abs(value - (b[i] as number))));
}

/** Every parameter of every turn, by name. */
export function weightsOf({ module, source }: TinyModel): Map<string, Tensor> {
  const entries = [...module.params].flatMap(([name, param]) => {
    const turns =
      param.loop === undefined ? [undefined] : (module.loops.get(param.loop)?.indices ?? []).keys();
    return [...turns].map((turn): [string, Tensor] => [
      `${name}#${turn ?? ''}`,
      materialise(module, name, turn, source),
    ]);
  });
  return new Map(entries);
}
