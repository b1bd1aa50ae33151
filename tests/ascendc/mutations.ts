/**
 * Mistakes planted into emitted kernels: one call of a queue, a flag or a barrier is removed, a buffer is halved, an
 * address is shifted by two bytes. Each must be reported, by the verifier or as a fault of the model of the chip; wrong
 * numbers alone do not count.
 */
import { type Chip, chips } from '../../backends/ascendc/chips.js';
import { verifyKernel } from '../../backends/ascendc/verify/verify.js';
import { faultsOf, type Prepared, prepare, type Subject } from './conformance.js';
import { type KernelOutcome, runKernels } from './run-kernels.js';
import { samples, samplesOf } from './samples.js';

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
    if (text.startsWith('//')) continue;
    for (const [kind, pattern] of removed) if (pattern.test(text)) plant(kind, at, '');
    // Buffers are whole blocks of 32 bytes: half of one is the same.
    if (text.startsWith('pipe_->InitBuffer(') && !/, 32\);$/.test(text))
      plant('half a buffer', at, line.replace(/\);$/, ' / 2);'));
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

/** Outcomes of mutants on the model, with inputs of their own or with those of `instead`. */
function run(
  mutants: readonly Mutant[],
  chip: Chip,
  instead: ReadonlyMap<string, Prepared> = new Map(),
): Verdict[] {
  const verdicts: Verdict[] = [];
  for (let at = 0; at < mutants.length; at += perProgram) {
    const batch = mutants.slice(at, at + perProgram);
    const prepared = batch.map(({ subject }) => instead.get(subject.subject.title) ?? subject);
    const outcomes = runKernels(
      chip,
      prepared.map(({ call }, i) => ({
        ...call,
        kernel: { ...call.kernel, code: (batch[i] as Mutant).code },
      })),
      mutationPrelude,
    );
    batch.forEach((mutant, i) => {
      verdicts.push(verdictOf(mutant, (prepared[i] as Prepared).subject, outcomes[i] as KernelOutcome));
    });
  }
  return verdicts;
}

/** Reports of the verifier, and of the model for what the verifier lets pass: of seven tokens, then of one. */
export function judge(mutants: readonly Mutant[], chip: Chip = chips['910b3']): Verdict[] {
  const verified = mutants.map((mutant): Verdict => {
    const { kernel } = mutant.subject.call;
    const [first] = verifyKernel({ name: kernel.name, code: mutant.code }, chip);
    return {
      mutant,
      by: first ? 'verifier' : 'nothing',
      text: first ? `${first.code} ${first.message}` : '',
    };
  });
  const single = samplesOf(1).map((sample) => [sample.title, prepare(sample, chip, 1)] as const);
  const instead = new Map(
    single.filter((pair): pair is readonly [string, Prepared] => typeof pair[1] !== 'string'),
  );
  const passed = (verdicts: readonly Verdict[]): Mutant[] =>
    verdicts.filter(({ by }) => by === 'nothing').map(({ mutant }) => mutant);
  const first = run(passed(verified), chip);
  const second = run(passed(first), chip, instead);
  const texts = new Map(first.map(({ mutant, text }) => [mutant, text]));
  const isWrong = (verdict: Verdict): boolean => texts.get(verdict.mutant) === 'wrong numbers';
  return [
    ...verified.filter(({ by }) => by !== 'nothing'),
    ...first.filter(({ by }) => by !== 'nothing'),
    ...second.map((v) => (v.by === 'nothing' && isWrong(v) ? { ...v, text: 'wrong numbers' } : v)),
  ];
}

function verdictOf(mutant: Mutant, subject: Subject, outcome: KernelOutcome): Verdict {
  if ('fault' in outcome) return { mutant, by: 'model', text: outcome.fault };
  const wrong = faultsOf(subject, outcome).length > 0;
  return { mutant, by: 'nothing', text: wrong ? 'wrong numbers' : 'the same numbers' };
}

export function describeVerdict({ mutant, text }: Verdict): string {
  return `${mutant.subject.subject.title}:${mutant.line} ${mutant.kind}: ${mutant.text} (${text})`;
}
