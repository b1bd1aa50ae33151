/**
 * A pass of one's own: every tanh-GELU becomes the cheaper quick GELU, x * sigmoid(1.702 x). It is run on dit-1m, and
 * the model is compiled with and without it to see what it costs in quality. From the root of the repository:
 *
 *     npm run build && npx node --import ./tests/tools/run-script.ts examples/custom-pass/quick-gelu.ts
 */
import { fileURLToPath } from 'node:url';
import {
  compileCached,
  definePass,
  evaluateGolden,
  load,
  mapFunctions,
  rewriteFunc,
  standardPipeline,
  Tally,
} from 'hew';

export const quickGelu = definePass({
  name: 'quick-gelu',
  summary: 'Replaces gelu_tanh by quick_gelu.',
  kind: 'approximate',
  run(module) {
    const tally = new Tally();
    const result = mapFunctions(module, (func, scope) =>
      rewriteFunc(func, scope, (op, operands, builder) => {
        if (op.name !== 'gelu_tanh') return undefined;
        tally.add('replaced');
        return [builder.one('quick_gelu', operands)];
      }),
    );
    return { module: result, report: tally.report() };
  },
});

/** Largest error of the noise that dit-1m predicts, when compiled with `extra` passes before the standard ones. */
export async function noiseError(directory: string, extra: readonly (typeof quickGelu)[]): Promise<number> {
  const example = (file: string): string => fileURLToPath(new URL(`../dit-1m/${file}`, import.meta.url));
  const pipeline = [...extra.map((pass) => pass.name), standardPipeline].join(',');
  const { output } = await compileCached({ spec: example('model.hew'), pipeline, passes: extra }, directory);
  const { checks } = await evaluateGolden(await load(output), example('golden.safetensors'), {
    only: ['eps'],
  });
  return checks[0]?.value ?? Number.NaN;
}

if (import.meta.main) {
  const directory = process.argv[2] ?? 'out/custom-pass';
  console.log(`exact:      ${(await noiseError(directory, [])).toExponential(2)}`);
  console.log(`quick GELU: ${(await noiseError(directory, [quickGelu])).toExponential(2)}`);
}
