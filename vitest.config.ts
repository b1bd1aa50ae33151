import { fileURLToPath } from 'node:url';
import { configDefaults, defineConfig } from 'vitest/config';
import { ClosingLine } from './tests/tools/closing-line.js';

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    // Tests and examples import the public entry points as users do, but run against the sources.
    alias: [
      { find: /^hew$/, replacement: source('./compiler/api.ts') },
      { find: /^hew\/loader$/, replacement: source('./backends/wasm/runtime/load.ts') },
    ],
  },
  test: {
    environment: 'node',
    include: ['tests/**/*.test.ts'],
    exclude: [...configDefaults.exclude, 'tests/long/**', 'tests/bench/**'],
    maxWorkers: 2,
    // A busy machine is not a failure: tests that hang are what this limit is for.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    reporters: ['default', new ClosingLine()],
  },
});
