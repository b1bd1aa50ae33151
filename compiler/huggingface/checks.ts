/** What has to hold between a configuration and the tensors beside it. Every check fails with a code of its own. */
import { fail } from '../../ir/diagnostics.js';
import { type Facts, numberIn, own } from './facts.js';

export type Check = (facts: Facts) => void;

const disagree = 'config.json and the tensors belong to different models, or one of them was edited by hand';

function unsupported(message: string): never {
  return fail('HEW3154', message, {
    help: 'the layer can be written in a spec: import a similar model, and change what it says',
  });
}

/** The activation function must be one that the parts compute; absent is the first. */
export function activation(key: string, known: readonly string[]): Check {
  return ({ config }) => {
    const given = own(config, key);
    if (given === undefined || known.includes(String(given))) return;
    unsupported(`${key} is ${JSON.stringify(given)}; this architecture is known with ${known.join(' or ')}`);
  };
}

/** A head of its own must be stored, and a shared one cannot differ from the embedding in shape. */
export const tiedHead: Check = ({ config, tensors }) => {
  const head = tensors.get('lm_head.weight');
  if (own(config, 'tie_word_embeddings') === true || head !== undefined) return;
  fail(
    'HEW3155',
    "the checkpoint has no lm_head.weight, but config.json does not say 'tie_word_embeddings'",
    {
      help: disagree,
    },
  );
};

/** `head_dim` times heads must be the rows of q_proj, where a layer has one. */
export const wholeHeads: Check = ({ config, tensors }) => {
  const rows = tensors.get('model.layers.0.self_attn.q_proj.weight')?.shape[0];
  const heads = numberIn(config, 'num_attention_heads');
  const hidden = numberIn(config, 'hidden_size');
  const given = numberIn(config, 'head_dim');
  if (rows === undefined || heads === undefined || hidden === undefined || given !== undefined) return;
  if (own(config, 'attention_kv_lora_dim') !== undefined || hidden / heads === rows / heads) return;
  fail(
    'HEW3155',
    `config.json has no head_dim, and hidden_size / num_attention_heads is ${hidden / heads}, but q_proj has ${rows} rows for ${heads} heads`,
    { help: `add "head_dim": ${rows / heads} to config.json` },
  );
};

/**
 * Biases of q, k and v, and of o: given by a switch of config.json, or by the architecture. Only a switch that is
 * there is compared, as classes default differently.
 */
export function biases(qkv: string | boolean, o: boolean): Check {
  return ({ config, tensors }) => {
    const wanted = typeof qkv === 'string' ? own(config, qkv) : qkv;
    if (typeof wanted !== 'boolean') return;
    const prefix = 'model.layers.0.self_attn';
    for (const name of ['q_proj', 'k_proj', 'v_proj', ...(typeof qkv === 'string' && o ? ['o_proj'] : [])]) {
      if (tensors.has(`${prefix}.${name}.bias`) === wanted) continue;
      const source =
        typeof qkv === 'string' ? `config.json says ${qkv}: ${wanted}` : 'the architecture has biases';
      fail('HEW3155', `${source}, but the checkpoint has ${wanted ? 'no' : 'a'} ${prefix}.${name}.bias`, {
        help: disagree,
      });
    }
  };
}

export const normsOfQueriesAndKeys: Check = ({ tensors }) => {
  for (const name of ['q_norm', 'k_norm']) {
    const tensor = `model.layers.0.self_attn.${name}.weight`;
    if (!tensors.has(tensor)) fail('HEW3155', `the checkpoint has no ${tensor}`, { help: disagree });
  }
};

/** From this layer of Qwen's on attention has a window, if `use_sliding_window`; past the last layer if it has none. */
export function firstWindowed({ config }: Facts): number {
  const layers = numberIn(config, 'num_hidden_layers') ?? 0;
  const used = own(config, 'use_sliding_window') === true && config.sliding_window !== null;
  return used ? Math.min(layers, numberIn(config, 'max_window_layers') ?? qwenWindowLayers) : layers;
}

/** What Qwen's configurations default `max_window_layers` to. */
export const qwenWindowLayers = 28;

/** `layer_types`, where given, must say what `max_window_layers` says. */
export const layerPattern: Check = (facts) => {
  const types = own(facts.config, 'layer_types');
  if (!Array.isArray(types)) return;
  const from = firstWindowed(facts);
  const odd = types.findIndex(
    (type, layer) => type !== (layer < from ? 'full_attention' : 'sliding_attention'),
  );
  if (odd < 0) return;
  unsupported(
    `layer ${odd} is '${types[odd]}' in layer_types; known is full attention up to max_window_layers and a sliding window from there on`,
  );
};

export const noCorrectionBias: Check = ({ tensors }) => {
  const found = [...tensors.keys()].find((name) => name.endsWith('.e_score_correction_bias'));
  if (found !== undefined) unsupported(`${found} changes which experts are chosen, which Hew does not do`);
};

export const plainScale: Check = ({ config }) => {
  if (own(config, 'scale_attn_weights') === false) unsupported('scale_attn_weights is false');
  if (own(config, 'scale_attn_by_inverse_layer_idx') === true)
    unsupported('scale_attn_by_inverse_layer_idx is true');
};

/** Variants of the DiT code that have other tensors. */
export const noMlpOptions: Check = ({ tensors }) => {
  const found = [...tensors.keys()].find((name) => /\.(mlp\.w12|mlp\.w3|attn\.q_norm)\./.test(name));
  if (found !== undefined) unsupported(`${found} is not part of the original DiT`);
};
