/**
 * The one error type of the loader. It is a plain Error with a code of the range HEW7xxx and a remedy, so
 * that a browser needs nothing of the compiler; the compiler turns it into a diagnostic of the same code.
 */

export type LoadErrorCode =
  /** Not a Hew bundle. */
  | 'HEW7001'
  /** Bundle version or target not supported. */
  | 'HEW7002'
  /** A file of the bundle is damaged. */
  | 'HEW7003'
  /** Unknown entry point, input, output or state. */
  | 'HEW7004'
  /** An input has the wrong type or shape. */
  | 'HEW7005'
  /** The context is full. */
  | 'HEW7006'
  /** An index is out of range. */
  | 'HEW7007'
  /** The bundle lacks what was asked for. */
  | 'HEW7008'
  /** The engine lacks a feature. */
  | 'HEW7009'
  /** The tokenizer is not valid. */
  | 'HEW7010'
  /** A sampler setting is not valid. */
  | 'HEW7011';

export interface LoadErrorOptions {
  readonly help?: string;
  readonly cause?: unknown;
}

export class LoadError extends Error {
  readonly code: LoadErrorCode;
  /** What the user can do about it. */
  readonly help: string | undefined;

  constructor(code: LoadErrorCode, message: string, options: LoadErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'LoadError';
    this.code = code;
    this.help = options.help;
  }
}

/** Throws a LoadError. */
export function refuse(code: LoadErrorCode, message: string, help?: string): never {
  throw new LoadError(code, message, help === undefined ? {} : { help });
}

/** Text of an unknown thrown value, for messages. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** `a, b and c`, quoted; for messages that list what exists. */
export function listNames(names: Iterable<string>): string {
  const quoted = [...names].map((name) => `'${name}'`);
  if (quoted.length === 0) return 'none';
  return quoted.length === 1
    ? (quoted[0] ?? '')
    : `${quoted.slice(0, -1).join(', ')} and ${quoted[quoted.length - 1]}`;
}
