/**
 * Mistakes planted into emitted kernels: one call of a queue, a flag or a barrier is removed, a buffer is halved, an
 * address is shifted by two bytes. Each must be reported, by the verifier or as a fault of the model of the chip; wrong
 * numbers alone do not count.
 */
import { type Chip, chips } from '../../backends/ascendc/chips.js';
import { verifyKernel } from '../../backends/ascendc/verify/verify.js';
import { faultsOf, type Prepared, prepare } from './conformance.js';
import { type KernelOutcome, runKernels } from './run-kernels.js';
import { samples } from './samples.js';

export interface Mutant {
  readonly subject: Prepared;
  readonly kind: string;
  readonly line: number;
  /** The statement that was removed or changed. */
  readonly text: string;
  readonly code: string;
}

export interface Verdict {
  readonly mutant: Mutant;
  readonly by: 'verifier' | 'model' | 'nothing';
  /** What was said; for survivors, whether the numbers are still right. */
  readonly text: string;
}

/** Statements that are removed, and what they are called in a report. */
const removed: readonly (readonly [string, RegExp])[] = [
  ['EnQue', /\.EnQue\(/],
  ['DeQue', /\.DeQue</],
  ['FreeTensor', /\.FreeTensor\(/],
  ['SetFlag', /\bSetFlag</],
  ['WaitFlag', /\bWaitFlag</],
  ['CrossCoreSetFlag', /\bCrossCoreSetFlag</],
  ['CrossCoreWaitFlag', /\bCrossCoreWaitFlag</],
  ['PipeBarrier', /^PipeBarrier</],
  ['SyncAll', /\bSyncAll\b/],
  ['WaitForVector', /^WaitForVector\(/],
  ['WaitForScalar', /^WaitForScalar\(/],
];

/** The end of the bracket that opens at `at`. */
function closing(text: string, at: number): number {
  const pairs: Readonly<Record<string, string>> = { '(': ')', '[': ']' };
  const [open, close] = [text[at] as string, pairs[text[at] as string] as string];
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    if (text[i] === open) depth += 1;
    if (text[i] === close) depth -= 1;
    if (depth === 0) return i;
  }
  return text.length;
}

/** The line with one address shifted, for each address in it. */
function shifted(line: string): string[] {
  const found: string[] = [];
  for (const { index, 0: match } of line.matchAll(/GetWithOffset<\w+>\(|\b\w+\[/g)) {
    const open = index + match.length - 1;
    const end = closing(line, open);
    found.push(
      match.endsWith('(')
        ? `${line.slice(0, end)} + 2${line.slice(end)}`
        : `${line.slice(0, index)}Shifted(${line.slice(index, end + 1)})${line.slice(end + 1)}`,
    );
  }
  return found;
}

/** All mutants of one kernel. */
export function mutantsOf(subject: Prepared): Mutant[] {
  const lines = subject.call.kernel.code.split('\n');
  const begin = lines.findIndex((line) => line.includes('Init(GM_ADDR'));
  const end = lines.findIndex((line) => line.startsWith('extern'));
  const mutants: Mutant[] = [];
  const plant = (kind: string, at: number, by: string): void => {
    const text = (lines[at] as string).trim();
    mutants.push({ subject, kind, line: at + 1, text, code: lines.with(at, by).join('\n') });
  };
  for (let at = begin; at < end; at++) {
    const line = lines[at] as string;
    const text = line.trim();
    for (const [kind, pattern] of removed) if (pattern.test(text)) plant(kind, at, '');
    if (text.startsWith('pipe_->InitBuffer(')) plant('half a buffer', at, line.replace(/\);$/, ' / 2);'));
    if (!/InitBuffer|SetGlobalBuffer/.test(text)) for (const by of shifted(line)) plant('2 bytes', at, by);
  }
  return mutants;
}

/** What mutants may call: an address two bytes on. */
export const mutationPrelude = `
template <typename T>
AscendC::GlobalTensor<T> Shifted(AscendC::GlobalTensor<T> tensor) {
    tensor.address = reinterpret_cast<T*>(reinterpret_cast<uint8_t*>(tensor.address) + 2);
    if (sizeof(T) <= 2) tensor.elements -= 2 / sizeof(T);
    return tensor;
}
template <typename T>
AscendC::LocalTensor<T> Shifted(AscendC::LocalTensor<T> tensor) {
    tensor.view.offset += 2;
    tensor.view.bytes -= 2;
    return tensor;
}
`;

export function allMutants(chip: Chip): Mutant[] {
  return samples.flatMap((sample) => {
    const prepared = prepare(sample, chip, 1);
    return typeof prepared === 'string' ? [] : mutantsOf(prepared);
  });
}

const perProgram = 100;

/** Reports of the verifier, and of the model for what the verifier lets pass. */
export function judge(mutants: readonly Mutant[], chip: Chip = chips['910b3']): Verdict[] {
  const verdicts: Verdict[] = [];
  const passed: Mutant[] = [];
  for (const mutant of mutants) {
    const { kernel } = mutant.subject.call;
    const [first] = verifyKernel({ name: kernel.name, code: mutant.code }, chip);
    if (first === undefined) passed.push(mutant);
    else verdicts.push({ mutant, by: 'verifier', text: `${first.code} ${first.message}` });
  }
  for (let at = 0; at < passed.length; at += perProgram) {
    const batch = passed.slice(at, at + perProgram);
    const outcomes = runKernels(
      chip,
      batch.map(({ subject, code }) => ({ ...subject.call, kernel: { ...subject.call.kernel, code } })),
      mutationPrelude,
    );
    batch.forEach((mutant, i) => {
      verdicts.push(verdictOf(mutant, outcomes[i] as KernelOutcome));
    });
  }
  return verdicts;
}

function verdictOf(mutant: Mutant, outcome: KernelOutcome): Verdict {
  if ('fault' in outcome) return { mutant, by: 'model', text: outcome.fault };
  const wrong = faultsOf(mutant.subject.subject, outcome).length > 0;
  return { mutant, by: 'nothing', text: wrong ? 'wrong numbers' : 'the same numbers' };
}
