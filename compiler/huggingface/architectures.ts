/**
 * The architectures that `hew import` knows. Each is data: the parts its spec is made of, what its configuration class
 * in transformers defaults to, and what has to hold between configuration and tensors.
 */
import { didYouMean, fail } from '../../ir/diagnostics.js';
import type { GgufArchitecture } from '../gguf/architectures.js';
import { attentionBiases, type BiasRules, llamaBiases, qwen2Biases } from './biases.js';
import {
  activation,
  biases,
  type Check,
  firstWindowed,
  layerPattern,
  noCorrectionBias,
  noMlpOptions,
  normsOfQueriesAndKeys,
  plainScale,
  qwenWindowLayers,
  tiedHead,
  wholeHeads,
} from './checks.js';
import { type Facts, type JsonObject, numberIn, own } from './facts.js';
import { ropePart } from './rope.js';
import { sandwichNorm } from './sandwich.js';

export type Setting = number | boolean;

export interface Architecture {
  /** Names under `architectures` in config.json; the first is written by `hew export`. */
  readonly names: readonly string[];
  /** Names under `model_type`, for configurations without `architectures`. */
  readonly modelTypes: readonly string[];
  /** What docs/import.md says of it. */
  readonly doc: string;
  /** Files of specs/, without the ending, in the order they stand in the spec. */
  readonly parts: (facts: Facts) => readonly string[];
  /** Values of settings that config.json leaves out. */
  readonly defaults: (facts: Facts) => Readonly<Record<string, Setting>>;
  readonly checks: readonly Check[];
  /** How `hew export --format hf` writes it; undefined when transformers has no such models. */
  readonly exported?: Exported | undefined;
  /** What `hew export --format gguf` calls it. */
  readonly gguf?: GgufArchitecture['name'] | undefined;
}

export interface Exported {
  readonly biases?: BiasRules;
  /** The name of a tensor in a checkpoint, where Hew's is another. */
  readonly rename?: (name: string, config: JsonObject) => string;
}

/** Without norms behind its parts, a block calls the norm before its feed-forward layer otherwise. */
function withoutSandwich(name: string, config: JsonObject): string {
  return config.sandwich_norm === true
    ? name
    : name.replace('.pre_mlp_layernorm.', '.post_attention_layernorm.');
}

const decoderChecks: readonly Check[] = [activation('hidden_act', ['silu', 'swish']), tiedHead, wholeHeads];

/** Parts of a decoder with rotary attention; `middle` are those between attention and the stack of layers. */
function decoder(facts: Facts, attention: string, middle: readonly string[], layers = 'layers'): string[] {
  return ['sizes', attention, ropePart(facts.config), ...middle, layers, 'body', 'entries'];
}

const dense = ['ffn-swiglu', 'block'] as const;

const windowed = (facts: Facts): string[] => decoder(facts, 'attention-gqa', dense, 'layers-window');
const plain = (facts: Facts): string[] => decoder(facts, 'attention-gqa', dense);
const qwen = (facts: Facts): string[] =>
  firstWindowed(facts) === numberIn(facts.config, 'num_hidden_layers') ? plain(facts) : windowed(facts);

const hasMoE = ({ config }: Facts): boolean => own(config, 'num_routed_experts') !== undefined;

