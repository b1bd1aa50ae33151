/**
 * Byte-level BPE tokenizers, between tokenizer.json and the metadata of GGUF, which has tokens in order, their types,
 * merges, and the name of a way to split text. Of those names Hew knows the ones whose regular expressions it has.
 */
import { isObject, type JsonObject, own } from '../huggingface/facts.js';
import type { Metadata, MetadataValue } from './format.js';

/** `tokenizer.ggml.token_type` */
const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5 } as const;

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const splitAfter = (digits: string): string =>
  `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

/** Names in `tokenizer.ggml.pre` and their regular expressions; undefined is the one that ByteLevel itself has. */
const splits: readonly (readonly [string, string | undefined])[] = [
  ['gpt-2', undefined],
  ['llama-bpe', splitAfter('\\p{N}{1,3}')],
  ['qwen2', splitAfter('\\p{N}')],
];

/** Other names of the same splits that llama.cpp accepts. */
const aliases: Readonly<Record<string, string>> = {
  gpt2: 'gpt-2',
  llama3: 'llama-bpe',
  'llama-v3': 'llama-bpe',
  'deepseek-r1-qwen': 'qwen2',
};

/** What could not be carried over, in words. */
export type TokenizerProblem = { readonly problem: string };

// ---- to GGUF

/**
 * The metadata of a tokenizer.json for a vocabulary of `size` rows; rows without a token get one that is never used.
 */
export function tokenizerMetadata(
  json: unknown,
  size: number,
): Map<string, MetadataValue> | TokenizerProblem {
  if (!isObject(json) || !isObject(json.model)) return { problem: 'tokenizer.json has no model' };
  const { vocab, merges, type } = json.model;
  if (type !== 'BPE' || !isObject(vocab) || !Array.isArray(merges))
    return { problem: `tokenizer.json is of the kind ${JSON.stringify(type)}; GGUF takes byte-level BPE` };
  const split = splitName(json);
  if (typeof split !== 'string') return split;
  const table = tokensOf(vocab, addedTokens(json), size);
  if ('problem' in table) return table;
  const strings = (value: readonly string[]): MetadataValue => ({ type: 'array', of: 'string', value });
  const lines = merges.map((merge) => (Array.isArray(merge) ? merge.join(' ') : String(merge)));
  const first = firstToken(json);
  return new Map<string, MetadataValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: split }],
    ['tokenizer.ggml.tokens', strings(table.tokens)],
    ['tokenizer.ggml.token_type', { type: 'array', of: 'i32', value: table.types }],
    ['tokenizer.ggml.merges', strings(lines)],
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: first !== undefined }],
    ...(first === undefined ? [] : [['tokenizer.ggml.bos_token_id', { type: 'u32', value: first }] as const]),
  ]);
}

/** The name of the way a tokenizer.json splits text. */
function splitName({ pre_tokenizer, normalizer }: JsonObject): string | TokenizerProblem {
  const steps = stepsOf(pre_tokenizer);
  const level = steps.find((step) => step.type === 'ByteLevel');
  const regexes = steps.flatMap((step) =>
    step.type === 'Split' ? [own((step.pattern ?? {}) as JsonObject, 'Regex')] : [],
  );
  const isPlain = steps.length === regexes.length + 1 && level?.add_prefix_space !== true;
  const composes =
    normalizer === null || normalizer === undefined || (isObject(normalizer) && normalizer.type === 'NFC');
  const regex = regexes.length === 0 && level?.use_regex !== false ? undefined : regexes[0];
  const found = splits.find(([, known]) => known === regex);
  if (level === undefined || !isPlain || !composes || regexes.length > 1 || found === undefined)
    return { problem: 'tokenizer.json splits text in a way that has no known name in GGUF' };
  return found[0];
}

function stepsOf(pre: unknown): JsonObject[] {
  if (!isObject(pre)) return [];
  return pre.type === 'Sequence' && Array.isArray(pre.pretokenizers)
    ? pre.pretokenizers.filter(isObject)
    : [pre];
}

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

function addedTokens({ added_tokens }: JsonObject): AddedToken[] {
  const list: unknown[] = Array.isArray(added_tokens) ? added_tokens : [];
  return list.flatMap((token) => {
    if (!isObject(token) || typeof token.id !== 'number' || typeof token.content !== 'string') return [];
    return [{ id: token.id, content: token.content, special: token.special === true }];
  });
}

function tokensOf(
  vocab: JsonObject,
  added: readonly AddedToken[],
  size: number,
): { tokens: string[]; types: number[] } | TokenizerProblem {
  const tokens: string[] = Array.from({ length: size }, (_, id) => `[PAD${id}]`);
  const types: number[] = Array.from({ length: size }, () => tokenTypes.unused);
  const entries: (readonly [string, unknown, number])[] = [
    ...Object.entries(vocab).map(([token, id]) => [token, id, tokenTypes.normal] as const),
    ...added.map(({ content, id, special }) => {
      return [content, id, special ? tokenTypes.control : tokenTypes.userDefined] as const;
    }),
  ];
  for (const [token, id, type] of entries) {
    if (!Number.isSafeInteger(id) || Number(id) < 0 || Number(id) >= size)
      return {
        problem: `token ${JSON.stringify(token)} has the id ${id}, but the embedding has ${size} rows`,
      };
    tokens[Number(id)] = token;
    types[Number(id)] = type;
  }
  return { tokens, types };
}

/** The id of the token that the post-processor puts first. */
function firstToken({ post_processor }: JsonObject): number | undefined {
  const processors = isObject(post_processor)
    ? [
        post_processor,
        ...(Array.isArray(post_processor.processors) ? post_processor.processors.filter(isObject) : []),
      ]
    : [];
  for (const { type, single, special_tokens } of processors) {
    const first: unknown = type === 'TemplateProcessing' && Array.isArray(single) ? single[0] : undefined;
    if (!isObject(first) || !isObject(first.SpecialToken) || !isObject(special_tokens)) continue;
    const token = special_tokens[String(first.SpecialToken.id)];
    const ids: unknown = isObject(token) ? token.ids : undefined;
    if (Array.isArray(ids) && typeof ids[0] === 'number') return ids[0];
  }
  return undefined;
}

// ---- from GGUF

/** A tokenizer.json with the meaning of the metadata. */
export function tokenizerJson(metadata: Metadata): JsonObject | TokenizerProblem {
  const text = (key: string): string | undefined => {
    const value = metadata.get(key)?.value;
    return typeof value === 'string' ? value : undefined;
  };
  const list = (key: string): readonly unknown[] => {
    const entry = metadata.get(key);
    return entry?.type === 'array' ? entry.value : [];
  };
  const model = text('tokenizer.ggml.model');
  if (model !== 'gpt2')
    return { problem: `its tokenizer is of the kind '${model}'; Hew reads byte-level BPE, 'gpt2'` };
  const pre = text('tokenizer.ggml.pre') ?? 'default';
  const split = splits.find(([name]) => name === (aliases[pre] ?? pre));
  if (split === undefined)
    return { problem: `it splits text by the rules '${pre}', which Hew does not know` };
  const tokens = list('tokenizer.ggml.tokens').map(String);
  const types = list('tokenizer.ggml.token_type').map(Number);
  const isAdded = (id: number): boolean =>
    types[id] === tokenTypes.control || types[id] === tokenTypes.userDefined;
  const added = tokens.flatMap((content, id) =>
    isAdded(id) ? [{ ...plainToken, id, content, special: types[id] === tokenTypes.control }] : [],
  );
  const used = tokens.flatMap((token, id) => (types[id] === tokenTypes.unused ? [] : [[token, id] as const]));
  const merges = list('tokenizer.ggml.merges').map((merge) => String(merge).split(' '));
  if (merges.some((merge) => merge.length !== 2))
    return { problem: 'one of its merges is not of two tokens' };
  const bos = metadata.get('tokenizer.ggml.bos_token_id')?.value;
  const first =
    metadata.get('tokenizer.ggml.add_bos_token')?.value === true ? tokens[Number(bos)] : undefined;
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: split[0] === 'qwen2' ? { type: 'NFC' } : null,
    pre_tokenizer: preTokenizer(split[1]),
    post_processor: first === undefined ? null : template(first, Number(bos)),
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: split[0] === 'llama-bpe',
      vocab: Object.fromEntries(used),
      merges,
    },
  };
}

const plainToken = { single_word: false, lstrip: false, rstrip: false, normalized: false } as const;

function preTokenizer(regex: string | undefined): JsonObject {
  const level = {
    type: 'ByteLevel',
    add_prefix_space: false,
    trim_offsets: true,
    use_regex: regex === undefined,
  };
  if (regex === undefined) return level;
  const split = { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false };
  return { type: 'Sequence', pretokenizers: [split, level] };
}

function template(token: string, id: number): JsonObject {
  const first = { SpecialToken: { id: token, type_id: 0 } };
  const text = (name: string, type_id: number) => ({ Sequence: { id: name, type_id } });
  return {
    type: 'TemplateProcessing',
    single: [first, text('A', 0)],
    pair: [first, text('A', 0), first, text('B', 1)],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}
