/** Any thrown value as diagnostics, so that everything that reaches a user has a code. */
import { LoadError } from '../backends/wasm/runtime/errors.js';
import { type Diagnostic, diagnostic, HewError } from '../ir/diagnostics.js';

/** What a caller of the API may catch, as a HewError: a LoadError keeps its code, anything unknown is HEW9001. */
export function asHewError(error: unknown): HewError {
  return error instanceof HewError ? error : new HewError([diagnosticOf(error)]);
}

function diagnosticOf(error: unknown): Diagnostic {
  if (error instanceof LoadError) return diagnostic(error.code, error.message, { help: error.help });
  if (isFileError(error)) return diagnostic('HEW3001', error.message);
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return diagnostic('HEW9001', message, {
    notes: ['this is a mistake in Hew, not in your input'],
    help: 'run again with --debug for the stack trace, and report it',
  });
}

const fileErrors = new Set([
  'ENOENT',
  'EACCES',
  'EPERM',
  'EISDIR',
  'ENOTDIR',
  'ELOOP',
  'ENAMETOOLONG',
  'EMFILE',
]);

function isFileError(error: unknown): error is NodeJS.ErrnoException {
  return (
    error instanceof Error && 'syscall' in error && 'code' in error && fileErrors.has(String(error.code))
  );
}