export const architectures: readonly Architecture[] = [
  {
    names: ['LlamaForCausalLM'],
    modelTypes: ['llama'],
    doc: 'Llama 1 to 3.x: GQA, SwiGLU, optional biases, all RoPE scalings',
    parts: plain,
    defaults: () => ({ max_position_embeddings: 2048, rms_norm_eps: 1e-6 }),
    checks: [...decoderChecks, biases('attention_bias', true)],
    exported: { biases: llamaBiases },
    gguf: 'llama',
  },
  {
    names: ['MistralForCausalLM'],
    modelTypes: ['mistral'],
    doc: 'Mistral: as Llama, with a sliding window if the configuration has one',
    parts: (facts) => (facts.config.sliding_window === null ? plain(facts) : windowed(facts)),
    defaults: () => ({
      num_key_value_heads: 8,
      max_position_embeddings: 131_072,
      sliding_window: 4096,
      rms_norm_eps: 1e-6,
    }),
    checks: [...decoderChecks, biases('attention_bias', false)],
    exported: { biases: {} },
    gguf: 'llama',
  },
  {
    names: ['Qwen2ForCausalLM'],
    modelTypes: ['qwen2'],
    doc: 'Qwen2 and Qwen2.5: biases of q, k and v, a sliding window in the upper layers if it is switched on',
    parts: qwen,
    defaults: () => ({
      num_key_value_heads: 32,
      max_position_embeddings: 32_768,
      sliding_window: 4096,
      max_window_layers: qwenWindowLayers,
      rms_norm_eps: 1e-6,
    }),
    checks: [...decoderChecks, biases(true, false), layerPattern],
    exported: { biases: qwen2Biases },
    gguf: 'qwen2',
  },
  {
    names: ['Qwen3ForCausalLM'],
    modelTypes: ['qwen3'],
    doc: 'Qwen3: norms of queries and keys, head_dim of its own, sliding window as Qwen2',
    parts: qwen,
    defaults: () => ({
      num_key_value_heads: 32,
      head_dim: 128,
      max_position_embeddings: 32_768,
      sliding_window: 4096,
      max_window_layers: qwenWindowLayers,
      rms_norm_eps: 1e-6,
    }),
    checks: [...decoderChecks, biases('attention_bias', true), normsOfQueriesAndKeys, layerPattern],
    exported: { biases: attentionBiases },
    gguf: 'qwen3',
  },
  {
    names: ['PanguEmbeddedForCausalLM', 'PanguForCausalLM'],
    modelTypes: ['PanguEmbedded'],
    doc: 'openPangu Embedded: biases of attention; with or without sandwich norms',
    parts: (facts) => decoder(facts, 'attention-gqa', ['ffn-swiglu', 'block-sandwich']),
    defaults: (facts) => ({
      max_position_embeddings: 32_768,
      rms_norm_eps: 1e-5,
      sandwich_norm: sandwichNorm(facts),
    }),
    checks: decoderChecks,
    exported: { biases: attentionBiases, rename: withoutSandwich },
  },
  {
    names: ['PanguProMoEForCausalLM', 'PanGuMoEForCausalLM'],
    modelTypes: ['PanGuMoE', 'pangu_pro_moe'],
    doc: 'Pangu Pro MoE: mixture of grouped experts with router_scale; with or without sandwich norms',
    parts: (facts) => decoder(facts, 'attention-gqa', ['ffn-moge', 'block-sandwich']),
    defaults: (facts) => ({
      max_position_embeddings: 4096,
      rms_norm_eps: 1e-5,
      'rope_parameters.rope_theta': 1_000_000,
      sandwich_norm: sandwichNorm(facts),
    }),
    checks: decoderChecks,
    exported: { biases: attentionBiases, rename: withoutSandwich },
  },
  {
    names: ['PanguUltraMoEForCausalLM', 'OpenPanguMoEForCausalLM'],
    modelTypes: ['pangu_ultra_moe'],
    doc: 'Pangu Ultra: sandwich norms, latent attention (MLA) or GQA, dense or a mixture of experts with sigmoid scores',
    parts: (facts) =>
      decoder(
        facts,
        own(facts.config, 'attention_kv_lora_dim') === undefined ? 'attention-gqa' : 'attention-mla',
        [hasMoE(facts) ? 'ffn-sigmoid-moe' : 'ffn-swiglu', 'block-sandwich'],
        hasMoE(facts) ? 'layers-dense-first' : 'layers',
      ),
    defaults: (facts) => ({
      max_position_embeddings: 131_072,
      rms_norm_eps: 1e-5,
      'rope_parameters.rope_theta': 25_600_000,
      num_dense_layers: 3,
      routed_scaling_factor: 2.5,
      sandwich_norm: sandwichNorm(facts),
    }),
    checks: [...decoderChecks, noCorrectionBias],
    exported: { biases: {}, rename: withoutSandwich },
  },
  {
    names: ['GPT2LMHeadModel'],
    modelTypes: ['gpt2'],
    doc: 'GPT-2: learned positions, LayerNorm, tanh-GELU, weights of dense layers transposed',
    parts: () => ['gpt2', 'entries'],
    defaults: () => ({}),
    checks: [activation('activation_function', ['gelu_new', 'gelu_pytorch_tanh']), plainScale],
    exported: {},
  },
  {
    names: ['DiT'],
    modelTypes: ['DiT', 'dit'],
    doc: 'DiT with the tensor names of the original code: adaptive layer norm, labels and timesteps',
    parts: () => ['dit'],
    defaults: () => ({}),
    checks: [noMlpOptions],
  },
];

/** The architecture of a checkpoint. Fails with HEW3151. */
export function architectureOf({ config, directory }: Pick<Facts, 'config' | 'directory'>): Architecture {
  const given = config.architectures;
  const names = Array.isArray(given) ? given.filter((name) => typeof name === 'string') : [];
  const type = own(config, 'model_type');
  const found =
    architectures.find((a) => names.some((name) => a.names.includes(name))) ??
    (names.length > 0
      ? undefined
      : architectures.find((a) => typeof type === 'string' && a.modelTypes.includes(type)));
  if (found !== undefined) return found;
  const known = architectures.flatMap((a) => a.names);
  const what = names[0] ?? (typeof type === 'string' ? `model_type ${type}` : undefined);
  const near = what === undefined ? undefined : didYouMean(what, known);
  return fail(
    'HEW3151',
    what === undefined
      ? `config.json in ${directory} names neither 'architectures' nor 'model_type'`
      : `the architecture ${what} is not known`,
    {
      notes: [`known are ${known.join(', ')}`],
      help: `${near === undefined ? '' : `${near} `}a model of any other kind can be described in a spec of a page or two, see docs/language.md`,
    },
  );
}
