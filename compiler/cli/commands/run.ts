/** `hew run`: text from a prompt. */
import type { Command } from 'commander';
import { encodePrompt, fail, generate, type Model } from '../../api.js';
import { formatSeconds } from '../format.js';
import { addRunOptions, integer, number, type RunFlags } from '../options.js';
import type { Output } from '../output.js';
import type { Session } from '../program.js';
import { openRunnable } from '../source.js';

interface Flags extends RunFlags {
  readonly prompt: string;
  readonly maxTokens: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed: number;
  readonly greedy?: boolean;
}

export function runCommand(program: Command, { output }: Session): void {
  const command = program
    .command('run <model>')
    .description('continue a prompt; a spec is compiled into the cache first')
    .requiredOption('--prompt <text>', 'the text to continue')
    .option('--max-tokens <n>', 'most tokens to generate', integer, 128)
    .option('--temperature <x>', "randomness of the choice; 0 is greedy (default: the bundle's)", number)
    .option('--top-k <n>', "choose among the n most likely tokens; 0 is all (default: the bundle's)", integer)
    .option(
      '--top-p <x>',
      "choose among the tokens that make up this probability (default: the bundle's)",
      number,
    )
    .option('--seed <n>', 'seed of the random choices', integer, 0)
    .option('--greedy', 'always choose the most likely token');
  addRunOptions(command)
    .addHelpText('after', example)
    .action((model: string, flags: Flags) => run(model, flags, output));
}

const example = `
Only the text that follows the prompt goes to stdout. Specs are compiled into $HEW_CACHE, $XDG_CACHE_HOME/hew
or ~/.cache/hew, which may be deleted at any time.

Example:
  hew run examples/pangu-2m/model.hew --prompt "def main(" --max-tokens 64 --greedy`;

interface Continuation {
  readonly ok: true;
  readonly prompt: string;
  readonly text: string;
  readonly ids: readonly number[];
  readonly reason: string;
  readonly promptTokens: number;
  readonly seconds: { readonly prefill: number; readonly decode: number };
}

async function run(path: string, flags: Flags, output: Output): Promise<void> {
  const model = await openRunnable(path, flags, output);
  if (model.tokenizer === undefined) {
    fail('HEW7008', `${path} has no tokenizer, so it cannot read a prompt`, {
      help: 'put a tokenizer.json beside the spec or the weights, name it in the spec, and compile again',
    });
  }
  const result = await continuePrompt(model, flags, output);
  output.stream(result.text.endsWith('\n') ? '' : '\n');
  output.log(speedLine(result));
  if (output.options.json) output.result(result, '');
}

async function continuePrompt(model: Model, flags: Flags, output: Output): Promise<Continuation> {
  const promptIds = encodePrompt(model, flags.prompt);
  const started = performance.now();
  let firstToken: number | undefined;
  let text = '';
  for await (const event of generate(model, promptIds, samplingOptions(flags))) {
    firstToken ??= performance.now();
    text += event.text;
    output.stream(event.text);
    if (event.type === 'token') continue;
    const prefill = (firstToken - started) / 1000;
    const decode = (performance.now() - firstToken) / 1000;
    const { ids, reason } = event;
    return {
      ok: true,
      prompt: flags.prompt,
      text,
      ids,
      reason,
      promptTokens: promptIds.length,
      seconds: { prefill, decode },
    };
  }
  throw new Error('generation ended without an end');
}

function samplingOptions({ maxTokens, temperature, topK, topP, seed, greedy }: Flags) {
  return {
    max_tokens: maxTokens,
    seed,
    ...(greedy ? { temperature: 0 } : temperature === undefined ? {} : { temperature }),
    ...(topK === undefined ? {} : { top_k: topK }),
    ...(topP === undefined ? {} : { top_p: topP }),
  };
}

const endings: Readonly<Record<string, string>> = {
  stop: 'the model ended the text',
  length: 'the limit of --max-tokens is reached',
  context: 'the context is full',
};

function speedLine({ ids, reason, promptTokens, seconds }: Continuation): string {
  const rate = ids.length > 1 ? `, ${((ids.length - 1) / seconds.decode).toFixed(1)} per second` : '';
  const prefill = `${promptTokens} prompt tokens in ${formatSeconds(seconds.prefill)}`;
  return `${prefill}, ${ids.length} tokens generated${rate}; ${endings[reason] ?? reason}`;
}
