/** `hew fmt`: specs in their one layout. */
import type { Command } from 'commander';
import { asHewError, type Diagnostic, diagnostic, exitCodes, formatFile } from '../../api.js';
import { jsonDiagnostic } from '../output.js';
import type { Session } from '../program.js';

interface Flags {
  readonly check?: boolean;
}

export function fmtCommand(program: Command, session: Session): void {
  program
    .command('fmt <files...>')
    .description('format specs in place')
    .option('--check', 'change nothing; exit with 3 when a file is not formatted')
    .addHelpText('after', example)
    .action((files: string[], flags: Flags) => run(files, flags, session));
}

const example = `
Example:
  hew fmt examples/pangu/pangu.hew`;

async function run(files: readonly string[], { check = false }: Flags, session: Session): Promise<void> {
  const { output } = session;
  const changed: string[] = [];
  const errors: Diagnostic[] = [];
  for (const file of files) {
    try {
      if (await formatFile(file, { check })) changed.push(file);
    } catch (error) {
      // One bad file does not keep the others from being formatted.
      const failure = asHewError(error);
      errors.push(...failure.diagnostics);
      session.exitCode = failure.exitCode;
    }
  }
  const unformatted = check ? changed.map((file) => diagnostic('HEW8002', `${file} is not formatted`)) : [];
  if (errors.length === 0 && unformatted.length > 0) session.exitCode = exitCodes.gateFailed;
  output.diagnostics([...errors, ...unformatted]);
  output.result(
    { ok: session.exitCode === exitCodes.ok, changed, diagnostics: errors.map(jsonDiagnostic) },
    check ? '' : changed.map((file) => `${file}\n`).join(''),
  );
}
