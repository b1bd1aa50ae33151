/**
 * What an emitted kernel must obey on its chip, checked before it is written: memories, alignments, limits and types of
 * instructions, queues and flags, and the language. Numbers and hazards are the business of the model that runs kernels
 * (runtime-native/ascendc-host). A finding is a mistake of this backend, not of the user's model.
 */
import { type Diagnostic, type DiagnosticCode, diagnostic } from '../../../ir/diagnostics.js';
import type { Chip } from '../chips.js';
import { type CoreRole, Executor, type LocalBuffer } from './execute.js';
import type { Rule } from './instructions.js';
import { type KernelSyntax, parseKernel, SyntaxProblem } from './syntax.js';
import { alignmentOf, type Space } from './values.js';

const codes: Readonly<Record<Rule, DiagnosticCode>> = {
  memory: 'HEW6220',
  alignment: 'HEW6221',
  bounds: 'HEW6222',
  limit: 'HEW6223',
  dtype: 'HEW6224',
  protocol: 'HEW6225',
  chip: 'HEW6226',
  language: 'HEW6227',
};

const mostBuffers = 64;

export interface KernelText {
  readonly name: string;
  readonly code: string;
}

export function verifyKernel({ name, code }: KernelText, chip: Chip): Diagnostic[] {
  const found = new Map<string, Diagnostic>();
  const report = (rule: Rule, line: number, message: string): void => {
    const text = `kernel ${name}, line ${line}: ${message}`;
    if (!found.has(text))
      found.set(
        text,
        diagnostic(codes[rule], text, {
          help: 'this is a mistake of the Ascend backend: please report it with the model',
        }),
      );
  };
  checkLanguage(code, chip, report);
  const syntax = parsed(code, report);
  if (syntax !== undefined) checkKernel(syntax, code, chip, report);
  return [...found.values()];
}

type Report = (rule: Rule, line: number, message: string) => void;

function parsed(code: string, report: Report): KernelSyntax | undefined {
  try {
    return parseKernel(code);
  } catch (error) {
    if (!(error instanceof SyntaxProblem)) throw error;
    report('language', error.line, error.message);
    return undefined;
  }
}

/** What kernel code must not say. */
const forbidden: readonly (readonly [RegExp, string])[] = [
  [/\bstd::/, 'the standard library has no place in a kernel'],
  [
    /\b(virtual|dynamic_cast|typeid|malloc|throw|thread_local)\b/,
    'kernels have no virtual functions, allocation or exceptions',
  ],
  [/^\s*static\s/, 'kernels have no statics'],
  [/\bin\d+\[|\bout\d+\[/, 'a pointer is dereferenced: global memory is reached by GlobalTensor'],
];

function checkLanguage(code: string, chip: Chip, report: Report): void {
  code.split('\n').forEach((text, i) => {
    if (text.startsWith('//')) return;
    for (const [pattern, message] of forbidden) if (pattern.test(text)) report('language', i + 1, message);
    if (!chip.hasBf16 && text.includes('bfloat16_t')) report('chip', i + 1, `${chip.name} has no bfloat16`);
    if (!chip.hasDataCopyPad && text.includes('DataCopyPad'))
      report('chip', i + 1, `${chip.name} has no DataCopyPad`);
  });
}

/** Kernel types by layout, and the cores that run them. */
const kernelTypes: Readonly<
  Record<string, { readonly layout: Chip['layout']; readonly roles: readonly CoreRole[] }>
> = {
  AIV_ONLY: { layout: 'split', roles: ['AIV'] },
  MIX_AIV_1_0: { layout: 'split', roles: ['AIV'] },
  AIC_ONLY: { layout: 'split', roles: ['AIC'] },
  MIX_AIC_1_2: { layout: 'split', roles: ['AIC', 'AIV'] },
  AICORE: { layout: 'fused', roles: ['AIC'] },
};

function checkKernel(syntax: KernelSyntax, code: string, chip: Chip, report: Report): void {
  const type = /KERNEL_TASK_TYPE_DEFAULT\(KERNEL_TYPE_(\w+)\)/.exec(code)?.[1] ?? '';
  const known = kernelTypes[type];
  if (known === undefined || known.layout !== chip.layout) {
    report('chip', 1, `${chip.name} has no kernels of the type ${type || 'that is missing'}`);
    return;
  }
  const isMixed = known.roles.length > 1;
  const runs = known.roles.map((role) => {
    const executor = new Executor(syntax, chip, role, isMixed, report);
    executor.run();
    checkMemories(executor.buffers, chip, report);
    return executor;
  });
  const all = (side: 'set' | 'awaited'): Set<number> =>
    new Set(runs.flatMap((run) => [...run.crossCore[side]]));
  const [set, awaited] = [all('set'), all('awaited')];
  for (const flag of set.symmetricDifference(awaited))
    report(
      'protocol',
      1,
      `cross-core flag ${flag} is ${set.has(flag) ? 'set and never waited for' : 'waited for and never set'}`,
    );
  if (runs.some((run) => run.synchronisesAll) && (type === 'AIV_ONLY' || type === 'AIC_ONLY'))
    report('protocol', 1, `SyncAll needs a kernel type with hardware synchronisation, not ${type}`);
}

function checkMemories(buffers: ReadonlyMap<string, LocalBuffer>, chip: Chip, report: Report): void {
  const capacity: Partial<Record<Space, number>> = {
    UB: chip.unifiedBuffer,
    L1: chip.l1,
    L0A: chip.l0a,
    L0B: chip.l0b,
    L0C: chip.l0c,
  };
  const used = new Map<Space, number>();
  let count = 0;
  for (const buffer of buffers.values()) {
    const unit = alignmentOf[buffer.space];
    const bytes = buffer.count * Math.ceil(buffer.bytes / unit) * unit;
    used.set(buffer.space, (used.get(buffer.space) ?? 0) + bytes);
    count += buffer.count;
  }
  if (count > mostBuffers) report('memory', 1, `${count} buffers, and a kernel has at most ${mostBuffers}`);
  for (const [space, bytes] of used) {
    const most = capacity[space];
    if (most !== undefined && bytes > most)
      report('memory', 1, `buffers of ${bytes} bytes do not fit the ${most} of ${space} on ${chip.name}`);
  }
}
