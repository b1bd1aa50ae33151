/** `hew check`: every diagnostic of a model, without compiling its weights. */
import type { Command } from 'commander';
import { check, exitCodes, HewError } from '../../api.js';
import { addModelOptions, type ModelFlags, modelOptions } from '../options.js';
import { jsonDiagnostic } from '../output.js';
import type { Session } from '../program.js';
import { resolveSpec } from '../source.js';

interface Flags extends ModelFlags {
  readonly target: string;
}

export function checkCommand(program: Command, session: Session): void {
  const command = program
    .command('check <spec>')
    .description('report every error of a spec, its configuration and weights, and what the target lacks');
  addModelOptions(command)
    .option('--target <name>', 'the target to check for', 'wasm')
    .addHelpText('after', example)
    .action((spec: string, flags: Flags) => run(resolveSpec(spec), flags, session));
}

const example = `
Example:
  hew check examples/pangu/pangu.hew --config examples/pangu-2m/config.json`;

async function run(spec: string, flags: Flags, session: Session): Promise<void> {
  const found = await check({ ...modelOptions(spec, flags), target: flags.target });
  const errors = found.filter(({ severity }) => severity === 'error');
  const { output } = session;
  if (errors.length > 0) session.exitCode = new HewError(errors).exitCode;
  output.diagnostics(found);
  const warnings = found.length - errors.length;
  const counts = [counted(errors.length, 'error'), counted(warnings, 'warning')].join(', ');
  output.result(
    { ok: session.exitCode === exitCodes.ok, diagnostics: found.map(jsonDiagnostic) },
    `${spec}: ${counts}\n`,
  );
}

function counted(count: number, word: string): string {
  return `${count === 0 ? 'no' : count} ${word}${count === 1 ? '' : 's'}`;
}
