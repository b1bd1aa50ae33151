/** The specs of examples/ elaborate, for their own configurations and for others of their family. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { elaborate, specReferences } from '../../compiler/frontend/elaborate.js';
import { nodeFiles } from '../../compiler/frontend/files.js';
import { entriesOf } from '../../ir/module.js';
import { printType } from '../../ir/type.js';
import { verifyModule } from '../../ir/verify.js';

const root = new URL('../..', import.meta.url).pathname;

function build(spec: string, json?: unknown) {
  const result = elaborate(join(root, 'examples', spec), {
    files: nodeFiles,
    config: json === undefined ? {} : { json },
  });
  expect(result.diagnostics).toEqual([]);
  if (result.module === undefined) throw new Error('no module');
  expect(verifyModule(result.module)).toEqual([]);
  return { ...result, module: result.module };
}

function config(model: string, changes: Readonly<Record<string, unknown>> = {}): unknown {
  return { ...JSON.parse(readFileSync(join(root, 'examples', model, 'config.json'), 'utf8')), ...changes };
}

/** `prefill(ids: i32[T]) -> logits: f32[T, vocab], …` */
function signatures(module: ReturnType<typeof build>['module']): string[] {
  return entriesOf(module).map((entry) => {
    const inputs = entry.args.map((arg) => `${arg.name}: ${printType(arg.type)}`);
    const outputs = entry.results.map((value, i) => `${entry.outputs?.[i]}: ${printType(value.type)}`);
    return `${entry.name}(${inputs.join(', ')}) -> ${outputs.join(', ')}`;
  });
}

const text = [
  'prefill(ids: i32[T]) -> logits: f32[T, vocab], last: f32[vocab]',
  'decode(ids: i32[1]) -> logits: f32[vocab]',
];

describe('examples', () => {
  it.each(['pangu-2m', 'pangu-12m', 'moge-8m', 'mole-7m'])('%s reads and writes text', (model) => {
    const { module, references } = build(`${model}/model.hew`);
    expect(signatures(module)).toEqual(text);
    expect(module.name).toBe(model);
    expect(module.tokenizer).toBeDefined();
    expect(module.sampler?.kind).toBe('text');
    expect(references.weights).toMatch(/safetensors$/);
    expect(existsSync(references.tokenizer ?? '')).toBe(true);
  });

  it.each(['dit-1m', 'dit-10m'])('%s predicts noise', (model) => {
    const { module } = build(`${model}/model.hew`);
    expect(signatures(module)).toEqual([
      'denoise(x: f32[B, 1, 32, 32], t: i32[B], y: i32[B]) -> eps: f32[B, 1, 32, 32], block_out: f32[blocks, B, tokens, d]',
    ]);
    expect(module.sampler?.settings).toMatchObject({ steps: 1000, null_class: 36 });
  });

  it('glyphnet classifies', () => {
    expect(signatures(build('glyphnet/model.hew').module)).toEqual([
      'classify(x: f32[B, 1, 32, 32]) -> logits: f32[B, classes], features: f32[B, features]',
    ]);
  });

  it('a layer is one function, however many there are', () => {
    const [few, many] = [12, 94].map(
      (layers) => build('pangu/pangu.hew', config('pangu-12m', { num_hidden_layers: layers })).module,
    );
    expect([...(many?.functions.keys() ?? [])]).toEqual([...(few?.functions.keys() ?? [])]);
    expect(many?.params.size).toBe(few?.params.size);
  });

  it.each([
    ['odd heads', { num_attention_heads: 7, num_key_value_heads: 7, head_dim: 16, hidden_size: 96 }],
    ['one key head', { num_attention_heads: 9, num_key_value_heads: 1, head_dim: 16 }],
    [
      'defaults',
      { num_key_value_heads: null, head_dim: undefined, hidden_size: 256, num_attention_heads: 8 },
    ],
    ['no sandwich', { sandwich_norm: false, attention_bias: true }],
    ['a short context', { max_position_embeddings: 64, tie_word_embeddings: false }],
  ])('pangu of other sizes: %s', (_name, changes) => {
    expect(signatures(build('pangu/pangu.hew', config('pangu-2m', changes)).module)).toEqual(text);
  });

  it('moge and DiT of other sizes', () => {
    build('moge/moge.hew', config('moge-8m', { num_experts: 12, num_groups: 3, num_experts_per_tok: 6 }));
    build(
      'dit/dit.hew',
      config('dit-1m', { in_channels: 4, patch_size: 2, input_size: 16, learn_sigma: true }),
    );
  });

  it('names its files without being elaborated', () => {
    const references = specReferences(join(root, 'examples/pangu-2m/model.hew'), nodeFiles);
    expect(
      Object.values(references)
        .map((file) => file.split('/').at(-1))
        .sort(),
    ).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
  });
});
