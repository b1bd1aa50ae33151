/** `hew sample`: images from a diffusion model. */
import { type Command, Option } from 'commander';
import { sample, writeImages } from '../../api.js';
import { formatSeconds } from '../format.js';
import { addRunOptions, integer, integerList, number, type RunFlags } from '../options.js';
import type { Output } from '../output.js';
import type { Session } from '../program.js';
import { openRunnable } from '../source.js';

interface Flags extends RunFlags {
  readonly classes: number[];
  readonly output: string;
  readonly steps?: number;
  readonly guidance: number;
  readonly method: 'ddim' | 'ddpm';
  readonly seed: number;
  readonly columns?: number;
}

export function sampleCommand(program: Command, { output }: Session): void {
  const command = program
    .command('sample <model>')
    .description('draw images with a diffusion model; a spec is compiled into the cache first')
    .requiredOption('--classes <list>', 'class of each image, such as 1,2,5-8', integerList)
    .requiredOption('-o, --output <file>', 'PNG file to write')
    .option('--steps <n>', 'sampling steps (default: 50)', integer)
    .option('--guidance <x>', 'classifier-free guidance; 1 is none', number, 1)
    .addOption(new Option('--method <name>', 'how to sample').choices(['ddim', 'ddpm']).default('ddim'))
    .option('--seed <n>', 'seed of the noise', integer, 0)
    .option('--columns <n>', 'images per row (default: about square)', columns);
  addRunOptions(command)
    .addHelpText('after', example)
    .action((model: string, flags: Flags) => run(model, flags, output));
}

function columns(text: string): number {
  return Math.max(1, integer(text));
}

const example = `
Example:
  hew sample examples/dit-1m/model.hew --classes 10-35 --steps 50 --guidance 1.5 -o letters.png`;

async function run(path: string, flags: Flags, output: Output): Promise<void> {
  const model = await openRunnable(path, flags, output);
  const progress = output.progress();
  const started = performance.now();
  try {
    const { classes, guidance, method, seed, steps } = flags;
    const samples = await sample(model, {
      classes,
      guidance,
      method,
      seed,
      ...(steps === undefined ? {} : { steps }),
      onProgress: (done, total) => progress.update('sampling', done, total),
    });
    const image = await writeImages(
      flags.output,
      samples,
      flags.columns === undefined ? {} : { columns: flags.columns },
    );
    progress.end();
    const seconds = (performance.now() - started) / 1000;
    output.result(
      { ok: true, output: flags.output, shape: samples.shape, image, seconds },
      `${flags.output}: ${classes.length} images in ${formatSeconds(seconds)}\n`,
    );
  } finally {
    progress.end();
  }
}
