/** Which files a spec may refer to, and how reading them fails. */
import { mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { nodeFiles, resolveReference } from '../../compiler/frontend/files.js';
import { HewError } from '../../ir/diagnostics.js';

const span = { file: 'models/a/model.hew', start: 0, end: 1 };
const folder = mkdtempSync(join(tmpdir(), 'hew-files-'));
afterAll(() => rmSync(folder, { recursive: true }));

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (error instanceof HewError) return error.diagnostics[0]?.code;
    throw error;
  }
}

describe('resolveReference', () => {
  it('resolves against the file that refers', () => {
    expect(resolveReference('models/a/model.hew', '../b/b.hew', 'extend', span)).toBe('models/b/b.hew');
    expect(resolveReference('model.hew', 'model.safetensors', 'weights', span)).toBe('model.safetensors');
    expect(resolveReference('/abs/model.hew', 'config.json', 'config-file', span)).toBe('/abs/config.json');
    expect(resolveReference('model.hew', 'hew:blocks', 'import', span)).toBe('hew:blocks');
  });

  it.each([
    ['/etc/passwd.hew', 'import'],
    ['C:/x.hew', 'import'],
    ['file:///x.hew', 'import'],
    ['hew:../../secret', 'import'],
    ['hew:blocks', 'extend'],
    ['a\\b.hew', 'import'],
    ['a\u0000.hew', 'import'],
    ['', 'import'],
    ['folder/', 'weights'],
    ['config.yaml', 'config-file'],
    ['model.bin', 'weights'],
    ['tokenizer.txt', 'tokenizer'],
  ] as const)('refuses %j as %s', (path, kind) => {
    expect(resolveReference('model.hew', path, kind, span)).toMatchObject({ code: 'HEW3005' });
  });

  it('lets the standard library refer to nothing but itself', () => {
    expect(resolveReference('hew:blocks', './x.hew', 'import', span)).toMatchObject({ code: 'HEW3005' });
  });
});

describe('nodeFiles', () => {
  it('reads specs and the standard library', () => {
    writeFileSync(join(folder, 'a.hew'), 'let a = 1');
    expect(nodeFiles.read(join(folder, 'a.hew'))).toBe('let a = 1');
    expect(nodeFiles.read('hew:blocks')).toContain('module RMSNorm');
  });

  it('reports what cannot be read', () => {
    expect(codeOf(() => nodeFiles.read(join(folder, 'missing.hew')))).toBe('HEW3001');
    expect(codeOf(() => nodeFiles.read(folder))).toBe('HEW3001');
    symlinkSync(join(folder, 'nowhere'), join(folder, 'dangling.hew'));
    expect(codeOf(() => nodeFiles.read(join(folder, 'dangling.hew')))).toBe('HEW3001');
    writeFileSync(join(folder, 'bytes.hew'), Buffer.from([0x6c, 0xff, 0xfe]));
    expect(codeOf(() => nodeFiles.read(join(folder, 'bytes.hew')))).toBe('HEW3001');
    writeFileSync(join(folder, 'large.hew'), '');
    truncateSync(join(folder, 'large.hew'), 5 * 1024 * 1024);
    expect(codeOf(() => nodeFiles.read(join(folder, 'large.hew')))).toBe('HEW3006');
  });
});
