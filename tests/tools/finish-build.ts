/**
 * What a build needs besides compiled sources: the .hew files beside the compiler, an executable
 * CLI, and `hew` among the local binaries, where `npx hew` finds it without installing anything.
 */
import { chmodSync, cpSync, existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const cli = join(root, 'dist/compiler/cli/main.js');
const specFolders = ['compiler/std', 'compiler/huggingface/specs'];
const binaries = join(root, 'node_modules/.bin');

for (const folder of specFolders) {
  const copy = join(root, 'dist', folder);
  rmSync(copy, { recursive: true, force: true });
  cpSync(join(root, folder), copy, {
    recursive: true,
    filter: (path) => !/\.[^/\\]+$/.test(path) || path.endsWith('.hew'),
  });
}
chmodSync(cli, 0o755);

// Links need a privilege on Windows, where `npx hew` takes npm's slower way through the package itself.
if (process.platform !== 'win32' && existsSync(binaries)) {
  mkdirSync(binaries, { recursive: true });
  rmSync(join(binaries, 'hew'), { force: true });
  symlinkSync(relative(binaries, cli), join(binaries, 'hew'));
}
