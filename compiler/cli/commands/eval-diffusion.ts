/** `hew eval-diffusion`: how far a changed diffusion model is from the one it was made of. */
import type { Command } from 'commander';
import {
  type ActivationRanges,
  activationRanges,
  type DiffusionEvaluation,
  diagnostic,
  diffusionPage,
  evaluateDiffusion,
  exitCodes,
  fail,
  figureRows,
  openModel,
  readGaussian,
  writeFileAtomically,
} from '../../api.js';
import { renderTable } from '../format.js';
import { addRunOptions, integer, limit, modelOptions, number, type RunFlags } from '../options.js';
import type { Session } from '../program.js';
import { openRunnable, resolveSource } from '../source.js';

interface Flags extends RunFlags {
  readonly reference: string;
  readonly features?: string;
  readonly real?: string;
  readonly n: number;
  readonly steps: number;
  readonly guidance: number;
  readonly seed: number;
  readonly trajectories: number;
  readonly report?: string;
  readonly limit?: Readonly<Record<string, number>>;
}

export function evalDiffusionCommand(program: Command, session: Session): void {
  const command = program
    .command('eval-diffusion <model>')
    .description('compare a diffusion model with the one it was made of, on the same noise')
    .requiredOption('--reference <model>', 'the model to compare with: a spec or a bundle')
    .option(
      '--features <model>',
      "classifier with outputs 'features' and 'logits', for distances and accuracy",
    )
    .option('--real <file>', 'safetensors with real_mu and real_cov of the features of real data')
    .option('--n <n>', 'samples to draw with each, as many of every class; 0 for none', integer, 72)
    .option('--trajectories <n>', 'samples whose predicted noise is compared', integer, 12)
    .option('--steps <n>', 'DDIM steps', integer, 50)
    .option('--guidance <x>', 'classifier-free guidance; 1 is none', number, 1)
    .option('--seed <n>', 'seed of the noise', integer, 0)
    .option('--report <file.html>', 'page with plots and images; the figures go beside it as .json')
    .option('--limit <name=value>', 'eps_error=most, psnr=least: exceeding it ends with exit code 3', limit);
  addRunOptions(command)
    .addHelpText('after', example)
    .action((model: string, flags: Flags) => run(model, flags, session));
}

const example = `
Example:
  hew eval-diffusion out/dit-1m-w8a8/bundle --reference examples/dit-1m/model.hew --n 72 --report out/dit.html`;

async function run(path: string, flags: Flags, session: Session): Promise<void> {
  const { output } = session;
  if (flags.n < 0 || flags.trajectories < 1 || flags.steps < 1)
    fail('HEW8001', '--n, --trajectories and --steps count samples and steps');
  if (flags.report !== undefined && !flags.report.endsWith('.html'))
    fail('HEW8001', `--report ${flags.report} does not end in .html`);
  const model = await openRunnable(path, flags, output);
  const reference = await openRunnable(flags.reference, { device: flags.device }, output);
  const features =
    flags.features === undefined
      ? undefined
      : await openRunnable(flags.features, { device: flags.device }, output);
  const real = flags.real === undefined ? undefined : readGaussian(flags.real);
  const progress = output.progress();
  try {
    const { n, steps, guidance, seed, trajectories } = flags;
    const found = await evaluateDiffusion(model, reference, {
      n,
      steps,
      guidance,
      seed,
      trajectories,
      features,
      real,
      onProgress: (stage, done, total) => progress.update(stage, done, total),
    });
    if (flags.report !== undefined) await writeReport(path, flags.report, flags, found);
    progress.end();
    const failed = checkLimits(found, flags.limit ?? {});
    output.result(
      { ok: failed.length === 0, model: path, reference: flags.reference, ...found.report },
      renderTable([{ title: '' }, { title: '', align: 'right' }], figureRows(found.report)),
    );
    output.diagnostics(failed);
    if (failed.length > 0) session.exitCode = exitCodes.gateFailed;
  } finally {
    progress.end();
  }
}

async function writeReport(
  model: string,
  page: string,
  flags: Flags,
  found: DiffusionEvaluation,
): Promise<void> {
  const title = `${model} against ${flags.reference}`;
  const ranges = await rangesOf(flags);
  await writeFileAtomically(page, Buffer.from(diffusionPage({ title, ...found, ranges })));
  const json = { model, reference: flags.reference, ...found.report };
  const text = `${JSON.stringify(json, undefined, 1)}\n`;
  await writeFileAtomically(page.replace(/\.html$/, '.json'), Buffer.from(text));
}

/** Ranges of the reference where it is a spec: a bundle has no graph to observe. */
async function rangesOf({ reference, steps }: Flags): Promise<ActivationRanges | undefined> {
  const source = resolveSource(reference);
  if (source.kind === 'bundle') return undefined;
  const opened = openModel(modelOptions(source.path, {}));
  try {
    return await activationRanges(opened.module, opened.source, { samples: 2, steps });
  } finally {
    opened.close();
  }
}

function checkLimits({ report }: DiffusionEvaluation, limits: Readonly<Record<string, number>>) {
  return Object.entries(limits).flatMap(([name, bound]) => {
    if (name === 'eps_error')
      return report.epsError <= bound ? [] : [gate(`eps_error is ${report.epsError}, above ${bound}`)];
    if (name === 'psnr')
      return (report.psnr ?? 0) >= bound
        ? []
        : [gate(`psnr is ${report.psnr ?? 'not measured'}, below ${bound}`)];
    return fail('HEW8001', `there is no limit '${name}'`, { help: 'limits: eps_error, psnr' });
  });
}

const gate = (message: string) => diagnostic('HEW8002', message);
