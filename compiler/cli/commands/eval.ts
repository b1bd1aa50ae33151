/** `hew eval`: quality of a compiled model, on tokens or against golden outputs; a gate for continuous integration. */
import type { Command } from 'commander';
import {
  checkNames,
  type Diagnostic,
  diagnostic,
  evaluateGolden,
  evaluateTokens,
  exitCodes,
  fail,
  type GoldenCheck,
  type GoldenReport,
  type Model,
  readTokenFile,
  type TokenReport,
} from '../../api.js';
import { formatValue, renderTable } from '../format.js';
import { addRunOptions, integer, limit, nameList, type RunFlags } from '../options.js';
import type { Output } from '../output.js';
import type { Session } from '../program.js';
import { openRunnable } from '../source.js';

interface Flags extends RunFlags {
  readonly tokens?: string;
  readonly tensor?: string;
  readonly window?: number;
  readonly golden?: string;
  readonly only?: string[];
  readonly limit?: Readonly<Record<string, number>>;
}

export function evalCommand(program: Command, session: Session): void {
  const command = program
    .command('eval <model>')
    .description('measure quality on tokens, or the difference from golden outputs')
    .option('--tokens <file>', 'token file (.safetensors, .u16, .u32): mean NLL and perplexity')
    .option('--tensor <name>', 'tensor of the token file')
    .option('--window <n>', 'tokens per window, for token files without rows (default: 513)', integer)
    .option('--golden <file>', 'golden outputs (.safetensors) to compare with')
    .option('--only <checks>', 'checks of the golden outputs to make (default: all)', nameList)
    .option(
      '--limit <name=value>',
      'limit of a check; exceeding it ends with exit code 3; may be repeated',
      limit,
    );
  addRunOptions(command)
    .addHelpText('after', example)
    .action((model: string, flags: Flags) => run(model, flags, session));
}

const example = `
With --tokens the checks nll and perplexity have no limits of their own; those of --golden have.

Examples:
  hew eval examples/pangu-2m/model.hew --golden examples/pangu-2m/golden.safetensors
  hew eval out/pangu-2m --tokens held-out.safetensors --tensor tokens --limit nll=2.65`;

async function run(path: string, flags: Flags, session: Session): Promise<void> {
  const { tokens, golden } = flags;
  if ((tokens === undefined) === (golden === undefined)) {
    fail('HEW8001', 'either --tokens or --golden is needed', { help: 'see hew eval --help' });
  }
  if (flags.window !== undefined && flags.window < 2) {
    fail('HEW8001', 'a window has at least two tokens', {
      help: 'the first token of a window is not predicted',
    });
  }
  const { output } = session;
  const model = await openRunnable(path, flags, output);
  const failed =
    tokens === undefined
      ? await runGolden(model, golden as string, flags, output)
      : runTokens(model, tokens, flags, output);
  output.diagnostics(failed);
  if (failed.length > 0) session.exitCode = exitCodes.gateFailed;
}

// ---- tokens

const tokenChecks = ['nll', 'perplexity'] as const;

function runTokens(
  model: Model,
  file: string,
  { tensor, window, limit: limits = {} }: Flags,
  output: Output,
): Diagnostic[] {
  checkNames(Object.keys(limits), tokenChecks);
  const windows = readTokenFile(file, { tensor, window });
  const progress = output.progress();
  const report = evaluateTokens(model, windows, (done, total) => progress.update('windows', done, total));
  progress.end();
  const failed = tokenChecks.filter((name) => !(report[name] <= (limits[name] ?? Number.POSITIVE_INFINITY)));
  output.result({ ok: failed.length === 0, limits, ...report }, tokenText(report));
  return failed.map((name) => gate(name, report[name], limits[name] ?? Number.NaN, 'max'));
}

function tokenText({ windows, tokens, nll, perplexity }: TokenReport): string {
  const figures = `nll ${nll.toFixed(4)}, perplexity ${perplexity.toFixed(3)}`;
  return `${figures} (${tokens} tokens in ${windows} windows)\n`;
}

// ---- golden outputs

async function runGolden(
  model: Model,
  file: string,
  { limit: limits = {}, only }: Flags,
  output: Output,
): Promise<Diagnostic[]> {
  const progress = output.progress();
  try {
    const report = await evaluateGolden(model, file, {
      limits,
      only,
      onProgress: (check, done, total) => progress.update(check, done, total),
    });
    progress.end();
    const failed = report.checks.filter(({ pass }) => pass === false);
    output.result({ ok: failed.length === 0, ...report }, goldenText(report));
    return failed.map(({ name, value, limit: bound, bound: kind }) =>
      gate(name, value ?? Number.NaN, bound, kind),
    );
  } finally {
    progress.end();
  }
}

const verdicts = { true: 'pass', false: 'FAIL', undefined: 'skip' } as const;

function goldenText({ checks }: GoldenReport): string {
  const rows = checks.map((check) => [
    check.name,
    check.value === undefined ? '-' : formatValue(check.value),
    `${check.bound === 'max' ? '<=' : '>='} ${formatValue(check.limit)}`,
    verdicts[`${check.pass}`],
    check.note ?? check.what,
  ]);
  return renderTable(
    [
      { title: 'check' },
      { title: 'value', align: 'right' },
      { title: 'limit', align: 'right' },
      { title: '' },
      { title: 'what' },
    ],
    rows,
  );
}

function gate(name: string, value: number, bound: number, kind: GoldenCheck['bound']): Diagnostic {
  const relation = kind === 'max' ? 'above' : 'below';
  return diagnostic(
    'HEW8002',
    `${name} is ${formatValue(value)}, ${relation} the limit of ${formatValue(bound)}`,
  );
}
