/**
 * What each instruction takes: types, extents, fields. An operand's extent is checked against what is left of its tensor,
 * with the greatest count that the code allows. Limits are those of the public API documentation (CANN 8.1).
 */
import type { Chip } from '../chips.js';
import { add, divide, exactly, multiply, type Range, roundedUp, subtract } from './range.js';
import {
  alignmentOf,
  dtypeNamed,
  type GlobalValue,
  type LocalValue,
  type ParameterValue,
  rangeOf,
  sizeOf,
  type Value,
} from './values.js';

/** What a finding is about; each has a code. */
export type Rule = 'memory' | 'alignment' | 'bounds' | 'limit' | 'dtype' | 'protocol' | 'chip' | 'language';

export interface InstructionCall {
  readonly name: string;
  readonly templates: readonly string[];
  readonly args: readonly Value[];
  readonly chip: Chip;
  report(rule: Rule, message: string): void;
}

type Check = (call: InstructionCall) => void;

const one = exactly(1);
const mostRepeats = 255;
const repeatBytes = 256;
const mostExtent = 4095;

const local = (call: InstructionCall, at: number): LocalValue | undefined => {
  const value = call.args[at];
  return value?.kind === 'local' ? value : undefined;
};
const range = (call: InstructionCall, at: number): Range => rangeOf(call.args[at]);
const parameters = (call: InstructionCall, at: number): ParameterValue | undefined => {
  const value = call.args[at];
  return value?.kind === 'parameters' ? value : undefined;
};
const dtypeOf = (value: LocalValue | GlobalValue): string => dtypeNamed.get(value.type) ?? value.type;

/** The operand lies at an address that its unit takes, and has so many bytes. */
function extent(call: InstructionCall, operand: LocalValue | undefined, bytes: Range, unit = 32): void {
  if (operand === undefined) return;
  if (operand.offset.multiple % unit !== 0)
    call.report('alignment', `${call.name} takes ${operand.space} addresses that are multiples of ${unit}`);
  if (bytes.most !== Number.POSITIVE_INFINITY && bytes.most > operand.bytes)
    call.report('bounds', `${call.name} may touch ${bytes.most} bytes of a tensor of ${operand.bytes}`);
}

const elements = (count: Range, operand: LocalValue | undefined): Range =>
  multiply(count, exactly(operand === undefined ? 1 : sizeOf(operand.type)));

function atMost(call: InstructionCall, what: string, value: Range, most: number): void {
  if (value.most !== Number.POSITIVE_INFINITY && value.most > most)
    call.report('limit', `${call.name}: ${what} may be ${value.most}, more than ${most}`);
}

function takes(call: InstructionCall, operand: LocalValue | undefined, types: readonly string[]): void {
  if (operand !== undefined && !types.includes(dtypeOf(operand)))
    call.report('dtype', `${call.name} does not take ${dtypeOf(operand)}`);
}

const arithmetic = ['f16', 'f32', 'i16', 'i32'];
const floating = ['f16', 'f32'];

/** Operands of one type and a count: the last argument, or a mask, repeats and strides. */
const vector =
  (operands: number, types: readonly string[], scalars = 0): Check =>
  (call) => {
    const tensors = Array.from({ length: operands }, (_, i) => local(call, i));
    for (const tensor of tensors) takes(call, tensor, types);
    if (new Set(tensors.map((tensor) => tensor?.type)).size > 1)
      call.report('dtype', `${call.name} takes one type`);
    const first = operands + scalars;
    if (call.args.length === first + 1) {
      for (const tensor of tensors) extent(call, tensor, elements(range(call, first), tensor));
      return;
    }
    repeats(call, range(call, first), range(call, first + 1), tensors[0]);
    const strides = parameters(call, first + 2)?.items ?? [];
    tensors.forEach((tensor, i) => {
      strided(call, tensor, range(call, first), range(call, first + 1), strides[i], strides[operands + i]);
    });
  };

