/** Vector kernels on the model of the chip, against the interpreter: the cases of the conformance suite. */
import { test } from 'vitest';
import { chips } from '../../backends/ascendc/chips.js';
import { kernelContext } from '../../backends/ascendc/emit/kernel.js';
import { emitFunc } from '../../backends/ascendc/emit/table.js';
import { bindSymbols, interpretEntry } from '../../ir/interpret.js';
import type { Func } from '../../ir/module.js';
import { evalShape } from '../../ir/type.js';
import { opRoles } from '../../passes/kernel-class.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { caseModule, caseTitle, differences } from '../conformance/case.js';
import { opCases } from '../conformance/cases.js';
import { hasCompiler, type KernelCall, runKernels } from './run-kernels.js';

const chip = chips['910b3'];
const only = process.env.ROLES?.split(',') ?? ['pointwise'];
const cases = opCases.filter((c) => only.includes(opRoles[c.op]));
console.log(cases.length);
const calls: KernelCall[] = [];
const owners: (typeof cases)[number][] = [];
const why = new Map<string, number>();
for (const c of cases) {
  try {
  const { module, inputs } = caseModule(c, { weights: 'arguments' });
  const fused = runPipeline(module, parsePipeline('fuse')).module;
  const entry = fused.functions.get('main') as Func;
  const op = entry.body[0];
  if (entry.body.length !== 1 || op?.name !== 'kernel') { why.set('shape', (why.get('shape') ?? 0) + 1); continue; }
  const func = fused.functions.get(op.attrs.callee) as Func;
  const context = kernelContext(fused, func, chip);
  const kernel = emitFunc(fused, func, chip);
  const symbols = bindSymbols(fused, entry, entry.args.map((a) => inputs[a.name as string] as never));
  if (func.results.some((r) => evalShape(r.type.shape, symbols).includes(0))) continue;
  calls.push({ kernel, blocks: 3, inputs: op.operands.map((o) => inputs[o.name as string] as never), outputs: func.results.map((r) => ({ dtype: r.type.dtype, shape: evalShape(r.type.shape, symbols) })), symbols: context.symbols.map((s) => symbols.get(s) as number) });
  owners.push(c);
  } catch (error) { const m = String(error); why.set(m, (why.get(m) ?? 0) + 1); }
}
console.log(why, calls.length);
test.skipIf(!hasCompiler)('all', () => {
  const results = runKernels(chip, calls);
  const bad: string[] = [];
  results.forEach((outcome, i) => {
    const c = owners[i] as (typeof cases)[number];
    const { module, inputs } = caseModule(c, { weights: 'arguments' });
    const wanted = interpretEntry(module, 'main', inputs);
    if ('fault' in outcome) bad.push(`${caseTitle(c)}: ${outcome.fault}`);
    else {
      const [name] = Object.keys(wanted) as [string];
      const w = Object.values(wanted)[0] as never as { data: number[] };
      outcome.outputs[0]?.data.forEach((_, k) => { if (Number.isNaN(w.data[k])) (outcome.outputs[0] as never as {data: number[]}).data[k] = NaN; });
      const d = differences(wanted, { [name]: outcome.outputs[0] as never }, c.tolerance);
      if (d.length) bad.push(`${caseTitle(c)}: ${d[0]}`);
    }
  });
  console.log(`${bad.length} of ${results.length}`);
  console.log(bad.slice(0, 60).join('\n'));
});
