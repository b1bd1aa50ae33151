/**
 * Pipelines: `canonicalize,fuse{epilogues=false},dce`. Parsing checks names and options against the registry; running
 * verifies the module after every pass.
 */
import { didYouMean, fail } from '../ir/diagnostics.js';
import type { Module } from '../ir/module.js';
import { printModule } from '../ir/print.js';
import { assertValid } from '../ir/verify.js';
import type { OptionSchema, OptionSpec, OptionTypes, Pass, PassReport } from './pass.js';
import { passes as registered } from './registry.js';

export interface PipelineStep {
  readonly pass: Pass;
  readonly options: Readonly<Record<string, OptionTypes[keyof OptionTypes]>>;
}

export interface PipelineOptions {
  /** Verify before the first and after every pass (default true). */
  readonly verify?: boolean;
  /** Names of passes after which to dump the module when they changed it, or 'all'. */
  readonly printAfter?: readonly string[] | 'all';
  readonly onDump?: (pass: string, text: string) => void;
}

export interface StepReport extends PassReport {
  readonly pass: string;
  readonly milliseconds: number;
  readonly changed: boolean;
}

/** Parses pipeline text; unknown passes and options are HEW6001 and HEW6002. */
export function parsePipeline(text: string, available: readonly Pass[] = registered): PipelineStep[] {
  return splitOutsideBraces(text).map((step) => parseStep(step.trim(), available));
}

function splitOutsideBraces(text: string): string[] {
  const steps = text.match(/[^,{]+(?:\{[^}]*\})?[^,]*/g) ?? [];
  return steps.filter((step) => step.trim() !== '');
}

function parseStep(step: string, available: readonly Pass[]): PipelineStep {
  const match = /^([\w-]+)\s*(?:\{([^}]*)\})?$/.exec(step);
  if (match === null) fail('HEW6002', `cannot read '${step}' in the pipeline`, { help: 'write passes as name{option=value,option=value}, separated by commas' });
  const [, name = '', optionText = ''] = match;
  const pass = available.find((p) => p.name === name);
  if (pass === undefined) {
    fail('HEW6001', `there is no pass '${name}'`, { help: didYouMean(name, available.map((p) => p.name)) ?? `passes: ${available.map((p) => p.name).join(', ')}` });
  }
  return { pass, options: parseOptions(pass, optionText) };
}

function parseOptions(pass: Pass, text: string): PipelineStep['options'] {
  const options: Record<string, OptionTypes[keyof OptionTypes]> = Object.fromEntries(
    Object.entries(pass.options as OptionSchema).map(([key, spec]) => [key, spec.default]),
  );
  for (const pair of text.split(',').filter((part) => part.trim() !== '')) {
    const [key = '', value = 'true'] = pair.split('=').map((part) => part.trim());
    const spec = (pass.options as OptionSchema)[key];
    if (spec === undefined) {
      fail('HEW6002', `${pass.name} has no option '${key}'`, { help: didYouMean(key, Object.keys(pass.options)) });
    }
    options[key] = parseOption(pass.name, key, spec, value);
  }
  return options;
}

const optionParsers: { readonly [K in keyof OptionTypes]: (text: string) => OptionTypes[K] | undefined } = {
  int: (text) => (/^[-+]?\d+$/.test(text) ? Number(text) : undefined),
  float: (text) => (text !== '' && Number.isFinite(Number(text)) ? Number(text) : undefined),
  bool: (text) => (text === 'true' ? true : text === 'false' ? false : undefined),
  string: (text) => text,
};

function parseOption(pass: string, key: string, spec: OptionSpec, text: string): OptionTypes[keyof OptionTypes] {
  const value = optionParsers[spec.kind](text);
  if (value === undefined) fail('HEW6002', `${pass}: option '${key}' must be ${spec.kind}, not '${text}'`, { help: spec.doc });
  return value;
}

/** Runs the steps in order; a pass that breaks an invariant is named in the error. */
export function runPipeline(module: Module, steps: readonly PipelineStep[], options: PipelineOptions = {}): { module: Module; reports: StepReport[] } {
  const verify = options.verify ?? true;
  if (verify) assertValid(module, 'building the module');
  let current = module;
  const reports: StepReport[] = [];
  for (const { pass, options: passOptions } of steps) {
    const started = performance.now();
    const { module: next, report } = pass.run(current, passOptions);
    const milliseconds = performance.now() - started;
    if (verify) assertValid(next, `pass ${pass.name}`);
    const changed = dumpIfAsked(pass.name, current, next, options);
    reports.push({ pass: pass.name, milliseconds, changed, counts: report?.counts ?? {}, notes: report?.notes ?? [] });
    current = next;
  }
  return { module: current, reports };
}

/** Dumps are printed only for passes that changed something; without a listener `changed` is by identity. */
function dumpIfAsked(name: string, before: Module, after: Module, { printAfter, onDump }: PipelineOptions): boolean {
  const asked = onDump !== undefined && (printAfter === 'all' || printAfter?.includes(name) === true);
  if (!asked) return before !== after;
  const text = printModule(after);
  const changed = text !== printModule(before);
  if (changed) onDump(name, text);
  return changed;
}
