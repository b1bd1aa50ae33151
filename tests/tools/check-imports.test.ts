import { expect, test } from 'vitest';
import { checkSource } from './check-imports.js';

const messages = (file: string, text: string): string[] =>
  checkSource(file, text).map((violation) => `${violation.file}:${violation.line}: ${violation.message}`);

test.each([
  ['ir/op.ts', "import { x } from './type.js';\nimport { z } from 'zod';\nimport fs from 'node:fs';\n"],
  ['passes/rules/fold.ts', "import type { Op } from '../../ir/op.js';\n"],
  [
    'compiler/api.ts',
    "export { definePass } from '../passes/pass.js';\nexport * from '../backends/backend.js';\n",
  ],
  ['backends/wasm/runtime/load.ts', "import { run } from './run.js';\nconst fs = await import('node:fs');\n"],
  ['compiler/std.ts', "const text = `\n  import '../tests/x.js'\n`;\n// import { a } from '../tests/a.js'\n"],
])('%s may import this', (file, text) => {
  expect(messages(file, text)).toEqual([]);
});

test.each([
  [
    'ir/op.ts',
    "import a from 'a';\nimport type {\n  Pass,\n} from '../passes/pass.js';\n",
    "ir/op.ts:2: imports '../passes/pass.js': ir must not import passes (ir <- passes <- backends <- compiler)",
  ],
  [
    'passes/cse.ts',
    "export { emit } from '../backends/wasm/emit/gemm.js';\n",
    "passes/cse.ts:1: imports '../backends/wasm/emit/gemm.js': passes must not import backends (ir <- passes <- backends <- compiler)",
  ],
  [
    'backends/backend.ts',
    "\nconst { parse } = await import('../compiler/api.js');\n",
    "backends/backend.ts:2: imports '../compiler/api.js': backends must not import compiler (ir <- passes <- backends <- compiler)",
  ],
  [
    'compiler/api.ts',
    "import '../tests/tools/closing-line.js';\n",
    "compiler/api.ts:1: imports '../tests/tools/closing-line.js': sources must not import from tests/",
  ],
  [
    'compiler/api.ts',
    "import { load } from 'hew/loader';\n",
    "compiler/api.ts:1: imports 'hew/loader': sources must not import the package by its own name",
  ],
])('%s must not import this', (file, text, message) => {
  expect(messages(file, text)).toEqual([message]);
});

test.each([
  "import type { Type } from '../../../ir/type.js';",
  "import { emit } from '../emit/gemm.js';",
  "import { readFile } from 'node:fs/promises';",
  "import { Tokenizer } from '@huggingface/tokenizers';",
])('the runtime stays self-contained: %s', (text) => {
  expect(messages('backends/wasm/runtime/load.ts', text)).toEqual([
    expect.stringMatching(/must not import anything outside its own folder$/),
  ]);
});

test('a source file has at most 600 lines', () => {
  expect(messages('ir/op.ts', 'x;\n'.repeat(600))).toEqual([]);
  expect(messages('ir/op.ts', 'x;\n'.repeat(601))).toEqual(['ir/op.ts:601: has 601 lines: the limit is 600']);
});