/** Blocks of 32 bytes that are `block` blocks apart within a repeat, and repeats that are `repeat` blocks apart. */
function strided(
  call: InstructionCall,
  operand: LocalValue | undefined,
  mask: Range,
  count: Range,
  block = one,
  repeat: Range = exactly(repeatBytes / 32),
): void {
  if (operand === undefined) return;
  const blocks = divide(elements(mask, operand), exactly(32), Math.ceil);
  const last = (number: Range, stride: Range): Range => multiply(subtract(number, one), stride);
  const steps = add(add(last(count, repeat), last(blocks, block)), one);
  extent(call, operand, multiply(steps, exactly(32)));
}

function repeats(call: InstructionCall, mask: Range, count: Range, operand: LocalValue | undefined): void {
  atMost(call, 'the number of repeats', count, mostRepeats);
  if (operand !== undefined) atMost(call, 'the mask', mask, repeatBytes / sizeOf(operand.type));
}

const reduction: Check = (call) => {
  takes(call, local(call, 0), floating);
  takes(call, local(call, 1), floating);
  extent(call, local(call, 0), elements(one, local(call, 0)));
  extent(call, local(call, 1), elements(range(call, 3), local(call, 1)));
};

/** Mask before repeats for whole reductions, behind them for reductions of blocks. */
const repeatReduction =
  (maskAt: number, repeatsAt: number): Check =>
  (call) => {
    takes(call, local(call, 0), floating);
    repeats(call, range(call, maskAt), range(call, repeatsAt), local(call, 1));
    extent(call, local(call, 1), exactly(0));
  };

/** Roundings of each pair of types by core layout: n NONE, i RINT, f FLOOR, c CEIL, r ROUND, t TRUNC, o ODD. */
const casts: Readonly<Record<string, { readonly split?: string; readonly fused?: string }>> = {
  'i8 f16': { split: 'n', fused: 'n' },
  'u8 f16': { split: 'n', fused: 'n' },
  'i4 f16': { split: 'n', fused: 'n' },
  'i16 f16': { split: 'nifcrt', fused: 'nifcrt' },
  'i16 f32': { split: 'n', fused: 'n' },
  'f16 i8': { split: 'nifcrt', fused: 'nfcrt' },
  'f16 u8': { split: 'nifcrt', fused: 'nfcrt' },
  'f16 i4': { split: 'nifcrt' },
  'f16 i16': { split: 'ifcrt', fused: 'ifcrt' },
  'f16 i32': { split: 'ifcrt', fused: 'ifcrt' },
  'f16 f32': { split: 'n', fused: 'n' },
  'bf16 f32': { split: 'n' },
  'bf16 i32': { split: 'ifcrt' },
  'i32 i16': { split: 'n' },
  'i32 i64': { split: 'n' },
  'i32 f32': { split: 'nifcrt', fused: 'n' },
  'i32 f16': { split: 'nifcrto', fused: 'nifcrto' },
  'f32 i16': { split: 'ifcrt' },
  'f32 i32': { split: 'ifcrt' },
  'f32 i64': { split: 'ifcrt' },
  'f32 bf16': { split: 'ifcrt' },
  'f32 f32': { split: 'ifcrt' },
  'f32 f16': { split: 'ifcrton', fused: 'on' },
  'i64 i32': { split: 'n' },
  'i64 f32': { split: 'ifcrt' },
};
const roundings: Readonly<Record<string, string>> = {
  CAST_NONE: 'n',
  CAST_RINT: 'i',
  CAST_FLOOR: 'f',
  CAST_CEIL: 'c',
  CAST_ROUND: 'r',
  CAST_TRUNC: 't',
  CAST_ODD: 'o',
};

