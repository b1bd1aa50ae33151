/**
 * Pipelines: `canonicalize,fuse{epilogues=false},dce`. Parsing checks names and options against the registry; running
 * verifies the module after every pass.
 */
import { didYouMean, fail } from '../ir/diagnostics.js';
import { DimError } from '../ir/dim.js';
import type { Module } from '../ir/module.js';
import { InferError } from '../ir/op.js';
import { printModule } from '../ir/print.js';
import { assertValid } from '../ir/verify.js';
import type { OptionSpec, OptionTypes, Pass, PassReport, PassResult } from './pass.js';
import { passes as registered } from './registry.js';

export interface PipelineStep {
  readonly pass: Pass;
  readonly options: Readonly<Record<string, OptionValue>>;
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

type OptionValue = OptionTypes[keyof OptionTypes];

/** Parses pipeline text; unknown passes are HEW6001, options that a pass does not have or cannot read are HEW6002. */
export function parsePipeline(text: string, available: readonly Pass[] = registered): PipelineStep[] {
  if (text.trim() === '') return [];
  return splitOutsideBraces(text).map((step) => parseStep(step.trim(), available));
}

/** Parts between the commas that no braces enclose. */
function splitOutsideBraces(text: string): string[] {
  return text.split(/,(?![^{}]*\})/);
}

function parseStep(step: string, available: readonly Pass[]): PipelineStep {
  const match = /^([\w-]+)\s*(?:\{([^{}]*)\})?$/.exec(step);
  if (match === null)
    fail('HEW6002', `cannot read '${step}' in the pipeline`, {
      help: 'write passes as name{option=value,option=value}, separated by commas',
    });
  const [, name = '', optionText = ''] = match;
  const pass = available.find((p) => p.name === name);
  if (pass === undefined) {
    fail('HEW6001', `there is no pass '${name}'`, {
      help: hint(
        name,
        available.map((p) => p.name),
        'passes',
      ),
    });
  }
  return { pass, options: parseOptions(pass, optionText) };
}

function hint(name: string, known: readonly string[], what: string): string {
  return (
    didYouMean(name, known) ?? (known.length === 0 ? `it has no ${what}` : `${what}: ${known.join(', ')}`)
  );
}

function parseOptions(pass: Pass, text: string): PipelineStep['options'] {
  const given = new Map<string, OptionValue>();
  for (const pair of text.split(',').filter((part) => part.trim() !== '')) {
    const [, key = '', value] = /^\s*([^=]*?)\s*(?:=\s*([\s\S]*?)\s*)?$/.exec(pair) ?? [];
    const spec = Object.hasOwn(pass.options, key)
      ? pass.options[key]
      : key === ''
        ? undefined
        : pass.dimensionOption;
    if (spec === undefined) {
      fail('HEW6002', `${pass.name} has no option '${key}'`, {
        help: hint(key, Object.keys(pass.options), 'options'),
      });
    }
    if (given.has(key)) fail('HEW6002', `${pass.name}: option '${key}' is given twice`);
    given.set(key, parseOption(pass.name, key, spec, value));
  }
  const own = Object.entries(pass.options).map(([key, spec]): [string, OptionValue] => [
    key,
    given.get(key) ?? spec.default,
  ]);
  return Object.fromEntries([...own, ...given]);
}

const optionKinds: {
  readonly [K in keyof OptionTypes]: {
    readonly what: string;
    parse(text: string): OptionTypes[K] | undefined;
  };
} = {
  int: {
    what: 'an integer',
    parse: (text) =>
      /^[-+]?\d+$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : undefined,
  },
  float: {
    what: 'a number',
    parse: (text) => (text !== '' && Number.isFinite(Number(text)) ? Number(text) : undefined),
  },
  bool: {
    what: 'true or false',
    parse: (text) => (text === 'true' ? true : text === 'false' ? false : undefined),
  },
  string: { what: 'text', parse: (text) => text },
};

/** An option without a value switches a bool on. */
function parseOption(pass: string, key: string, spec: OptionSpec, text: string | undefined): OptionValue {
  const { what, parse } = optionKinds[spec.kind];
  const value = text === undefined ? (spec.kind === 'bool' ? true : undefined) : parse(text);
  if (value !== undefined) return value;
  const found = text === undefined ? 'it has no value' : `'${text}' is not`;
  return fail('HEW6002', `${pass}: option '${key}' must be ${what}, ${found}`, { help: spec.doc });
}

/** Runs the steps in order; a pass that breaks an invariant is named in the error. */
export function runPipeline(
  module: Module,
  steps: readonly PipelineStep[],
  options: PipelineOptions = {},
): { module: Module; reports: StepReport[] } {
  const verify = options.verify ?? true;
  if (verify) assertValid(module, 'building the module');
  let current = module;
  const reports: StepReport[] = [];
  for (const step of steps) {
    const { name } = step.pass;
    const started = performance.now();
    const { module: next, report } = runStep(current, step);
    const milliseconds = performance.now() - started;
    if (verify && next !== current) assertValid(next, `pass ${name}`);
    const changed = dumpIfAsked(name, current, next, options);
    reports.push({
      pass: name,
      milliseconds,
      changed,
      counts: report?.counts ?? {},
      notes: report?.notes ?? [],
    });
    current = next;
  }
  return { module: current, reports };
}

/** Ops that a pass could not build are diagnostics, with the name of the pass. */
function runStep(module: Module, { pass, options }: PipelineStep): PassResult {
  try {
    return pass.run(module, options);
  } catch (error) {
    if (error instanceof InferError || error instanceof DimError)
      fail('HEW5002', `in pass ${pass.name}: ${error.message}`);
    throw error;
  }
}

/**
 * Whether the pass changed the module: by identity, and by text too when a dump is asked for, as a pass may rebuild
 * what it was given. Only what changed is dumped.
 */
function dumpIfAsked(
  name: string,
  before: Module,
  after: Module,
  { printAfter, onDump }: PipelineOptions,
): boolean {
  const asked = onDump !== undefined && (printAfter === 'all' || printAfter?.includes(name) === true);
  if (!asked || before === after) return before !== after;
  const text = printModule(after);
  const changed = text !== printModule(before);
  if (changed) onDump(name, text);
  return changed;
}
