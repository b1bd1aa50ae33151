/**
 * Time and peak memory of quantizing a model of DiT-XL/2's shape (675 million weights, made up):
 * `npm run bench:quantize-scale`. Needs 3 GB of disk below out/.
 */
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import type { QuantizeReport } from '../../compiler/quantize.js';
import { runMeasured } from '../long/measured.js';
import { writeSyntheticDit } from '../long/synthetic-checkpoint.js';
import { printTable } from './measure.js';

const sizes = {
  hidden_size: 1152,
  depth: 28,
  num_heads: 16,
  patch_size: 2,
  input_size: 32,
  in_channels: 4,
  num_classes: 1000,
};
const folder = 'out/quantize-scale';
const path = (name: string): string => `${folder}/${name}`;
const pipeline = 'htg{groups=2,scale=max},quantize{activations=step,groups=2}';

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
writeFileSync(path('config.json'), JSON.stringify(sizes));
await writeSyntheticDit(path('model.safetensors'), sizes);
const checkpoint = statSync(path('model.safetensors')).size;
const { stdout, seconds, cpuSeconds, maxRssMiB } = runMeasured([
  'quantize',
  'examples/dit/dit.hew',
  '--config',
  path('config.json'),
  '--weights',
  path('model.safetensors'),
  '--calib',
  'sample:2,steps=2',
  '--pipeline',
  pipeline,
  '--json',
  '-o',
  path('quantized'),
]);
const report = JSON.parse(stdout) as QuantizeReport;
rmSync(folder, { recursive: true, force: true });
const passes = report.passes.map(
  ({ pass, milliseconds }) => [`  of these ${pass}`, milliseconds / 1000] as const,
);
const stages = Object.entries(report.seconds).flatMap(([stage, took]) =>
  stage === 'passes' ? [[stage, took] as const, ...passes] : [[stage, took] as const],
);
printTable(
  `${pipeline} of DiT-XL/2's shape, 2 noises of 2 steps, ${cpus().length} cores`,
  ['', ''],
  [
    ...stages.map(([stage, took]) => [stage, `${took.toFixed(0)} s`]),
    ['in all', `${seconds.toFixed(0)} s`],
    ['of CPU', `${cpuSeconds.toFixed(0)} s`],
    ['peak memory', `${maxRssMiB.toFixed(0)} MiB`],
    ['checkpoint', `${(checkpoint / 2 ** 20).toFixed(0)} MiB`],
    ['weights of the bundle', `${(report.bytes.after / 2 ** 20).toFixed(0)} MiB`],
    ['relative error of the output', report.relativeError?.toPrecision(3) ?? ''],
  ],
);
