import { openTest, testNames, mismatches, Skip } from './suite.js';
import { interpretEntry } from '../../ir/interpret.js';
import { HewError } from '../../ir/diagnostics.js';
import { instantiate } from '../wasm/run-module.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
const [only, mode] = [process.argv[2], process.argv[3]];
let pass = 0, prom = 0; const fails: string[] = []; const skips: string[] = [];
const names = testNames('node').filter(n => !only || n.includes(only));
for (const n of names) {
  try {
    const t = openTest('node', n);
    let out;
    if (mode === 'wasm') {
      const m = runPipeline(t.opened.module, parsePipeline(standardPipeline)).module;
      out = instantiate(m, { source: t.opened.source }).run('main', t.inputs);
    } else out = interpretEntry(t.opened.module, 'main', t.inputs, { source: t.opened.source });
    t.opened.store.close();
    const m = mismatches(out, t.wanted);
    if (m.length) fails.push(`${n}: ${m[0]}`); else { pass++; if (t.promoted) prom++; }
  } catch (e) {
    if (e instanceof Skip) skips.push(`${n}: ${e.message}`);
    else fails.push(`${n}: ${e instanceof HewError ? e.diagnostics.map(d => d.code+' '+d.message).join(' | ') : (only ? (e as Error).stack : e)}`);
  }
}
console.log(fails.join('\n')); if (mode==='skips') console.log(skips.join('\n'));
console.log(JSON.stringify({ pass, prom, fails: fails.length, skips: skips.length }));
