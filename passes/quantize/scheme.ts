/** The options of the pass `quantize`, checked and given names. */
import { fail } from '../../ir/diagnostics.js';
import type { Module } from '../../ir/module.js';
import { type OptionsOf, option } from '../pass.js';
import type { GptqOptions } from './gptq.js';
import type { Layer } from './layers.js';
import type { WeightScheme } from './rounding.js';

export const quantizeOptions = {
  scheme: option(
    'string',
    'bits of weights and activations: w8a8, w4a8, or of weights alone: w8, w4',
    'w8a8',
  ),
  activations: option(
    'string',
    'what shares a range: tensor, step (by groups of timesteps), token (found at run time)',
    'tensor',
  ),
  groups: option('int', 'groups of timesteps (activations=step)', 10),
  last: option('bool', 'the last step, with the least noise, is a group of its own (activations=step)', true),
  group: option('int', 'inputs that share a scale in weights of 4 bits; 0 is all', 0),
  asymmetric: option('bool', 'weights of 4 bits have zero points', false),
  clip: option('bool', 'narrow the ranges of weights of 4 bits where that lowers the squared error', false),
  rounding: option('string', 'of weights: nearest, gptq', 'nearest'),
  damp: option(
    'float',
    'added to the diagonal of Gram matrices, as a share of its mean (rounding=gptq)',
    0.01,
  ),
  act_order: option('bool', 'large inputs first (rounding=gptq)', false),
  sweeps: option('int', 'of coordinate search over codes and scales behind GPTQ (rounding=gptq)', 0),
  reconstruct: option(
    'string',
    'what rounding keeps near: the outputs of each layer (none), of its block or of the model (rounding=gptq)',
    'none',
  ),
  every: option('int', 'take every n-th call of the calibration for Gram matrices (rounding=gptq)', 5),
  bias_correction: option('bool', 'correct biases by the mean error that rounding the weights makes', false),
  condition: option(
    'string',
    'layers that read the condition of a diffusion model: w8 or w4 (weights alone), same, none',
    'w8',
  ),
  edges: option(
    'string',
    'other layers outside of loops, at the ends of the model: w8, w4, same, none; auto is none for diffusion models',
    'auto',
  ),
  target_bits: option(
    'float',
    'keep the layers in 8 bits that need it most, as far as the mean bits of weights allow; 0 is none',
    0,
  ),
};

export type QuantizeOptions = OptionsOf<typeof quantizeOptions>;

export interface Settings {
  readonly weightBits: number;
  /** Undefined: activations stay as they are. */
  readonly activations:
    | { readonly range: 'tensor' | 'step' | 'token'; readonly groups: number; readonly last: boolean }
    | undefined;
  /** Of weights below 8 bits. */
  readonly narrow: Omit<WeightScheme, 'bits'>;
  readonly gptq: GptqOptions | undefined;
  readonly every: number;
  readonly reconstruct: Reconstruction;
  readonly biasCorrection: boolean;
  readonly condition: Exception;
  readonly edges: Exception;
  readonly targetBits: number | undefined;
}

/** Whose outputs rounding keeps near those of the unquantized model. */
export type Reconstruction = (typeof reconstructions)[number];
const reconstructions = ['none', 'block', 'model'] as const;

/** What is done with layers that are no part of a loop's body: weights alone, as the others, or nothing. */
export type Exception = (typeof exceptions)[number];
const exceptions = ['w8', 'w4', 'same', 'none'] as const;

/** Fails with HEW6002 for words and HEW6121 for numbers that mean nothing. */
export function readSettings(given: QuantizeOptions, module: Module): Settings {
  const [, weights, activations] = /^w([48])(?:a(8))?$/.exec(given.scheme) ?? [];
  if (weights === undefined)
    fail('HEW6002', `quantize has no scheme '${given.scheme}'`, { help: 'schemes: w8a8, w4a8, w8, w4' });
  checkNumbers(given);
  const { groups, last, asymmetric, clip, group, damp, sweeps, act_order: actOrder } = given;
  return {
    weightBits: Number(weights),
    activations:
      activations === undefined
        ? undefined
        : { range: word('activations', given.activations, ['tensor', 'step', 'token']), groups, last },
    narrow: { asymmetric, clip, group: group === 0 ? undefined : group },
    gptq:
      word('rounding', given.rounding, ['nearest', 'gptq']) === 'gptq'
        ? { damp, actOrder, sweeps }
        : undefined,
    every: given.every,
    reconstruct: word('reconstruct', given.reconstruct, reconstructions),
    biasCorrection: given.bias_correction,
    condition: word('condition', given.condition, exceptions),
    edges: edgesOf(word('edges', given.edges, ['auto', ...exceptions]), module),
    targetBits: given.target_bits === 0 ? undefined : given.target_bits,
  };
}

/** The last layer of a diffusion model is small, and its errors are those of the predicted noise. */
function edgesOf(given: Exception | 'auto', { sampler }: Module): Exception {
  if (given !== 'auto') return given;
  return sampler?.kind === 'diffusion' ? 'none' : 'w8';
}

function word<const W extends string>(option: string, given: string, known: readonly W[]): W {
  const found = known.find((name) => name === given);
  return (
    found ??
    fail('HEW6002', `quantize: ${option} cannot be '${given}'`, { help: `one of: ${known.join(', ')}` })
  );
}

function checkNumbers({
  rounding,
  reconstruct,
  groups,
  group,
  damp,
  sweeps,
  every,
  target_bits: target,
}: QuantizeOptions): void {
  const refuse = (what: string): never => fail('HEW6121', `quantize: ${what}`);
  if (reconstruct !== 'none' && rounding !== 'gptq') refuse(`reconstruct=${reconstruct} needs rounding=gptq`);
  if (groups < 1) refuse(`groups=${groups} is not positive`);
  if (group < 0 || group === 1) refuse(`group=${group} is no number of inputs`);
  if (!(damp >= 0)) refuse(`damp=${damp} is negative`);
  if (sweeps < 0) refuse(`sweeps=${sweeps} is negative`);
  if (every < 1) refuse(`every=${every} is not positive`);
  if (target !== 0 && !(target >= 4 && target <= 8)) refuse(`target_bits=${target} is not within 4 .. 8`);
}

/** What is done with one layer; undefined leaves it alone. */
export interface LayerScheme {
  readonly weight: WeightScheme;
  readonly quantizesInput: boolean;
}

export function schemeOf(
  layer: Layer,
  settings: Settings,
  bits = settings.weightBits,
): LayerScheme | undefined {
  const exception = layer.place === 'body' ? 'same' : settings[layer.place];
  if (exception === 'none') return undefined;
  if (exception === 'same') {
    const quantizesInput = settings.activations !== undefined && layer.kind === 'linear';
    return { weight: weightScheme(layer, settings, bits), quantizesInput };
  }
  return { weight: weightScheme(layer, settings, exception === 'w8' ? 8 : 4), quantizesInput: false };
}

function weightScheme({ columns }: Layer, { narrow }: Settings, bits: number): WeightScheme {
  if (bits === 8) return { bits };
  const { group } = narrow;
  const fits = group !== undefined && columns % group === 0 && group < columns;
  return { bits, ...narrow, group: fits ? group : undefined };
}
