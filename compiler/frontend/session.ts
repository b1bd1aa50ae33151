/**
 * What lasts for one elaboration: the module under construction, the errors found, the checkpoint's table of
 * contents; and the context in which a statement or an expression is elaborated.
 */

import {
  type Diagnostic,
  type DiagnosticCode,
  diagnostic,
  type Label,
  type Span,
} from '../../ir/diagnostics.js';
import type { Dim } from '../../ir/dim.js';
import { type DimEnv, DimError, tryEvalDim } from '../../ir/dim.js';
import type {
  DimDecl,
  Func,
  Loop,
  Module,
  Param,
  SamplerDecl,
  State,
  TokenizerDecl,
  Value,
} from '../../ir/module.js';
import { type Attrs, InferError } from '../../ir/op.js';
import type { CallExpression, Definition } from './ast.js';
import type { Environment, Frame } from './scope.js';

/** The table of contents of a checkpoint. */
export interface CheckpointTensors {
  /** `dtype` is a name of the IR or another one, such as `f64`, that the model cannot use. */
  tensor(name: string): { readonly dtype: string; readonly shape: readonly number[] } | undefined;
  names(): Iterable<string>;
}

/** A module whose tables are still being filled. */
export interface Draft extends Module {
  readonly dims: Map<string, DimDecl>;
  readonly loops: Map<string, Loop>;
  readonly params: Map<string, Param>;
  readonly states: Map<string, State>;
  readonly functions: Map<string, Func>;
  tokenizer?: TokenizerDecl;
  sampler?: SamplerDecl;
}

/** A file with everything it extends, or an imported file: one set of top-level names. */
export interface Unit {
  readonly file: string;
  /** Modules, fns and entries by name, with the unit they were defined in. */
  readonly definitions: Map<string, { readonly definition: Definition; readonly unit: Unit }>;
  /** Constants and dimensions. */
  environment: Environment;
}

interface ReportParts {
  readonly span: Span;
  readonly label?: string;
  readonly labels?: readonly Label[];
  readonly notes?: readonly string[];
  readonly help?: string | undefined;
}

/** Operations, calls and tensors after which a spec is taken to be hostile rather than large. */
const workLimit = 500_000;

export class Session {
  readonly diagnostics: Diagnostic[] = [];
  private readonly reported = new Set<string>();
  private work = 0;
  readonly weightsUsed = new Set<string>();
  /** Where each parameter was first asked for, to explain a second request with another type. */
  readonly paramSpans = new Map<string, Span>();
  readonly loopNames = new Map<string, string>();
  /** Top-level names of a unit while an entry is elaborated: its constants and the entry's view of its states. */
  readonly unitEnvironments = new Map<Unit, Environment>();

  constructor(
    readonly draft: Draft,
    readonly checkpoint: CheckpointTensors | undefined,
    readonly weightsDType: 'f32' | 'f16' | 'bf16' | undefined,
  ) {}

  /** Values of the model dimensions declared so far. */
  get dimValues(): DimEnv {
    const values = new Map<string, number>();
    for (const [name, decl] of this.draft.dims) if ('value' in decl) values.set(name, decl.value);
    return values;
  }

  valueOf(dim: Dim): number | undefined {
    return tryEvalDim(dim, this.dimValues);
  }

  /** Reports once per place: modules are elaborated anew for every call, and errors in them would repeat. */
  report(code: DiagnosticCode, message: string, parts: ReportParts, key = ''): void {
    const { file, start, end } = parts.span;
    const identity = [code, file, start, end, key].join(':');
    if (this.reported.has(identity)) return;
    this.reported.add(identity);
    this.diagnostics.push(diagnostic(code, message, parts));
  }

  /** A function that takes everything back that is declared or reported after this call. */
  mark(): () => void {
    const { draft, paramSpans, loopNames, weightsUsed, reported, diagnostics, work } = this;
    const maps = [draft.loops, draft.params, draft.states, draft.functions, paramSpans, loopNames];
    const restores = [
      ...maps.map((map) => restoreMap<unknown>(map)),
      ...[weightsUsed, reported].map((set) => restoreSet(set)),
    ];
    const reports = diagnostics.length;
    return () => {
      for (const restore of restores) restore();
      diagnostics.length = reports;
      this.work = work;
    };
  }

