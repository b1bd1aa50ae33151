/** The same passes on every family of models: what each dimension counts, and that cutting it leaves a sound module. */
import { openModel } from 'hew';
import { describe, expect, test } from 'vitest';
import type { Module } from '../../ir/module.js';
import { assertValid } from '../../ir/verify.js';
import { pruneDim, sizeOfDim } from '../../passes/prune/prune-dim.js';
import { axisKind } from '../../passes/prune/scores.js';
import { structureOf } from '../../passes/structure.js';

function familyOf(spec: string, set: Readonly<Record<string, string>> = {}): Module {
  return openModel({ spec: `examples/${spec}`, set }).module;
}

const families: Readonly<Record<string, { module: Module; kinds: Readonly<Record<string, string>> }>> = {
  'dense with sandwich norm': {
    module: familyOf('pangu-2m/model.hew'),
    kinds: { d: 'channels', ffn: 'neurons', heads: 'heads', kv: 'groups', layers: 'layers' },
  },
  'dense with pre-norms alone': {
    module: familyOf('pangu-2m/model.hew', { sandwich_norm: 'false' }),
    kinds: { d: 'channels', ffn: 'neurons', heads: 'heads', kv: 'groups', layers: 'layers' },
  },
  'grouped experts': {
    module: familyOf('moge-8m/model.hew'),
    kinds: {
      d: 'channels',
      shared_ffn: 'neurons',
      expert_ffn: 'neurons',
      heads: 'heads',
      kv: 'groups',
      experts: 'experts',
      layers: 'layers',
    },
  },
  'lookup experts': {
    module: familyOf('mole-7m/model.hew'),
    kinds: {
      d: 'channels',
      shared_ffn: 'neurons',
      expert_ffn: 'neurons',
      heads: 'heads',
      kv: 'groups',
      experts: 'experts',
      layers: 'layers',
    },
  },
  'diffusion transformer': {
    module: familyOf('dit-1m/model.hew'),
    kinds: { d: 'channels', ffn: 'neurons', heads: 'heads', blocks: 'layers' },
  },
};

describe.each(Object.entries(families))('%s', (name, { module, kinds }) => {
  test('everything in it is understood', () => {
    const { skipped, streams, attentions } = structureOf(module);
    expect(skipped).toEqual([]);
    expect(streams.length).toBeGreaterThan(0);
    expect(attentions).toHaveLength(streams.length);
  });

  test('each dimension counts what it should', () => {
    const structure = structureOf(module);
    const found = [...module.dims.keys()].flatMap((dim) => {
      const kind = axisKind(structure, dim);
      return kind === undefined ? [] : [[dim, kind]];
    });
    expect(Object.fromEntries(found)).toEqual(kinds);
  });

  const cuttable = Object.keys(kinds).filter(
    (dim) => kinds[dim] !== 'layers' && !(dim === 'd' && name.startsWith('diffusion')),
  );
  test.each(cuttable)('%s can be cut', (dim) => {
    const size = sizeOfDim(module, dim);
    // One query head of each KV group stays, half of everything else.
    const step = dim === 'heads' && 'kv' in kinds ? size / sizeOfDim(module, 'kv') : 2;
    const half = Array.from({ length: size / step }, (_, i) => step * i);
    const pruned = pruneDim(module, { dim, indices: half });
    assertValid(pruned, `cutting ${dim}`);
    expect(sizeOfDim(pruned, dim)).toBe(half.length);
  });
});

test('the fused qkv of a diffusion transformer is cut in each of its three parts', () => {
  const { module } = families['diffusion transformer'] as { module: Module };
  const { recipe } =
    pruneDim(module, { dim: 'heads', indices: [0, 2] }).params.get('blocks.{block}.attn.qkv.bias') ?? {};
  const index =
    recipe?.kind === 'op' && recipe.args[1]?.kind === 'constant'
      ? new Int32Array(recipe.args[1].bytes.slice().buffer)
      : undefined;
  const starts = [...(index ?? [])].filter((_, i) => i % 32 === 0);
  expect(starts).toEqual([0, 64, 128, 192, 256, 320]);
});

test('the channels of a diffusion transformer encode positions, so they cannot be cut', () => {
  const { module } = families['diffusion transformer'] as { module: Module };
  expect(() => pruneDim(module, { dim: 'd', indices: [0, 1] })).toThrow(
    /HEW6007: d cannot be pruned: iota in @denoise counts along it/,
  );
});