const cast: Check = (call) => {
  const [to, from] = [local(call, 0), local(call, 1)];
  const mode = call.args[2];
  for (const tensor of [to, from]) extent(call, tensor, elements(range(call, 3), tensor));
  if (to === undefined || from === undefined) return;
  const pair = `${dtypeOf(from)} ${dtypeOf(to)}`;
  const rounding = mode?.kind === 'text' ? mode.text.replace(/^RoundMode::/, '') : '';
  const taken = casts[pair]?.[call.chip.layout] ?? '';
  if (!taken.includes(roundings[rounding] ?? '?'))
    call.report(
      'dtype',
      `${call.chip.name} does not cast ${dtypeOf(from)} to ${dtypeOf(to)} with ${rounding}`,
    );
};

/** One bit for each element of whole repeats. */
const compare =
  (tensors: number): Check =>
  (call) => {
    const count = range(call, call.args.length - 1);
    const source = local(call, 1);
    takes(call, source, floating);
    if (elements(count, source).multiple % repeatBytes !== 0)
      call.report('limit', `${call.name}: what is compared is a multiple of ${repeatBytes} bytes`);
    extent(call, local(call, 0), divide(count, exactly(8), Math.ceil));
    for (let i = 1; i <= tensors; i++) extent(call, local(call, i), elements(count, local(call, i)));
  };

const select: Check = (call) => {
  const count = range(call, 5);
  takes(call, local(call, 0), floating);
  extent(call, local(call, 1), divide(count, exactly(8), Math.ceil));
  for (const at of [0, 2, 3]) extent(call, local(call, at), elements(count, local(call, at)));
};

const moves =
  (types: readonly string[]): Check =>
  (call) => {
    takes(call, local(call, 0), types);
    const count = range(call, call.args.length - 1);
    extent(call, local(call, 0), elements(count, local(call, 0)));
  };

const words = ['f16', 'f32', 'bf16', 'i16', 'i32', 'u16', 'u32'];

const broadcast: Check = (call) => {
  takes(call, local(call, 0), words);
  const count = range(call, 2);
  atMost(call, 'the number of repeats', count, mostRepeats);
  extent(call, local(call, 1), elements(multiply(count, exactly(8)), local(call, 1)));
  extent(call, local(call, 0), multiply(count, exactly(256)));
};

const gather: Check = (call) => {
  takes(call, local(call, 0), words);
  extent(call, local(call, 0), elements(range(call, 4), local(call, 0)));
  extent(call, local(call, 2), elements(range(call, 4), local(call, 2)));
};

const mostPadBytes = 2_097_151;

function sameElements(call: InstructionCall, a: Value | undefined, b: Value | undefined): void {
  if ((a?.kind !== 'local' && a?.kind !== 'global') || (b?.kind !== 'local' && b?.kind !== 'global')) return;
  if (a.type !== b.type) call.report('dtype', `${call.name} copies ${b.type} to ${a.type}`);
}

/** `Load` and `Store` of the prelude: one block of any number of elements. */
const copyBlock =
  (localAt: number): Check =>
  (call) => {
    const tensor = local(call, localAt);
    const bytes = elements(range(call, 2), tensor);
    sameElements(call, call.args[0], call.args[1]);
    extent(call, tensor, bytes);
    atMost(call, 'a block of bytes', bytes, mostPadBytes);
  };

const copyRows =
  (localAt: number): Check =>
  (call) => {
    const tensor = local(call, localAt);
    const row = roundedUp(elements(range(call, 3), tensor), 32);
    sameElements(call, call.args[0], call.args[1]);
    extent(call, tensor, multiply(range(call, 2), row));
    atMost(call, 'the number of blocks', range(call, 2), mostExtent);
  };

