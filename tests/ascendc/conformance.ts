/** The cases of the conformance suite as kernels of this target, run on the model of the chip. */
import { supports } from '../../backends/ascendc/capabilities.js';
import type { Chip } from '../../backends/ascendc/chips.js';
import { emitFunc } from '../../backends/ascendc/emit/table.js';
import { kernelSymbols } from '../../backends/kernel-function.js';
import { dimNames } from '../../ir/dim.js';
import { bindSymbols, interpretEntry } from '../../ir/interpret.js';
import { type Func, modelDims, type Value } from '../../ir/module.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { evalShape } from '../../ir/type.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { caseModule, caseTitle, differences, type OpCase } from '../conformance/case.js';
import { type KernelCall, runKernels } from './run-kernels.js';

export interface Prepared {
  readonly case: OpCase;
  readonly call: KernelCall;
}

/** The case as one kernel, or why there is none. */
export function prepare(c: OpCase, chip: Chip, blocks: number): Prepared | string {
  const { module, inputs } = caseModule(c, { weights: 'arguments' });
  const fused = runPipeline(module, parsePipeline('fuse')).module;
  const entry = fused.functions.get('main') as Func;
  const [op, ...others] = entry.body;
  if (op?.name !== 'kernel' || others.length > 0) return 'it is no kernel of its own';
  const func = fused.functions.get(op.attrs.callee) as Func;
  for (const inner of func.body) {
    const answer = supports(inner, chip);
    if (answer !== true) return answer;
  }
  const symbols = bindSymbols(
    fused,
    entry,
    entry.args.map((arg) => inputs[arg.name as string] as Tensor),
  );
  const shapes = [...func.args, ...func.results].map((value) => evalShape(value.type.shape, symbols));
  if (shapes.some((shape) => shape.includes(0))) return 'it has nothing to compute: it is not launched';
  const weights = func.kernel === 'matmul' ? func.args.filter((arg) => arg.type.dtype !== 'i32') : [];
  const runTime = (value: Value): boolean =>
    [...dimNames(value.type.shape.at(-1) ?? ({} as never))].some((name) => !modelDims(fused).has(name));
  if (weights.some(runTime)) return 'the width of a weight is known when it is compiled';
  return {
    case: c,
    call: {
      kernel: emitFunc(fused, func, chip),
      blocks,
      inputs: op.operands.map((operand) => inputs[operand.name as string] as Tensor),
      outputs: func.results.map((result) => ({
        dtype: result.type.dtype,
        shape: evalShape(result.type.shape, symbols),
      })),
      symbols: kernelSymbols(func, modelDims(fused)).map((name) => symbols.get(name) as number),
    },
  };
}

/** What is wrong with each case, in words; none when all agree with the interpreter. */
export function runCases(chip: Chip, prepared: readonly Prepared[]): string[] {
  const outcomes = runKernels(
    chip,
    prepared.map(({ call }) => call),
  );
  return outcomes.flatMap((outcome, i) => {
    const { case: c } = prepared[i] as Prepared;
    if ('fault' in outcome) return [`${caseTitle(c)}: ${outcome.fault}`];
    const { module, inputs } = caseModule(c, { weights: 'arguments' });
    const wanted = interpretEntry(module, 'main', inputs);
    const names = Object.keys(wanted);
    const actual = Object.fromEntries(
      names.map((name, k) => [name, withoutNaN(wanted[name] as Tensor, outcome.outputs[k] as Tensor)]),
    );
    return differences(wanted, actual, c.tolerance).map((text) => `${caseTitle(c)}: ${text}`);
  });
}

/** The vector unit's minimum and maximum say nothing of NaN, so a NaN that is wanted may be anything. */
function withoutNaN(wanted: Tensor, actual: Tensor): Tensor {
  const data = Array.from(actual.data, (value, i) => (Number.isNaN(wanted.data[i]) ? Number.NaN : value));
  return tensor(actual.dtype, [...actual.shape], data);
}