  get hasErrors(): boolean {
    return this.diagnostics.some((d) => d.severity === 'error');
  }

  /** True, with a report, once the spec has asked for more work than any model needs. */
  isExhausted(span: Span, amount = 1): boolean {
    this.work += amount;
    if (this.work <= workLimit) return false;
    const message = `this model needs more than ${workLimit} operations, calls and tensors`;
    this.report('HEW1004', message, {
      span,
      help: "repeat layers with 'for' instead of calls that call each other",
    });
    return true;
  }
}

function restoreMap<V>(map: Map<string, V>): () => void {
  const before = [...map];
  return () => {
    map.clear();
    for (const [key, value] of before) map.set(key, value);
  };
}

function restoreSet(set: Set<string>): () => void {
  const before = [...set];
  return () => {
    set.clear();
    for (const item of before) set.add(item);
  };
}

export interface CallSite {
  readonly definition: Definition;
  readonly call: CallExpression;
}

export interface Context {
  readonly session: Session;
  readonly unit: Unit;
  readonly environment: Environment;
  /** The function under construction; undefined where only constants are allowed. */
  readonly frame: Frame | undefined;
  /** Prefix of the names of weights and states, without the final dot. */
  readonly path: string;
  /** From the entry inwards. */
  readonly calls: readonly CallSite[];
}

/** Reports an error found in `context`, pointing also at the calls through which the place was reached. */
export function report(
  context: Context,
  code: DiagnosticCode,
  message: string,
  parts: ReportParts,
  key = '',
): void {
  const trail = context.calls.slice(-3).reverse();
  const labels = trail.map(({ call, definition }) => ({
    span: call.callee.span,
    text: `in this call of ${definition.name.name}`,
  }));
  context.session.report(code, message, { ...parts, labels: [...(parts.labels ?? []), ...labels] }, key);
}

/** Appends an operation; undefined, with a report, when its types do not fit or no operation may stand here. */
export function emit(
  context: Context,
  name: string,
  operands: readonly Value[],
  attrs: Attrs,
  span: Span,
  operandSpans: readonly (Span | undefined)[] = [],
): readonly Value[] | undefined {
  const { frame, session } = context;
  if (frame === undefined) {
    report(
      context,
      'HEW2006',
      `${name} computes at run time, but this must be known when the model is compiled`,
      { span },
    );
    return undefined;
  }
  if (session.isExhausted(span)) return undefined;
  try {
    frame.builder.span = span;
    return frame.builder.emit(name, operands, attrs);
  } catch (error) {
    if (!reportTypeError(context, error, span, operandSpans)) throw error;
    return undefined;
  }
}

/** `emit` for operations with one result. */
export function emitOne(
  context: Context,
  name: string,
  operands: readonly Value[],
  attrs: Attrs,
  span: Span,
  operandSpans: readonly (Span | undefined)[] = [],
): Value | undefined {
  return emit(context, name, operands, attrs, span, operandSpans)?.[0];
}

const inferCodes = { shape: 'HEW2004', dtype: 'HEW2005', attr: 'HEW2015' } as const;

/** Turns the type errors of the IR into diagnostics; false for anything else. */
export function reportTypeError(
  context: Context,
  error: unknown,
  span: Span,
  operandSpans: readonly (Span | undefined)[] = [],
): boolean {
  if (error instanceof DimError) {
    report(context, 'HEW2007', error.message, { span });
    return true;
  }
  if (!(error instanceof InferError)) return false;
  const { kind, operand, help } = error.parts;
  const blamed = operand === undefined ? undefined : operandSpans[operand];
  report(context, kind === undefined ? 'HEW2003' : inferCodes[kind], error.message, {
    span: blamed ?? span,
    help,
  });
  return true;
}
