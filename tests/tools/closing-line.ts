/**
 * A Vitest reporter that closes the run with one line of counts: `12 passed, 0 failed` or
 * `12 passed, 0 failed, 3 skipped`. It is the very last line of the output, whatever other reporters print.
 */
import type { Reporter, TestModule } from 'vitest/node';

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export function closingLine({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/**
 * Counts tests. An error outside of any test (a file that does not load, a failing hook, an unhandled
 * rejection) counts as one failure, so that `0 failed` is never printed for a run that fails.
 */
export function countTests(modules: readonly TestModule[], unhandledErrors: number): Counts {
  const counts = { passed: 0, failed: unhandledErrors, skipped: 0 };
  for (const module of modules) {
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === 'pending') continue;
      counts[state] += 1;
    }
    counts.failed += module.errors().length;
    for (const suite of module.children.allSuites()) counts.failed += suite.errors().length;
  }
  return counts;
}

export class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const line = closingLine(countTests(modules, unhandledErrors.length));
    process.once('exit', () => process.stdout.write(`${line}\n`));
  }
}
