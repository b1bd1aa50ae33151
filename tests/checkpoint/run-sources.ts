/** Preload for child processes of tests: runs the TypeScript sources as they are, without a build. */
import { existsSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

registerHooks({
  resolve(specifier, context, nextResolve) {
    if (!/^\.{1,2}\/.*\.js$/.test(specifier)) return nextResolve(specifier, context);
    const source = new URL(specifier.replace(/\.js$/, '.ts'), context.parentURL);
    return nextResolve(existsSync(fileURLToPath(source)) ? source.href : specifier, context);
  },
});
