/**
 * What a conformance case is, and how it becomes a module with one entry. A backend's test compiles the module, runs
 * `main` on the inputs and compares with the interpreter:
 *
 *     for (const c of opCases) {
 *       const { module, inputs } = caseModule(c, { weights: 'parameters' });
 *       const wanted = interpretEntry(module, 'main', inputs);
 *       expect(differences(wanted, await run(module, inputs), c.tolerance)).toEqual([]);
 *     }
 */
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { type Dim, type DimLike, dim, evalDim } from '../../ir/dim.js';
import { type DimDecl, emptyModule, type Module, type Param, type Value } from '../../ir/module.js';
import { encodeBytes, roundTo } from '../../ir/numeric.js';
import type { Attrs } from '../../ir/op.js';
import { type OpName, opTable } from '../../ir/ops/table.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { type DType, elementCount, isFloat, type TensorType, tensorType } from '../../ir/type.js';
import { bools, type Generate, integers, randomFrom, seedOf, uniform } from './random.js';

export interface CaseOperand {
  readonly dtype: DType;
  /** Numbers, or names and polynomials of `dims`. */
  readonly shape: readonly DimLike[];
  readonly generate: Generate;
  /** May be given as a parameter instead of an argument. */
  readonly weight: boolean;
}

export interface Tolerance {
  readonly absolute: number;
  readonly relative: number;
}

/** A model dimension, or a run-time symbol with the size it has in this run. */
export type CaseDim = number | { readonly min: number; readonly max: number; readonly size: number };

export interface OpCase {
  readonly op: OpName;
  readonly name: string;
  readonly operands: readonly CaseOperand[];
  readonly attrs: Attrs;
  readonly dims: Readonly<Record<string, CaseDim>>;
  /** Replaces the tolerance of result dtypes; for ops whose error grows beyond the usual. */
  readonly tolerance: Readonly<Partial<Record<DType, Tolerance>>>;
}

export type CaseOptions = Partial<Pick<OpCase, 'attrs' | 'dims' | 'tolerance'>>;

export function opCase(
  op: OpName,
  name: string,
  operands: readonly CaseOperand[],
  { attrs = {}, dims = {}, tolerance = {} }: CaseOptions = {},
): OpCase {
  return { op, name, operands, attrs, dims, tolerance };
}

function defaultValues(dtype: DType): Generate {
  if (isFloat(dtype)) return uniform(-2, 2);
  if (dtype === 'bool') return bools;
  if (dtype === 'u4' || dtype === 'u8') return integers(0, dtype === 'u4' ? 15 : 20);
  return dtype === 'i4' ? integers(-8, 7) : integers(-9, 9);
}

/** An operand of the case. */
export function arg(
  dtype: DType,
  shape: readonly DimLike[],
  generate: Generate = defaultValues(dtype),
): CaseOperand {
  return { dtype, shape, generate, weight: false };
}

/** An operand that is a weight: an argument or a parameter, as the caller of `caseModule` chooses. */
export function weightArg(
  dtype: DType,
  shape: readonly DimLike[],
  generate: Generate = defaultValues(dtype),
): CaseOperand {
  return { dtype, shape, generate, weight: true };
}

/** Dimensions as attributes: `shape: dims(2, 'T')`. */
export function dims(...shape: readonly DimLike[]): Dim[] {
  return shape.map(dim);
}

/** Four-bit elements have no addresses, so backends take them in ops that work element by element only. */
export function refusesFourBit({ op, operands }: OpCase): boolean {
  const types = operands.map(({ dtype }) => dtype);
  const kinds = ['elementwise', 'movement', 'quantization'];
  return (types.includes('i4') || types.includes('u4')) && !kinds.includes(opTable[op].category);
}

export function caseTitle({ op, name }: OpCase): string {
  return `${op}: ${name}`;
}

function declarationOf(size: CaseDim): DimDecl {
  return typeof size === 'number' ? { value: size } : { min: size.min, max: size.max };
}

function sizesOf(c: OpCase): Map<string, number> {
  return new Map(Object.entries(c.dims).map(([name, d]) => [name, typeof d === 'number' ? d : d.size]));
}

/** The value of each operand, representable in its dtype. */
export function caseInputs(c: OpCase): Tensor[] {
  const sizes = sizesOf(c);
  return c.operands.map(({ dtype, shape, generate }, i) => {
    const own = shape.map((d) => evalDim(dim(d), sizes));
    const values = generate(elementCount(own), randomFrom(seedOf(`${caseTitle(c)}/${i}`)));
    return tensor(dtype, own, Array.from(values, roundTo[dtype]));
  });
}

export interface CaseModule {
  readonly module: Module;
  /** Arguments of the entry `main`, by name. */
  readonly inputs: Record<string, Tensor>;
}