/** `DataCopy` with Nd2NzParams, or of elements in whole blocks of 32 bytes. */
const copy: Check = (call) => {
  const [to, from] = call.args;
  sameElements(call, to, from);
  const params = parameters(call, 2);
  if (params?.type !== 'Nd2NzParams') {
    const tensor = local(call, 0) ?? local(call, 1);
    if (params !== undefined) return;
    const bytes = elements(range(call, 2), tensor);
    extent(call, tensor, bytes);
    if (bytes.multiple % 32 !== 0)
      call.report(
        'alignment',
        'DataCopy moves whole blocks of 32 bytes: what lies behind the last one is lost',
      );
    return;
  }
  const [matrices, rows, depth, , pitch, blockStride, rowStride] = params.items;
  const tensor = local(call, 0);
  if (tensor === undefined || rows === undefined || depth === undefined) return;
  atMost(call, 'the number of matrices', matrices ?? exactly(1), mostExtent);
  atMost(call, 'the number of rows', rows, 16384);
  atMost(call, 'the width', depth, 65535);
  atMost(call, 'the pitch', pitch ?? exactly(0), 65535);
  for (const stride of [blockStride, rowStride]) atMost(call, 'a stride', stride ?? exactly(1), 16384);
  const blocks = divide(depth, exactly(32 / sizeOf(tensor.type)), Math.ceil);
  const last = (count: Range, stride: Range | undefined): Range =>
    multiply(subtract(count, one), stride ?? one);
  const steps = add(last(blocks, blockStride ?? rows), add(last(rows, rowStride), one));
  extent(call, tensor, multiply(steps, exactly(32)));
};

const fractalBytes = 512;

const field = (params: ParameterValue | undefined, name: string, otherwise: number): Range => {
  const value = params?.fields.get(name);
  return typeof value === 'object' ? value : exactly(otherwise);
};

const loadFractals: Check = (call) => {
  const params = parameters(call, 2);
  const count = field(params, 'repeatTimes', 0);
  const to = local(call, 0);
  sameElements(call, call.args[0], call.args[1]);
  atMost(call, 'the number of repeats', count, mostRepeats);
  extent(call, to, multiply(count, exactly(fractalBytes)), fractalBytes);
  extent(call, local(call, 1), exactly(0));
  const transposes = params?.fields.get('ifTranspose');
  if (transposes === 'true' && to !== undefined && sizeOf(to.type) !== 2)
    call.report('dtype', 'LoadData transposes elements of 16 bits only');
};

const products: Readonly<Record<string, { readonly split?: string; readonly fused?: string }>> = {
  i8: { split: 'i32', fused: 'i32' },
  f16: { split: 'f32', fused: 'f32' },
  bf16: { split: 'f32' },
  f32: { split: 'f32' },
};

const multiplyMatrices: Check = (call) => {
  const [c, a, b] = [local(call, 0), local(call, 1), local(call, 2)];
  const params = parameters(call, call.args.length - 1);
  if (c === undefined || a === undefined || b === undefined) return;
  const [m, n, k] = ['m', 'n', 'k'].map((name) => field(params, name, 0)) as [Range, Range, Range];
  for (const [name, value] of [
    ['m', m],
    ['n', n],
    ['k', k],
  ] as const)
    atMost(call, name, value, mostExtent);
  if (m.least === 1 && call.chip.layout === 'split')
    call.report('limit', 'Mmad with m = 1 reads plain rows: m is 2 or more');
  const wanted = products[dtypeOf(a)]?.[call.chip.layout];
  if (a.type !== b.type || wanted !== dtypeOf(c))
    call.report(
      'dtype',
      `${call.chip.name} does not multiply ${dtypeOf(a)} and ${dtypeOf(b)} into ${dtypeOf(c)}`,
    );
  const depth = roundedUp(multiply(k, exactly(sizeOf(a.type))), 32);
  extent(call, a, multiply(roundedUp(m, 16), depth), fractalBytes);
  extent(call, b, multiply(roundedUp(n, 16), depth), fractalBytes);
  extent(call, c, multiply(multiply(roundedUp(m, 16), roundedUp(n, 16)), exactly(4)), alignmentOf.L0C);
};

