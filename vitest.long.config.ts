import { defineConfig } from 'vitest/config';
import base from './vitest.config.js';

/** The long tests: the same set-up as `npm test`, other files, minutes instead of seconds per test. */
export default defineConfig({
  ...base,
  test: {
    ...base.test,
    include: ['tests/long/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**'],
    testTimeout: 600_000,
    hookTimeout: 600_000,
  },
});
