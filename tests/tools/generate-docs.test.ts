import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { generatedPages } from './generate-docs.js';

test.each([...generatedPages()])('docs/%s is up to date (npm run docs)', (name, text) => {
  expect(readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8')).toBe(text);
});
