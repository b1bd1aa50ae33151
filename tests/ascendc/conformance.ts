/** Modules of one kernel, such as the cases of the conformance suite, run on the model of the chip. */
import { supports } from '../../backends/ascendc/capabilities.js';
import type { Chip } from '../../backends/ascendc/chips.js';
import { emitFunc } from '../../backends/ascendc/emit/table.js';
import { coresOf } from '../../backends/ascendc/package.js';
import { kernelSymbols } from '../../backends/kernel-function.js';
import { dimNames } from '../../ir/dim.js';
import { bindSymbols, interpretEntry } from '../../ir/interpret.js';
import { type Func, type Module, modelDims, type Value } from '../../ir/module.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { evalShape } from '../../ir/type.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { caseModule, caseTitle, differences, type OpCase } from '../conformance/case.js';
import { type KernelCall, type KernelOutcome, runKernels } from './run-kernels.js';

/** A module whose entry is one op, or ops that become one kernel. */
export interface Subject {
  readonly title: string;
  readonly module: Module;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly tolerance?: OpCase['tolerance'];
}

export interface Prepared {
  readonly subject: Subject;
  readonly call: KernelCall;
}

export const subjectOf = (c: OpCase): Subject => ({
  title: caseTitle(c),
  ...caseModule(c, { weights: 'arguments' }),
  tolerance: c.tolerance,
});

/** The subject as one kernel, or why there is none. */
export function prepare(subject: Subject, chip: Chip, blocks: number): Prepared | string {
  const { module, inputs } = subject;
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
  const runTime = ({ type: { shape } }: Value): boolean =>
    shape.slice(-1).some((width) => [...dimNames(width)].some((name) => !modelDims(fused).has(name)));
  if (weights.some(runTime)) return 'the width of a weight is known when it is compiled';
  return {
    subject,
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

/** The call with so many blocks, or as many as the chip has cores for the kernel. */
export const onBlocks = (prepared: Prepared, chip: Chip, blocks: number): Prepared => ({
  ...prepared,
  call: { ...prepared.call, blocks: Math.min(blocks, coresOf(prepared.call.kernel, chip)) },
});

/** What is wrong with each subject, in words; none when all agree with the interpreter. */
export function runSubjects(chip: Chip, prepared: readonly Prepared[]): string[] {
  const outcomes = runKernels(
    chip,
    prepared.map(({ call }) => call),
  );
  return outcomes.flatMap((outcome, i) => faultsOf((prepared[i] as Prepared).subject, outcome));
}

/** The fault of a run, or where its results differ from the interpreter's. */
export function faultsOf(subject: Subject, outcome: KernelOutcome): string[] {
  const { title, module, inputs, tolerance } = subject;
  if ('fault' in outcome) return [`${title}: ${outcome.fault}`];
  const wanted = interpretEntry(module, 'main', inputs);
  const names = Object.keys(wanted);
  const actual = Object.fromEntries(
    names.map((name, k) => [name, withoutNaN(wanted[name] as Tensor, outcome.outputs[k] as Tensor)]),
  );
  return differences(wanted, actual, tolerance).map((text) => `${title}: ${text}`);
}

/** The vector unit's minimum and maximum say nothing of NaN, so a NaN that is wanted may be anything. */
function withoutNaN(wanted: Tensor, actual: Tensor): Tensor {
  const data = Array.from(actual.data, (value, i) => (Number.isNaN(wanted.data[i]) ? Number.NaN : value));
  return tensor(actual.dtype, [...actual.shape], data);
}
