/**
 * The `hew` program: commands, options and exit codes. Each command is a file in commands/, thin over the public API.
 * Whatever is thrown ends as rendered diagnostics and an exit code; stack traces appear only with --debug.
 */
import { Command, CommanderError } from 'commander';
import { asHewError, diagnostic, type ExitCode, exitCodes, HewError, version } from '../api.js';
import { checkCommand } from './commands/check.js';
import { compileCommand } from './commands/compile.js';
import { evalCommand } from './commands/eval.js';
import { evalDiffusionCommand } from './commands/eval-diffusion.js';
import { exportCommand } from './commands/export.js';
import { fmtCommand } from './commands/fmt.js';
import { importCommand } from './commands/import.js';
import { inspectCommand } from './commands/inspect.js';
import { passesCommand } from './commands/passes.js';
import { pruneCommand } from './commands/prune.js';
import { quantizeCommand } from './commands/quantize.js';
import { reportCommand } from './commands/report.js';
import { runCommand } from './commands/run.js';
import { sampleCommand } from './commands/sample.js';
import { tuneCommand } from './commands/tune.js';
import { type GlobalOptions, Output } from './output.js';
import { processTerminal, type Terminal } from './terminal.js';

/** Adds one command to the program. Its action hands the exit code to `Session.run`. */
export type CommandDefinition = (program: Command, session: Session) => void;

const commands: readonly CommandDefinition[] = [
  compileCommand,
  importCommand,
  exportCommand,
  pruneCommand,
  quantizeCommand,
  runCommand,
  sampleCommand,
  evalCommand,
  evalDiffusionCommand,
  checkCommand,
  fmtCommand,
  inspectCommand,
  reportCommand,
  tuneCommand,
  passesCommand,
];

/** One invocation of the program. */
export class Session {
  exitCode: ExitCode = exitCodes.ok;
  readonly output: Output;

  constructor(terminal: Terminal, options: GlobalOptions) {
    this.output = new Output(terminal, options);
  }
}

/** Runs the command line `argv` (without program and script names); returns the exit code. */
export async function runCli(
  argv: readonly string[],
  terminal: Terminal = processTerminal(),
): Promise<ExitCode> {
  const session = new Session(terminal, globalOptions(argv));
  try {
    await createProgram(session).parseAsync(argv, { from: 'user' });
    return session.exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.ok;
    return reportFailure(error, session);
  }
}

/** Read before commander runs, because its own errors are reported under them too. */
function globalOptions(argv: readonly string[]): GlobalOptions {
  const end = argv.indexOf('--');
  const own = end < 0 ? argv : argv.slice(0, end);
  return {
    json: own.includes('--json'),
    color: !own.includes('--no-color'),
    debug: own.includes('--debug'),
  };
}

function reportFailure(error: unknown, { output }: Session): ExitCode {
  const failure = error instanceof CommanderError ? usageError(error) : asHewError(error);
  output.failure(failure.diagnostics, failure.exitCode);
  if (output.options.debug && error instanceof Error) output.log(error.stack ?? '');
  return failure.exitCode;
}

/** Commander writes `error: unknown option '--x'` and, on a line of its own, `(Did you mean --y?)`. */
function usageError({ message }: CommanderError): HewError {
  const [first = '', hint] = message.replace(/^error: /, '').split('\n');
  const help = hint?.replace(/^\(Did you mean (.*)\?\)$/, "did you mean '$1'?") ?? 'see hew --help';
  return new HewError([diagnostic('HEW8001', first, { help })]);
}

const examples = `
Examples:
  hew run examples/pangu-2m/model.hew --prompt "def main("
  hew compile examples/pangu-2m/model.hew -o out/pangu-2m
  hew help compile`;

function createProgram(session: Session): Command {
  const { stdout } = session.output.terminal;
  const program = new Command('hew')
    .description('A compiler for transformers and diffusion transformers.')
    .version(version, '-V, --version', 'print the version')
    .option('--json', 'print the result as JSON on stdout')
    .option('--no-color', 'no colours (nor with NO_COLOR set)')
    .option('--debug', 'show stack traces of errors')
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', examples)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      // Errors come back as exceptions; help that is shown because of one is not wanted.
      writeErr: () => {},
      outputError: () => {},
    });
  for (const define of commands) define(program, session);
  return program;
}
