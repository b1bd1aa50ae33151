/** Measures the kernels of models of models.ts on GPU 0, as hew tune does: `tune.ts FILE NAME.. [--KIND..] [SYMBOL=VALUE..]`. */
import { cacheDirectory } from '../../../compiler/cache.js';
import { openGpu } from '../../../compiler/native/tuning-device.js';
import { tunedTimes } from '../../../compiler/tuning/measure.js';
import { tuneModule } from '../../../compiler/tuning/tune.js';
import { models } from './models.js';

const [output = 'out/tuning.json', ...rest] = process.argv.slice(2);
const kinds = rest.filter((arg) => arg.startsWith('--')).map((arg) => arg.slice(2));
const symbols = rest.flatMap((arg) => (arg.includes('=') ? [arg.split('=') as [string, string]] : []));
const gpu = await openGpu({ cache: cacheDirectory(process.env) });
for (const name of rest.filter((arg) => !arg.startsWith('--') && !arg.includes('='))) {
  const make = models[name];
  if (make === undefined) throw new Error(`no model ${name}; there are ${Object.keys(models).join(', ')}`);
  const options = {
    output,
    kinds: kinds.length === 0 ? undefined : kinds,
    symbols: Object.fromEntries(symbols.map(([symbol, value]) => [symbol, [Number(value)]])),
    // As bench.py: one token after 1024.
    position: 1024,
  };
  const { entries, failed, seconds } = await tuneModule(make(), options, gpu);
  for (const entry of entries) {
    const { standard, chosen } = tunedTimes(entry);
    const [shape, choice] = [entry.shape, entry.choice].map((record) => JSON.stringify(record));
    const ratio = (standard / chosen).toFixed(3);
    const whole = entry.whole === undefined ? '' : `, model ${entry.whole.toFixed(3)}`;
    console.log(`${name} ${entry.kind} ${standard} us, ${chosen} us, ${ratio}${whole}: ${shape} ${choice}`);
  }
  for (const { key, reason } of failed) console.log(`${name} not measured: ${key}: ${reason}`);
  console.log(`${name}: ${entries.length} shapes in ${seconds.toFixed(1)} s`);
}
