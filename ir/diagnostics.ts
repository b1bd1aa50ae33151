/**
 * Diagnostics are data: a code, a severity, labelled source spans, notes and a remedy.
 * Every code is declared in `diagnosticCodes`; docs/errors.md is generated from that table.
 * Rendering (source line, caret, colour) is the business of compiler/render.ts.
 */

/** A half-open range of character offsets in a source file. */
export interface Span {
  readonly file: string;
  readonly start: number;
  readonly end: number;
}

export interface Label {
  readonly span: Span;
  readonly text?: string;
}

export interface Diagnostic {
  readonly code: DiagnosticCode;
  readonly severity: 'error' | 'warning';
  readonly message: string;
  readonly labels: readonly Label[];
  readonly notes: readonly string[];
  /** What the user can do about it. */
  readonly help?: string;
}

/** Exit codes of the command line, one meaning each. */
export const exitCodes = {
  ok: 0,
  badInput: 1,
  usage: 2,
  gateFailed: 3,
  unsupported: 4,
  internal: 70,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

interface CodeInfo {
  readonly title: string;
  readonly exit?: ExitCode;
}

/**
 * HEW1xxx syntax · 2xxx names, types and shapes in specs · 3xxx configuration and files · 4xxx checkpoints ·
 * 5xxx IR text and verifier · 6xxx passes and backends · 7xxx bundles and running · 8xxx command line and gates.
 */
export const diagnosticCodes = {
  HEW1001: { title: 'unexpected character' },
  HEW1002: { title: 'syntax error' },
  HEW1003: { title: 'unterminated string' },
  HEW1004: { title: 'the file is nested too deeply' },
  HEW2001: { title: 'unknown name' },
  HEW2002: { title: 'name defined twice' },
  HEW2003: { title: 'wrong number or kind of arguments' },
  HEW2004: { title: 'shapes do not agree' },
  HEW2005: { title: 'data types do not agree' },
  HEW2006: { title: 'not a compile-time constant' },
  HEW2007: { title: 'bad dimension' },
  HEW2008: { title: 'bad return or output list' },
  HEW2009: { title: 'bad state update' },
  HEW2010: { title: 'one weight requested with two types' },
  HEW2011: { title: 'a requirement of the model does not hold' },
  HEW2012: { title: 'bad rearrangement' },
  HEW2013: { title: 'recursive definition' },
  HEW2014: { title: 'bad loop' },
  HEW2015: { title: 'bad operation attribute' },
  HEW3001: { title: 'file not found or not readable' },
  HEW3002: { title: 'configuration value missing' },
  HEW3003: { title: 'configuration value of the wrong kind' },
  HEW3004: { title: 'configuration file is not valid JSON' },
  HEW3005: { title: 'a file refers to a path that is not allowed' },
  HEW3006: { title: 'file too large' },
  HEW3007: { title: 'import cycle' },
  HEW3008: { title: 'unknown configuration key' },
  HEW4001: { title: 'not a valid safetensors file' },
  HEW4002: { title: 'tensor missing from the checkpoint' },
  HEW4003: { title: 'tensor has the wrong shape or type' },
  HEW4004: { title: 'tensor in the checkpoint is not used' },
  HEW4005: { title: 'checkpoint index is not valid' },
  HEW4006: { title: 'weights are not given' },
  HEW4007: { title: 'weights contain values that cannot be stored' },
  HEW5001: { title: 'IR text cannot be parsed' },
  HEW5002: { title: 'IR invariant broken' },
  HEW5003: { title: 'value cannot be computed by the interpreter' },
  HEW6001: { title: 'unknown pass' },
  HEW6002: { title: 'bad pipeline or pass option' },
  HEW6003: { title: 'operation not supported by the target', exit: exitCodes.unsupported },
  HEW6004: { title: 'model does not fit the memory of the target', exit: exitCodes.unsupported },
  HEW6005: { title: 'unknown target', exit: exitCodes.unsupported },
  HEW7001: { title: 'not a Hew bundle' },
  HEW7002: { title: 'bundle version not supported', exit: exitCodes.unsupported },
  HEW7003: { title: 'bundle file damaged' },
  HEW7004: { title: 'unknown entry point, input, output or state' },
  HEW7005: { title: 'input has the wrong type or shape' },
  HEW7006: { title: 'the context is full' },
  HEW7007: { title: 'index out of range' },
  HEW7008: { title: 'the bundle lacks what this command needs' },
  HEW7009: { title: 'this engine lacks a WebAssembly feature', exit: exitCodes.unsupported },
  HEW7010: { title: 'tokenizer is not valid' },
  HEW7011: { title: 'sampler setting is not valid' },
  HEW8001: { title: 'bad command-line usage', exit: exitCodes.usage },
  HEW8002: { title: 'a gate failed', exit: exitCodes.gateFailed },
  HEW8003: { title: 'output cannot be written' },
  HEW9001: { title: 'internal error', exit: exitCodes.internal },
} as const satisfies Record<string, CodeInfo>;

export type DiagnosticCode = keyof typeof diagnosticCodes;

interface DiagnosticParts {
  readonly severity?: 'error' | 'warning';
  readonly span?: Span | undefined;
  readonly label?: string;
  readonly labels?: readonly Label[];
  readonly notes?: readonly string[];
  readonly help?: string | undefined;
}

export function diagnostic(code: DiagnosticCode, message: string, parts: DiagnosticParts = {}): Diagnostic {
  const primary: Label[] = parts.span
    ? [parts.label === undefined ? { span: parts.span } : { span: parts.span, text: parts.label }]
    : [];
  return {
    code,
    severity: parts.severity ?? 'error',
    message,
    labels: [...primary, ...(parts.labels ?? [])],
    notes: parts.notes ?? [],
    ...(parts.help === undefined ? {} : { help: parts.help }),
  };
}

/** The one error type that reaches users; it carries one or more diagnostics. */
export class HewError extends Error {
  readonly diagnostics: readonly Diagnostic[];

  constructor(diagnostics: readonly Diagnostic[]) {
    super(diagnostics.map((d) => `${d.code}: ${d.message}`).join('\n'));
    this.name = 'HewError';
    this.diagnostics = diagnostics;
  }

  get exitCode(): ExitCode {
    const first = this.diagnostics.find((d) => d.severity === 'error') ?? this.diagnostics[0];
    const info: CodeInfo = diagnosticCodes[first?.code ?? 'HEW9001'];
    return info.exit ?? exitCodes.badInput;
  }
}

/** Throws a HewError with one diagnostic. */
export function fail(code: DiagnosticCode, message: string, parts: DiagnosticParts = {}): never {
  throw new HewError([diagnostic(code, message, parts)]);
}

/** The candidate closest to `name` by edit distance, for "did you mean" hints; undefined when none is near. */
export function nearest(name: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - name.length) >= bestDistance) continue;
    const distance = editDistance(name, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitution, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}

/** `; did you mean 'x'?` or undefined, ready for a help field. */
export function didYouMean(name: string, candidates: Iterable<string>): string | undefined {
  const near = nearest(name, candidates);
  return near === undefined ? undefined : `did you mean '${near}'?`;
}
