/** docs/import.md names what the code knows; specs of the families that stand in the repository are those of hew import. */
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openModel } from '../../compiler/compile.js';
import { ggufArchitectures } from '../../compiler/gguf/architectures.js';
import { readableTypes, writableTypes } from '../../compiler/gguf/blocks.js';
import { architectures } from '../../compiler/huggingface/architectures.js';
import { ropeKinds } from '../../compiler/huggingface/rope.js';
import { functionsOf } from '../../compiler/write-model.js';
import { hew, scratchDirectory } from '../cli/run-cli.js';

const page = readFileSync('docs/import.md', 'utf8');

test('docs/import.md lists every architecture, and what it is', () => {
  const rows = architectures.map(
    ({ names, doc }) => `| ${names.map((name) => `\`${name}\``).join(', ')} | ${doc} |`,
  );
  expect(rows.filter((row) => !page.includes(row))).toEqual([]);
  expect(page.match(/^\| `\w+(LMHeadModel|ForCausalLM|DiT)?`/gm)?.length).toBe(architectures.length);
});

test('docs/import.md lists kinds of rotary positions, and types of GGUF', () => {
  const names = [...Object.keys(ropeKinds), ...ggufArchitectures.map(({ name }) => name)];
  expect(names.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
  expect([...readableTypes, ...writableTypes].filter((type) => !page.includes(type))).toEqual([]);
});

const scratch = scratchDirectory();

const families = [
  { name: 'pangu-2m', from: 'examples/pangu-2m' },
  { name: 'dit-1m', from: 'examples/dit-1m' },
  { name: 'pangu-12m', from: '../shared/models/pangu-12m' },
  { name: 'moge-8m', from: '../shared/models/moge-8m' },
  { name: 'dit-10m', from: '../shared/models/dit-10m' },
];

test.each(families)('$name is imported as the spec of its family', async ({ name, from }) => {
  if (!existsSync(join(from, 'model.safetensors'))) {
    console.log(`skipped: there is no ${from}`);
    return;
  }
  const directory = join(scratch, name);
  mkdirSync(directory);
  for (const file of ['config.json', 'model.safetensors'])
    copyFileSync(join(from, file), join(directory, file));
  const { code, stderr } = await hew(['import', directory]);
  expect([code, stderr]).toEqual([0, '']);
  const options = { spec: join(directory, 'model.hew') };
  const isText = !name.startsWith('dit');
  const [found, wanted] = [
    openModel({ ...options, ...(isText && { set: { context_length: '2048' } }) }),
    openModel({ spec: `examples/${name}/model.hew` }),
  ];
  found.close();
  wanted.close();
  expect(functionsOf(found.module)).toBe(functionsOf(wanted.module));
});
