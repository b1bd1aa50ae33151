/**
 * What commands print. Results go to stdout, as text or with --json as one JSON document; everything said about the
 * work (logs, progress, diagnostics) goes to stderr.
 */
import type { Diagnostic } from '../../ir/diagnostics.js';
import { nodeFiles } from '../frontend/files.js';
import { describeSpan, renderDiagnostics, type SourceLookup } from '../render.js';
import { Progress } from './progress.js';
import type { Terminal } from './terminal.js';

export interface GlobalOptions {
  readonly json: boolean;
  readonly color: boolean;
  readonly debug: boolean;
}

export class Output {
  /** Set once a result was printed: a JSON document must be the only one. */
  private hasResult = false;

  constructor(
    readonly terminal: Terminal,
    readonly options: GlobalOptions,
  ) {}

  /** The result of a command: `value` for machines, or `text` for people. */
  result(value: unknown, text: string): void {
    this.hasResult = true;
    this.terminal.stdout.write(this.options.json ? `${JSON.stringify(value, undefined, 2)}\n` : text);
  }

  /** A part of a result that is text only, as soon as it is known. Nothing with --json. */
  stream(text: string): void {
    if (!this.options.json) this.terminal.stdout.write(text);
  }

  /** One line about the work. */
  log(line: string): void {
    this.terminal.stderr.write(`${line}\n`);
  }

  diagnostics(found: readonly Diagnostic[]): void {
    if (found.length === 0) return;
    this.terminal.stderr.write(renderDiagnostics(found, sourceText, { color: this.usesColor }));
  }

  /** The end of a command that failed; with --json also as its result. */
  failure(found: readonly Diagnostic[], exitCode: number): void {
    this.diagnostics(found);
    if (!this.options.json || this.hasResult) return;
    const value = { ok: false, exitCode, diagnostics: found.map(jsonDiagnostic) };
    this.result(value, '');
  }

  progress(): Progress {
    return new Progress(this.terminal.stderr);
  }

  private get usesColor(): boolean {
    const { stderr, env } = this.terminal;
    return this.options.color && stderr.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb';
  }
}

/** The text of a file that a span names; undefined when it cannot be read again. */
const sourceText: SourceLookup = (file) => {
  try {
    return nodeFiles.read(file);
  } catch {
    return undefined;
  }
};

/** A diagnostic for machines: places are given as `file:line:column` too. */
export function jsonDiagnostic(found: Diagnostic): unknown {
  return {
    ...found,
    labels: found.labels.map((label) => ({ ...label, at: describeSpan(label.span, sourceText) })),
  };
}
