/** `hew run --device ascend-host`: the native runtime, with the kernels for Ascend on a model of the chip. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import {
  buildForHost,
  cacheDirectory,
  createTextStream,
  createTokenizer,
  fail,
  type HostPrograms,
  readAscendManifest,
} from '../../api.js';
import type { CompileFlags } from '../options.js';
import type { Output } from '../output.js';
import { compileIntoCache, resolveSource } from '../source.js';

export interface HostFlags extends CompileFlags {
  readonly prompt: string;
  readonly maxTokens: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed: number;
  readonly greedy?: boolean;
}

export async function runOnHost(path: string, flags: HostFlags, output: Output): Promise<void> {
  const source = resolveSource(path);
  const bundle =
    source.kind === 'bundle'
      ? source.path
      : (await compileIntoCache(source.path, { ...flags, target: 'ascendc' }, output)).output;
  const manifest = readAscendManifest(bundle);
  if (manifest.tokenizer === null)
    fail('HEW7008', `${path} has no tokenizer, so it cannot read a prompt`, {
      help: 'put a tokenizer.json beside the spec or the weights, name it in the spec, and compile again',
    });
  const programs = await buildForHost(bundle, cacheDirectory(output.terminal.env), () =>
    output.log('compiling the kernels with g++'),
  );
  const tokenizer = createTokenizer(readFileSync(join(bundle, manifest.tokenizer.file), 'utf8'));
  const text = createTextStream(tokenizer);
  const sampler = manifest.sampler?.kind === 'text' ? manifest.sampler : undefined;
  const encoded = tokenizer.encode(flags.prompt);
  const bos = sampler?.bos ?? null;
  const prompt = bos === null || encoded[0] === bos ? encoded : [bos, ...encoded];
  if (prompt.length === 0) fail('HEW7005', 'the prompt is empty');
  const setting = (name: string, value: number | undefined): string[] =>
    value === undefined ? [] : [name, String(value)];
  const ids: number[] = [];
  let written = '';
  const say = (part: string): void => {
    written += part;
    output.stream(part);
  };
  const args = [
    ...['--ids', prompt.join(), '--max-tokens', String(flags.maxTokens), '--seed', String(flags.seed)],
    ...setting('--temperature', flags.greedy ? 0 : (flags.temperature ?? sampler?.temperature)),
    ...setting('--top-k', flags.topK ?? sampler?.top_k),
    ...setting('--top-p', flags.topP ?? sampler?.top_p),
  ];
  await continueTokens(bundle, programs, args, (id) => {
    ids.push(id);
    say(text.push(id));
  });
  say(text.end());
  output.stream(written.endsWith('\n') ? '' : '\n');
  if (output.options.json) output.result({ ok: true, prompt: flags.prompt, text: written, ids }, '');
}

/** Runs `hew-run`, which prints a token on each line. */
async function continueTokens(
  bundle: string,
  { runner, kernels }: HostPrograms,
  args: readonly string[],
  onToken: (id: number) => void,
): Promise<void> {
  const child = spawn(runner, [bundle, '--kernels', kernels, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let problem = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    problem += text;
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject).on('close', resolve);
  });
  for await (const line of createInterface({ input: child.stdout })) onToken(Number(line));
  if ((await ended) !== 0) fail('HEW6214', problem.trim().replace(/^hew-run: /, ''));
}
