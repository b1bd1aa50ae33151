/** npm run bench: speed of compiled code on this machine, beside plain JavaScript and the machine's own peaks. */
import { existsSync } from 'node:fs';
import { cpus } from 'node:os';
import { benchGemm } from './gemm.js';
import { benchModel } from './model.js';
import { probePeaks } from './probe.js';

const shared = '../shared/models/pangu-12m';

console.log(`${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.version}`);
const peaks = probePeaks();
console.log(
  `peak of one thread: ${peaks.simd.toFixed(1)} GFLOP/s f32x4 multiply and add, ` +
    `${peaks.relaxed.toFixed(1)} fused, ${peaks.bandwidth.toFixed(1)} GB/s read`,
);
benchGemm(peaks);
if (existsSync(`${shared}/model.safetensors`)) {
  const model = {
    spec: 'examples/pangu/pangu.hew',
    config: `${shared}/config.json`,
    weights: `${shared}/model.safetensors`,
  };
  await benchModel({ name: 'pangu-12m', model, tokens: 512 }, peaks);
} else {
  console.log(`\n${shared} is absent: measuring examples/pangu-2m instead`);
  await benchModel({ name: 'pangu-2m', model: { spec: 'examples/pangu-2m/model.hew' }, tokens: 512 }, peaks);
}
