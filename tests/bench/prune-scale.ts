/**
 * Peak memory and time of pruning and refitting a model whose checkpoint is 4 GB: `npm run bench:prune-scale`. Needs
 * 9 GB of disk below out/; arguments name other sizes (see tests/long/prune-scale.ts).
 */
import { rmSync } from 'node:fs';
import { cpus } from 'node:os';
import { type PruneScale, pruneMeasured, prunePipeline, pruneScales } from '../long/prune-scale.js';
import { printTable } from './measure.js';

const sizes: Readonly<Record<string, PruneScale>> = pruneScales;
const wanted = process.argv.length > 2 ? process.argv.slice(2) : ['4 GB'];
const rows: string[][] = [];
for (const name of wanted) {
  const size = sizes[name];
  if (size === undefined)
    throw new Error(`there is no size '${name}'; sizes: ${Object.keys(sizes).join(', ')}`);
  const folder = 'out/prune-scale';
  rmSync(folder, { recursive: true, force: true });
  const { checkpointBytes, maxRssMiB, seconds, cpuSeconds, report } = await pruneMeasured(folder, size);
  rmSync(folder, { recursive: true, force: true });
  const figures = [checkpointBytes / 1e9, report.after.bytes / 1e9].map((n) => n.toFixed(2));
  rows.push([name, ...figures, ...[maxRssMiB, seconds, cpuSeconds].map((n) => n.toFixed(0))]);
}
printTable(
  `${prunePipeline} of 94 layers on 2 windows of 64 tokens, ${cpus().length} cores`,
  ['checkpoint', 'GB before', 'GB after', 'peak MiB', 's', 's of CPU'],
  rows,
);
