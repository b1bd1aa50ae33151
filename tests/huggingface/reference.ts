/**
 * Decoders in plain float64 TypeScript, written from the published formulas and from nothing of Hew: a token at a time,
 * every vector an array. Names of tensors and of settings are those of Hugging Face checkpoints.
 */

export interface Weights {
  has(name: string): boolean;
  /** Rows of a matrix. */
  matrix(name: string): readonly Float64Array[];
  vector(name: string): Float64Array;
}

export type Config = Readonly<Record<string, unknown>>;
type Vector = readonly number[];

const number = (config: Config, key: string, otherwise?: number): number => {
  const value = config[key] ?? otherwise;
  if (typeof value !== 'number') throw new Error(`${key} is missing`);
  return value;
};

// ---- vectors

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
};
const add = (a: Vector, b: ArrayLike<number>): number[] => a.map((value, i) => value + (b[i] as number));
const silu = (x: number): number => x / (1 + Math.exp(-x));
const geluNew = (x: number): number =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

function softmax(scores: Vector): number[] {
  const greatest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - greatest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

class Layers {
  constructor(
    readonly weights: Weights,
    readonly eps: number,
  ) {}

  /** W x + b, with b where the checkpoint has one. */
  linear(name: string, x: Vector): number[] {
    const y = this.weights.matrix(`${name}.weight`).map((row) => dot(row, x));
    return this.weights.has(`${name}.bias`) ? add(y, this.weights.vector(`${name}.bias`)) : y;
  }

  rms(name: string, x: Vector): number[] {
    const gamma = this.weights.vector(`${name}.weight`);
    const scale = 1 / Math.sqrt(dot(x, x) / x.length + this.eps);
    return x.map((value, i) => value * scale * (gamma[i] as number));
  }

  layerNorm(name: string, x: Vector): number[] {
    const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
    const [gamma, beta] = [this.weights.vector(`${name}.weight`), this.weights.vector(`${name}.bias`)];
    return x.map(
      (v, i) => ((v - mean) / Math.sqrt(variance + this.eps)) * (gamma[i] as number) + (beta[i] as number),
    );
  }

  swiglu(name: string, x: Vector): number[] {
    const up = this.linear(`${name}.up_proj`, x);
    const hidden = this.linear(`${name}.gate_proj`, x).map((gate, i) => silu(gate) * (up[i] as number));
    return this.linear(`${name}.down_proj`, hidden);
  }
}

// ---- rotary positions

interface Rotary {
  readonly frequencies: readonly number[];
  readonly factor: number;
}

/** Frequencies of `width` channels when `seen` tokens have been read. */
function rotary(config: Config, width: number, seen: number): Rotary {
  const scaling = (config.rope_parameters ?? config.rope_scaling ?? {}) as Config;
  const kind = scaling.rope_type ?? scaling.type ?? 'default';
  const theta = number(scaling, 'rope_theta', number(config, 'rope_theta', 10000));
  const longest = number(config, 'max_position_embeddings');
  const plain = (base: number): number[] => {
    const list: number[] = [];
    for (let channel = 0; channel < width; channel += 2) list.push(1 / base ** (channel / width));
    return list;
  };
  const factor = number(scaling, 'factor', 1);
  if (kind === 'default') return { frequencies: plain(theta), factor: 1 };
  if (kind === 'linear') return { frequencies: plain(theta).map((f) => f / factor), factor: 1 };
  if (kind === 'dynamic') {
    const length = Math.max(seen, longest);
    const base = theta * ((factor * length) / longest - (factor - 1)) ** (width / (width - 2));
    return { frequencies: plain(base), factor: 1 };
  }
  if (kind === 'llama3') {
    const original = number(scaling, 'original_max_position_embeddings');
    const [low, high] = [number(scaling, 'low_freq_factor'), number(scaling, 'high_freq_factor')];
    const stretched = plain(theta).map((f) => {
      const wavelength = (2 * Math.PI) / f;
      if (wavelength < original / high) return f;
      if (wavelength > original / low) return f / factor;
      const smooth = (original / wavelength - low) / (high - low);
      return ((1 - smooth) * f) / factor + smooth * f;
    });
    return { frequencies: stretched, factor: 1 };
  }
  if (kind !== 'yarn') throw new Error(`no reference for ${kind}`);
  return yarn(
    scaling,
    width,
    theta,
    factor,
    number(scaling, 'original_max_position_embeddings', longest),
    plain,
  );
}

function yarn(
  scaling: Config,
  width: number,
  theta: number,
  factor: number,
  original: number,
  plain: (base: number) => number[],
): Rotary {
  const channelOf = (turns: number): number =>
    (width * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const round = scaling.truncate !== false;
  const [from, to] = [
    channelOf(number(scaling, 'beta_fast', 32)),
    channelOf(number(scaling, 'beta_slow', 1)),
  ];
  const low = Math.max(round ? Math.floor(from) : from, 0);
  const high = Math.min(round ? Math.ceil(to) : to, width - 1);
  const frequencies = plain(theta).map((f, i) => {
    const ramp = Math.min(Math.max((i - low) / (high === low ? 0.001 : high - low), 0), 1);
    return (f / factor) * ramp + f * (1 - ramp);
  });
  const scale = (m: number): number => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
  const [m, all] = [scaling.mscale as number | undefined, scaling.mscale_all_dim as number | undefined];
  const derived = m && all ? scale(m) / scale(all) : scale(1);
  return { frequencies, factor: number(scaling, 'attention_factor', derived) };
}

/** Turns the pairs (i, i + n/2), or the pairs of neighbours. */
function turned(x: Vector, position: number, { frequencies, factor }: Rotary, neighbours = false): number[] {
  const half = x.length / 2;
  const out = [...x];
  frequencies.forEach((frequency, i) => {
    const [first, second] = neighbours ? [2 * i, 2 * i + 1] : [i, i + half];
    const [cos, sin] = [Math.cos(position * frequency) * factor, Math.sin(position * frequency) * factor];
    out[first] = (x[first] as number) * cos - (x[second] as number) * sin;
    out[second] = (x[second] as number) * cos + (x[first] as number) * sin;
  });
  return out;
}

// ---- attention

function chunksOf(x: Vector, count: number): number[][] {
  const width = x.length / count;
  return Array.from({ length: count }, (_, i) => x.slice(i * width, (i + 1) * width));
}

interface Cache {
  readonly keys: number[][][];
  readonly values: number[][][];
}

/** The last query against all keys that are cached, the latest `window` of them if there is a window. */
function attend(
  queries: readonly Vector[],
  { keys, values }: Cache,
  scale: number,
  window = Infinity,
): number[] {
  const first = Math.max(0, keys.length - window);
  return queries.flatMap((query, head) => {
    const group = Math.floor((head * (keys[0] as number[][]).length) / queries.length);
    const seen = keys.slice(first).map((heads) => heads[group] as number[]);
    const weights = softmax(seen.map((key) => dot(query, key) * scale));
    const width = ((values[0] as number[][])[group] as number[]).length;
    return Array.from({ length: width }, (_, i) =>
      weights.reduce((sum, w, j) => sum + w * (values[first + j]?.[group]?.[i] as number), 0),
    );
  });
}

/** One layer's attention, for the token at `position`. */
type AttentionStep = (x: Vector, layer: number, position: number, seen: number) => number[];

function groupedQueries(layers: Layers, config: Config): AttentionStep {
  const heads = number(config, 'num_attention_heads');
  const kv = number(config, 'num_key_value_heads', heads);
  const width = number(config, 'head_dim', number(config, 'hidden_size') / heads);
  const caches = new Map<number, Cache>();
  return (x, layer, position, seen) => {
    const name = `model.layers.${layer}.self_attn`;
    const cache = caches.get(layer) ?? { keys: [], values: [] };
    caches.set(layer, cache);
    const rope = rotary(config, width, seen);
    const prepared = (part: 'q' | 'k', count: number): number[][] =>
      chunksOf(layers.linear(`${name}.${part}_proj`, x), count).map((head) => {
        const norm = `${name}.${part}_norm`;
        return turned(layers.weights.has(`${norm}.weight`) ? layers.rms(norm, head) : head, position, rope);
      });
    const queries = prepared('q', heads);
    cache.keys.push(prepared('k', kv));
    cache.values.push(chunksOf(layers.linear(`${name}.v_proj`, x), kv));
    return layers.linear(`${name}.o_proj`, attend(queries, cache, width ** -0.5, windowOf(config, layer)));
  };
}

function windowOf(config: Config, layer: number): number {
  if (typeof config.sliding_window !== 'number' || config.use_sliding_window === false) return Infinity;
  return layer >= number(config, 'max_window_layers', 0) ? config.sliding_window : Infinity;
}

/** Latent attention as it is defined: every head's keys and values are made from the latents. */
function latentAttention(layers: Layers, config: Config): AttentionStep {
  const heads = number(config, 'num_attention_heads');
  const [plain, rot] = [number(config, 'attention_qk_dim'), number(config, 'attention_qk_rope_dim')];
  const [rank, valueWidth] = [number(config, 'attention_kv_lora_dim'), number(config, 'attention_v_dim')];
  const caches = new Map<number, Cache>();
  return (x, layer, position, seen) => {
    const name = `model.layers.${layer}.self_attn`;
    const cache = caches.get(layer) ?? { keys: [], values: [] };
    caches.set(layer, cache);
    const rope = rotary(config, rot, seen);
    const q = layers.weights.has(`${name}.q_proj.weight`)
      ? layers.linear(`${name}.q_proj`, x)
      : layers.linear(
          `${name}.q_b_proj`,
          layers.rms(`${name}.q_a_layernorm`, layers.linear(`${name}.q_a_proj`, x)),
        );
    const queries = chunksOf(q, heads).map((head) => [
      ...head.slice(0, plain),
      ...turned(head.slice(plain), position, rope, true),
    ]);
    const both = layers.linear(`${name}.kv_a_proj_with_mqa`, x);
    const shared = turned(both.slice(rank), position, rope, true);
    const latent = layers.rms(`${name}.kv_a_layernorm`, both.slice(0, rank));
    const expanded = chunksOf(layers.linear(`${name}.kv_b_proj`, latent), heads);
    cache.keys.push(expanded.map((head) => [...head.slice(0, plain), ...shared]));
    cache.values.push(expanded.map((head) => head.slice(plain, plain + valueWidth)));
    return layers.linear(`${name}.o_proj`, attend(queries, cache, (plain + rot) ** -0.5));
  };
}

// ---- feed-forward layers

type FeedForward = (x: Vector, layer: number) => number[];

function best(scores: Vector, count: number, from = 0, to = scores.length): number[] {
  const order = scores.slice(from, to).map((score, i) => [score, i + from] as const);
  return order
    .sort((a, b) => b[0] - a[0])
    .slice(0, count)
    .map(([, i]) => i);
}

function weightedExperts(
  layers: Layers,
  name: string,
  x: Vector,
  chosen: ReadonlyMap<number, number>,
): number[] {
  let sum: number[] = x.map(() => 0);
  for (const [expert, weight] of chosen) {
    const y = layers.swiglu(`${name}.experts.${expert}`, x);
    sum = sum.map((value, i) => value + weight * (y[i] as number));
  }
  return sum;
}

function feedForward(layers: Layers, config: Config): FeedForward {
  return (x, layer) => {
    const name = `model.layers.${layer}.mlp`;
    if (!layers.weights.has(`${name}.gate.weight`)) return layers.swiglu(name, x);
    const logits = layers.weights.matrix(`${name}.gate.weight`).map((row) => dot(row, x));
    const count = number(config, 'num_experts_per_tok');
    if (config.num_routed_experts !== undefined) {
      const scores = logits.map((logit) => 1 / (1 + Math.exp(-logit)));
      const winners = best(scores, count);
      const total = winners.reduce((sum, e) => sum + (scores[e] as number), 0);
      const factor = number(config, 'routed_scaling_factor') / (config.norm_topk_prob === false ? 1 : total);
      const chosen = new Map(winners.map((e) => [e, (scores[e] as number) * factor]));
      return add(weightedExperts(layers, name, x, chosen), layers.swiglu(`${name}.shared_experts`, x));
    }
    const scores = softmax(logits);
    const groups = number(config, 'num_groups', count);
    const size = scores.length / groups;
    const scales = layers.weights.has(`${name}.router_scale`)
      ? layers.weights.matrix(`${name}.router_scale`)[0]
      : undefined;
    const chosen = new Map<number, number>();
    for (let g = 0; g < groups; g++) {
      for (const e of best(scores, count / groups, g * size, (g + 1) * size))
        chosen.set(e, (scores[e] as number) * (scales?.[e] ?? 1));
    }
    return add(weightedExperts(layers, name, x, chosen), layers.swiglu(`${name}.shared_expert`, x));
  };
}

// ---- models

/** Logits after each token. `calls` says how many tokens are read at a time, which only dynamic NTK can tell. */
export function decoderLogits(
  weights: Weights,
  config: Config,
  ids: Vector,
  calls: Vector = [ids.length],
): number[][] {
  const layers = new Layers(weights, number(config, 'rms_norm_eps'));
  const attention =
    config.attention_kv_lora_dim === undefined
      ? groupedQueries(layers, config)
      : latentAttention(layers, config);
  const ffn = feedForward(layers, config);
  const ends = calls.map((_, i) => calls.slice(0, i + 1).reduce((sum, n) => sum + n, 0));
  return ids.map((id, position) => {
    const seen = ends.find((end) => end > position) as number;
    let h: number[] = [...(weights.matrix('model.embed_tokens.weight')[id] as Float64Array)];
    for (let layer = 0; layer < number(config, 'num_hidden_layers'); layer++) {
      const name = `model.layers.${layer}`;
      const sandwich = weights.has(`${name}.pre_mlp_layernorm.weight`);
      const a = attention(layers.rms(`${name}.input_layernorm`, h), layer, position, seen);
      h = add(h, sandwich ? layers.rms(`${name}.post_attention_layernorm`, a) : a);
      const before = sandwich ? 'pre_mlp_layernorm' : 'post_attention_layernorm';
      const m = ffn(layers.rms(`${name}.${before}`, h), layer);
      h = add(h, sandwich ? layers.rms(`${name}.post_mlp_layernorm`, m) : m);
    }
    const head = config.tie_word_embeddings === true ? 'model.embed_tokens' : 'lm_head';
    return layers.linear(head, layers.rms('model.norm', h));
  });
}

/** GPT-2: learned positions, norms with biases, and matrices stored as [in, out]. */
export function gpt2Logits(weights: Weights, config: Config, ids: Vector): number[][] {
  const layers = new Layers(weights, number(config, 'layer_norm_epsilon'));
  const heads = number(config, 'n_head');
  const prefix = weights.has('wte.weight') ? '' : 'transformer.';
  const conv = (name: string, x: Vector): number[] => {
    const rows = weights.matrix(`${name}.weight`);
    return [...weights.vector(`${name}.bias`)].map((b, out) =>
      rows.reduce((sum, row, i) => sum + (row[out] as number) * (x[i] as number), b),
    );
  };
  const caches = new Map<number, Cache>();
  const embedding = weights.matrix(`${prefix}wte.weight`);
  return ids.map((id, position) => {
    let h = add(
      [...(embedding[id] as Float64Array)],
      weights.matrix(`${prefix}wpe.weight`)[position] as Float64Array,
    );
    for (let layer = 0; layer < number(config, 'n_layer'); layer++) {
      const name = `${prefix}h.${layer}`;
      const cache = caches.get(layer) ?? { keys: [], values: [] };
      caches.set(layer, cache);
      const qkv = conv(`${name}.attn.c_attn`, layers.layerNorm(`${name}.ln_1`, h));
      const [q, k, v] = chunksOf(qkv, 3).map((part) => chunksOf(part, heads)) as [
        number[][],
        number[][],
        number[][],
      ];
      cache.keys.push(k);
      cache.values.push(v);
      h = add(h, conv(`${name}.attn.c_proj`, attend(q, cache, (h.length / heads) ** -0.5)));
      const hidden = conv(`${name}.mlp.c_fc`, layers.layerNorm(`${name}.ln_2`, h)).map(geluNew);
      h = add(h, conv(`${name}.mlp.c_proj`, hidden));
    }
    const last = layers.layerNorm(`${prefix}ln_f`, h);
    const rows = weights.has('lm_head.weight') ? weights.matrix('lm_head.weight') : embedding;
    return rows.map((row) => dot(row, last));
  });
}
