import { HewError } from '../../ir/diagnostics.js';

/** The code of the diagnostic that `work` fails with; other errors are thrown on. */
export async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof HewError) return error.diagnostics[0]?.code ?? 'no code';
    throw error;
  }
  return 'no error';
}
