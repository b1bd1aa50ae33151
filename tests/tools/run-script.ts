/**
 * Lets Node run a TypeScript script of tests/ or examples/ after a build:
 * `node --import ./tests/tools/run-script.ts script.ts`. Node strips the types of the script itself. Its
 * imports are written with the `.js` ending: those of Hew's sources lead to the built files in dist (as
 * the package's own name does without any help), those of other scripts to the `.ts` file.
 */
import { existsSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

const root = new URL('../../', import.meta.url).href;
const SOURCE = /^(?:ir|passes|backends|compiler)\//;

function redirect(specifier: string, parent: string | undefined): string | undefined {
  if (!parent?.endsWith('.ts') || !/^\.{1,2}\/.*\.js$/.test(specifier)) return undefined;
  const { href } = new URL(specifier, parent);
  const path = href.startsWith(root) ? href.slice(root.length) : '';
  if (SOURCE.test(path)) return `${root}dist/${path}`;
  const script = href.replace(/\.js$/, '.ts');
  return existsSync(fileURLToPath(script)) ? script : undefined;
}

registerHooks({
  resolve: (specifier, context, nextResolve) =>
    nextResolve(redirect(specifier, context.parentURL) ?? specifier, context),
});
