/**
 * Which Hugging Face architectures GGUF has names for, their metadata, and the tensors' names on both sides. llama.cpp
 * turns the rotary pairs of `llama` as neighbours (2i, 2i + 1) where Hugging Face turns halves (i, i + hd/2), so that
 * rows of q and k change places; `qwen2` and `qwen3` keep theirs.
 */
export interface GgufArchitecture {
  /** Name in `general.architecture`, and prefix of the other metadata. */
  readonly name: 'llama' | 'qwen2' | 'qwen3';
  /** What it is imported as. */
  readonly huggingFace: string;
  readonly permuted: boolean;
}

export const ggufArchitectures: readonly GgufArchitecture[] = [
  { name: 'llama', huggingFace: 'LlamaForCausalLM', permuted: true },
  { name: 'qwen2', huggingFace: 'Qwen2ForCausalLM', permuted: false },
  { name: 'qwen3', huggingFace: 'Qwen3ForCausalLM', permuted: false },
];

/** GGUF's name without its ending, and Hugging Face's; `{i}` is the number of a layer. */
const pairs: readonly (readonly [string, string])[] = [
  ['token_embd', 'model.embed_tokens'],
  ['output_norm', 'model.norm'],
  ['output', 'lm_head'],
  ['blk.{i}.attn_norm', 'model.layers.{i}.input_layernorm'],
  ['blk.{i}.attn_q', 'model.layers.{i}.self_attn.q_proj'],
  ['blk.{i}.attn_k', 'model.layers.{i}.self_attn.k_proj'],
  ['blk.{i}.attn_v', 'model.layers.{i}.self_attn.v_proj'],
  ['blk.{i}.attn_output', 'model.layers.{i}.self_attn.o_proj'],
  ['blk.{i}.attn_q_norm', 'model.layers.{i}.self_attn.q_norm'],
  ['blk.{i}.attn_k_norm', 'model.layers.{i}.self_attn.k_norm'],
  ['blk.{i}.ffn_norm', 'model.layers.{i}.post_attention_layernorm'],
  ['blk.{i}.ffn_gate', 'model.layers.{i}.mlp.gate_proj'],
  ['blk.{i}.ffn_up', 'model.layers.{i}.mlp.up_proj'],
  ['blk.{i}.ffn_down', 'model.layers.{i}.mlp.down_proj'],
];

const toHuggingFace = new Map(pairs);
const toGguf = new Map(pairs.map(([gguf, huggingFace]) => [huggingFace, gguf]));

/** Undefined for a name that the other side has no place for. */
export const huggingFaceName = (name: string): string | undefined =>
  renamed(name, /^blk\.(\d+)\./, toHuggingFace);
export const ggufName = (name: string): string | undefined =>
  renamed(name, /^model\.layers\.(\d+)\./, toGguf);

function renamed(name: string, layer: RegExp, names: ReadonlyMap<string, string>): string | undefined {
  const [, stem, ending] = /^(.*)(\.weight|\.bias)$/.exec(name) ?? [];
  if (stem === undefined || ending === undefined) return undefined;
  const number = layer.exec(stem)?.[1];
  const general = number === undefined ? stem : stem.replace(`.${number}.`, '.{i}.');
  const other = number === undefined && stem.includes('{i}') ? undefined : names.get(general);
  return other === undefined ? undefined : `${other.replace('{i}', number ?? '')}${ending}`;
}

/** Which rows of a tensor change places: of queries and keys, those within a head. */
export function rotatedHeads(name: string): 'q' | 'k' | undefined {
  return /\.self_attn\.([qk])_proj\.(?:weight|bias)$/.exec(name)?.[1] as 'q' | 'k' | undefined;
}

/**
 * For each row of a head in one order, its row in the other: GGUF's row 2i + s is Hugging Face's row s hd/2 + i.
 */
export function rowOrder(width: number, to: 'gguf' | 'huggingface'): number[] {
  const halves = Array.from({ length: width }, (_, row) => (row % 2) * (width / 2) + (row >> 1));
  if (to === 'gguf') return halves;
  const neighbours: number[] = [];
  halves.forEach((half, row) => {
    neighbours[half] = row;
  });
  return neighbours;
}