/** Modes of quantization by source and target. */
const fixpipeModes: Readonly<Record<string, readonly string[]>> = {
  'f32 f32': ['NoQuant'],
  'i32 i32': ['NoQuant'],
  'f32 f16': ['F322F16'],
  'f32 bf16': ['F322BF16'],
  'i32 f16': ['DEQF16', 'VDEQF16'],
  'i32 i8': ['REQ8', 'VREQ8'],
  'f32 i8': ['QF322B8_PRE', 'VQF322B8_PRE'],
};

const fixpipe: Check = (call) => {
  const to = call.args[0];
  const from = local(call, 1);
  const params = parameters(call, call.args.length - 1);
  if (!call.chip.hasFixpipe) call.report('chip', `${call.chip.name} has no Fixpipe`);
  if (to?.kind !== 'global' || from === undefined) return;
  const pair = `${dtypeOf(from)} ${dtypeOf(to)}`;
  const mode = params?.fields.get('quantPre');
  const name = typeof mode === 'string' ? mode : 'NoQuant';
  if (!(fixpipeModes[pair] ?? []).includes(name))
    call.report('dtype', `Fixpipe from ${dtypeOf(from)} to ${dtypeOf(to)} does not take ${name}`);
  const [n, m, pitch] = ['nSize', 'mSize', 'srcStride'].map((f) => field(params, f, 0)) as [
    Range,
    Range,
    Range,
  ];
  atMost(call, 'nSize', n, mostExtent);
  atMost(call, 'mSize', m, 8192);
  if (pitch.multiple % 16 !== 0) call.report('limit', 'Fixpipe: srcStride is a multiple of 16');
  extent(call, from, multiply(multiply(roundedUp(n, 16), pitch), exactly(4)), 64);
};

export const instructions: Readonly<Record<string, Check>> = {
  ...Object.fromEntries(
    ['Exp', 'Ln', 'Abs', 'Sqrt', 'Rsqrt', 'Reciprocal'].map((name) => [name, vector(2, floating)]),
  ),
  Relu: vector(2, ['f16', 'f32', 'i32']),
  ...Object.fromEntries(['Add', 'Sub', 'Mul', 'Max', 'Min'].map((name) => [name, vector(3, arithmetic)])),
  Div: vector(3, floating),
  MulAddDst: vector(3, floating),
  And: vector(3, ['i16', 'u16']),
  Or: vector(3, ['i16', 'u16']),
  ...Object.fromEntries(['Adds', 'Muls', 'Maxs', 'Mins'].map((name) => [name, vector(2, arithmetic, 1)])),
  Axpy: (call) => {
    for (const at of [0, 1]) {
      takes(call, local(call, at), floating);
      extent(call, local(call, at), elements(range(call, 3), local(call, at)));
    }
  },
  ReduceSum: reduction,
  ReduceMax: reduction,
  ReduceMin: reduction,
  WholeReduceSum: repeatReduction(2, 3),
  WholeReduceMax: repeatReduction(2, 3),
  BlockReduceSum: repeatReduction(3, 2),
  Cast: cast,
  CompareScalar: compare(1),
  Compare: compare(2),
  Select: select,
  Duplicate: moves(words),
  CreateVecIndex: moves(arithmetic),
  Brcb: broadcast,
  Gather: gather,
  Load: copyBlock(0),
  Store: copyBlock(1),
  LoadRows: copyRows(0),
  StoreRows: copyRows(1),
  StoreStrided: (call) => extent(call, local(call, 1), elements(range(call, 2), local(call, 1))),
  ExpOfDifference: (call) => {
    for (const at of [0, 1]) extent(call, local(call, at), elements(range(call, 3), local(call, at)));
    extent(call, local(call, 2), elements(one, local(call, 2)));
  },
  DataCopy: copy,
  LoadData: loadFractals,
  Mmad: multiplyMatrices,
  Fixpipe: fixpipe,
};