export interface CaseModuleOptions {
  /** Whether operands that are weights become arguments or parameters with constant values. */
  readonly weights: 'arguments' | 'parameters';
}

function constantParam(type: TensorType, { dtype, data }: Tensor): Param {
  return { type, recipe: { kind: 'constant', type, bytes: encodeBytes(dtype, data) } };
}

/**
 * A module whose entry `main` is one op. Arguments are `x0`, `x1`, … by operand, parameters `w0`, `w1`, …, results
 * `y0`, `y1`, …. A run-time symbol that no argument has as an axis gets an argument of its own, named like it, so that
 * its size can be known.
 */
export function caseModule(c: OpCase, { weights }: CaseModuleOptions): CaseModule {
  const values = caseInputs(c);
  const inputs: Record<string, Tensor> = {};
  const isParam = (operand: CaseOperand) => operand.weight && weights === 'parameters';
  const params = new Map<string, Param>();
  c.operands.forEach((operand, i) => {
    const type = tensorType(operand.dtype, operand.shape);
    if (isParam(operand)) params.set(`w${i}`, constantParam(type, values[i] as Tensor));
  });
  const declared = Object.entries(c.dims).map(([name, d]) => [name, declarationOf(d)] as const);
  const bare = { ...emptyModule('case'), dims: new Map(declared), params };
  const builder = new FuncBuilder('main', moduleScope(bare));
  const results = emitCase(c, builder, isParam, values, inputs);
  const outputs = results.map((_, i) => `y${i}`);
  const func = { ...builder.finish(results), outputs };
  return { module: { ...bare, functions: new Map([['main', func]]) }, inputs };
}

function emitCase(
  c: OpCase,
  builder: FuncBuilder,
  isParam: (operand: CaseOperand) => boolean,
  values: readonly Tensor[],
  inputs: Record<string, Tensor>,
): readonly Value[] {
  const bound = new Set<string>();
  const operands = c.operands.map((operand, i) => {
    if (isParam(operand)) return builder.one('param', [], { name: `w${i}` });
    for (const d of operand.shape) if (typeof d === 'string') bound.add(d);
    inputs[`x${i}`] = values[i] as Tensor;
    return builder.arg(tensorType(operand.dtype, operand.shape), `x${i}`);
  });
  for (const [name, d] of Object.entries(c.dims)) {
    if (typeof d === 'number' || bound.has(name)) continue;
    builder.arg(tensorType('i32', [name]), name);
    inputs[name] = tensor('i32', [d.size], new Array<number>(d.size).fill(0));
  }
  return builder.emit(c.op, operands, c.attrs);
}

/** One rounding of the result and a few of the inner steps; integers and bools are exact. */
const usualTolerance: Record<DType, Tolerance> = {
  f32: { absolute: 2e-6, relative: 1e-5 },
  f16: { absolute: 1e-3, relative: 2e-3 },
  bf16: { absolute: 8e-3, relative: 1.6e-2 },
  i32: { absolute: 0, relative: 0 },
  i64: { absolute: 0, relative: 0 },
  i8: { absolute: 0, relative: 0 },
  u8: { absolute: 0, relative: 0 },
  i4: { absolute: 0, relative: 0 },
  u4: { absolute: 0, relative: 0 },
  bool: { absolute: 0, relative: 0 },
};

function agrees(wanted: number, actual: number, { absolute, relative }: Tolerance): boolean {
  if (Number.isNaN(wanted)) return Number.isNaN(actual);
  if (!Number.isFinite(wanted)) return wanted === actual;
  return Math.abs(wanted - actual) <= absolute + relative * Math.abs(wanted);
}

/** What differs between two tensors, in words; empty when they agree. At most four elements are listed. */
export function tensorDifferences(
  name: string,
  wanted: Tensor,
  actual: Tensor | undefined,
  tolerance: Tolerance = usualTolerance[wanted.dtype],
): string[] {
  if (actual === undefined) return [`${name} is missing`];
  const [left, right] = [wanted, actual].map((t) => `${t.dtype}[${t.shape.join(', ')}]`);
  if (left !== right) return [`${name} is ${right}, not ${left}`];
  const found: string[] = [];
  wanted.data.forEach((value, i) => {
    const other = actual.data[i] as number;
    if (!agrees(value, other, tolerance)) found.push(`${name}[${i}] is ${other}, not ${value}`);
  });
  return found.slice(0, 4);
}

export function differences(
  wanted: Readonly<Record<string, Tensor>>,
  actual: Readonly<Record<string, Tensor>>,
  tolerance: OpCase['tolerance'] = {},
): string[] {
  return Object.entries(wanted).flatMap(([name, value]) =>
    tensorDifferences(name, value, actual[name], tolerance[value.dtype]),
  );
}
