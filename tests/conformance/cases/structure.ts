/**
 * Cases of the structural ops. An op of these has no meaning alone, so each case is a small module and the calls that
 * a backend makes on it, one after the other with the states kept between them.
 */
import { FuncBuilder, moduleScope } from '../../../ir/builder.js';
import { dim } from '../../../ir/dim.js';
import { emptyModule, type Func, type Module, type Param } from '../../../ir/module.js';
import { encodeBytes } from '../../../ir/numeric.js';
import type { OpName } from '../../../ir/ops/table.js';
import type { Recipe } from '../../../ir/recipe.js';
import { scalar, type Tensor, tensor } from '../../../ir/tensor.js';
import { scalarType, type TensorType, tensorType } from '../../../ir/type.js';

export interface ModuleCall {
  readonly entry: string;
  readonly inputs: Readonly<Record<string, Tensor>>;
  /** Exact values of the outputs, found by hand. */
  readonly wanted: Readonly<Record<string, readonly number[]>>;
}

export interface ModuleCase {
  readonly name: string;
  /** The structural ops that it is about. */
  readonly ops: readonly OpName[];
  readonly module: Module;
  readonly calls: readonly ModuleCall[];
}

function withFunction(module: Module, func: Func): Module {
  return { ...module, functions: new Map([...module.functions, [func.name, func]]) };
}

function constants(type: TensorType, ...parts: readonly (readonly number[])[]): Recipe {
  const recipes = parts.map(
    (values): Recipe => ({ kind: 'constant', type, bytes: encodeBytes(type.dtype, values) }),
  );
  return parts.length === 1 ? (recipes[0] as Recipe) : { kind: 'per_index', parts: recipes };
}

const pair = tensorType('f32', [2]);
const x = (...values: readonly number[]) => ({ x: tensor('f32', [values.length], values) });

/** y = x * w, with w stored as bf16 and read through a cast. */
function paramCase(): ModuleCase {
  const stored = tensorType('bf16', [2]);
  const base = {
    ...emptyModule('param'),
    params: new Map<string, Param>([['w', { type: stored, recipe: constants(stored, [1.5, -2]) }]]),
  };
  const b = new FuncBuilder('main', moduleScope(base), { outputs: ['y'] });
  const input = b.arg(pair, 'x');
  const w = b.one('cast', [b.one('param', [], { name: 'w' })], { dtype: 'f32' });
  const func = b.finish([b.one('mul', [input, w])]);
  return {
    name: 'parameter',
    ops: ['param'],
    module: withFunction(base, func),
    calls: [{ entry: 'main', inputs: x(2, 3), wanted: { y: [3, -6] } }],
  };
}

/** `total` grows by x in each call; the entry returns the total before and after. */
function stateCase(): ModuleCase {
  const base = { ...emptyModule('state'), states: new Map([['total', { type: pair }]]) };
  const b = new FuncBuilder('main', moduleScope(base), { outputs: ['before', 'after'] });
  const input = b.arg(pair, 'x');
  const before = b.one('state_read', [], { name: 'total' });
  const after = b.one('add', [before, input]);
  b.emit('state_write', [after], { name: 'total' });
  const func = b.finish([before, after]);
  return {
    name: 'state over three calls',
    ops: ['state_read', 'state_write'],
    module: withFunction(base, func),
    calls: [
      { entry: 'main', inputs: x(1, 2), wanted: { before: [0, 0], after: [1, 2] } },
      { entry: 'main', inputs: x(10, 20), wanted: { before: [1, 2], after: [11, 22] } },
      { entry: 'main', inputs: x(0, -2), wanted: { before: [11, 22], after: [11, 20] } },
    ],
  };
}

/** Each of three layers computes h * gain + bias + seen, with its own gain and its own count of calls, `seen`. */
function repeatCase(): ModuleCase {
  const base: Module = {
    ...emptyModule('repeat'),
    dims: new Map([['layers', { value: 3 }]]),
    loops: new Map([['layer', { count: dim('layers'), indices: [0, 1, 2] }]]),
    params: new Map([
      ['gain', { type: pair, loop: 'layer', recipe: constants(pair, [1, 2], [3, 4], [5, 6]) }],
    ]),
    states: new Map([['seen', { type: scalarType('f32'), loop: 'layer' }]]),
  };
  const layer = new FuncBuilder('layer', moduleScope(base, 'layer'), { loop: 'layer' });
  const [h, bias] = [layer.arg(pair, 'h'), layer.arg(pair, 'bias')];
  const seen = layer.one('state_read', [], { name: 'seen' });
  const scaled = layer.one('mul', [h, layer.one('param', [], { name: 'gain' })]);
  const sum = layer.one('add', [layer.one('add', [scaled, bias]), seen]);
  layer.emit('state_write', [layer.one('add', [seen, layer.one('full', [], { value: 1 })])], {
    name: 'seen',
  });
  const withLayer = withFunction(base, layer.finish([sum]));
  const b = new FuncBuilder('main', moduleScope(withLayer), { outputs: ['y'] });
  const args = [b.arg(pair, 'x'), b.arg(pair, 'bias')];
  const func = b.finish([b.one('repeat', args, { callee: 'layer', loop: 'layer', carried: 1 })]);
  const inputs = { ...x(1, 1), bias: tensor('f32', [2], [0, 1]) };
  return {
    name: 'three layers with their own weights and states',
    ops: ['repeat', 'param', 'state_read', 'state_write'],
    module: withFunction(withLayer, func),
    calls: [
      // x: 1 -> 1 -> 3 -> 15; 1 -> 3 -> 13 -> 79; the second call adds 1 after every layer.
      { entry: 'main', inputs, wanted: { y: [15, 79] } },
      { entry: 'main', inputs, wanted: { y: [36, 110] } },
    ],
  };
}

/** A loop of no turns returns its carried value. */
function emptyLoopCase(): ModuleCase {
  const base: Module = {
    ...emptyModule('empty_loop'),
    loops: new Map([['layer', { count: dim(0), indices: [] }]]),
  };
  const layer = new FuncBuilder('layer', moduleScope(base, 'layer'), { loop: 'layer' });
  const h = layer.arg(pair, 'h');
  const withLayer = withFunction(base, layer.finish([layer.one('add', [h, h])]));
  const b = new FuncBuilder('main', moduleScope(withLayer), { outputs: ['y'] });
  const repeated = b.one('repeat', [b.arg(pair, 'x')], { callee: 'layer', loop: 'layer', carried: 1 });
  return {
    name: 'loop of no turns',
    ops: ['repeat'],
    module: withFunction(withLayer, b.finish([repeated])),
    calls: [{ entry: 'main', inputs: x(4, 5), wanted: { y: [4, 5] } }],
  };
}

/** y = relu(x) + 1 in one pointwise kernel over a run-time number of rows. */
function kernelCase(): ModuleCase {
  const rows = tensorType('f32', ['T']);
  const base: Module = { ...emptyModule('kernel'), dims: new Map([['T', { min: 1, max: 8 }]]) };
  const k = new FuncBuilder('relu_add', moduleScope(base), { kernel: 'pointwise' });
  const [value, one] = [k.arg(rows, 'x'), k.arg(scalarType('f32'), 'one')];
  const kernel = k.finish([k.one('add', [k.one('relu', [value]), one])]);
  const withKernel = withFunction(base, kernel);
  const b = new FuncBuilder('main', moduleScope(withKernel), { outputs: ['y'] });
  const args = [b.arg(rows, 'x'), b.arg(scalarType('f32'), 'one')];
  const func = b.finish([b.one('kernel', args, { callee: 'relu_add' })]);
  const one1 = { one: scalar('f32', 1) };
  return {
    name: 'kernel over a run-time axis',
    ops: ['kernel'],
    module: withFunction(withKernel, func),
    calls: [
      { entry: 'main', inputs: { ...x(-2, 3, 0.5), ...one1 }, wanted: { y: [1, 4, 1.5] } },
      { entry: 'main', inputs: { ...x(7), ...one1 }, wanted: { y: [8] } },
    ],
  };
}

/** Two entries share a state: `push` appends rows to a cache, `read` returns it. */
function sharedStateCase(): ModuleCase {
  const base: Module = {
    ...emptyModule('shared_state'),
    dims: new Map([['T', { min: 1, max: 4 }]]),
    states: new Map([
      ['cache', { type: tensorType('f32', [4, 1]) }],
      ['position', { type: scalarType('i32') }],
    ]),
  };
  const push = new FuncBuilder('push', moduleScope(base), { outputs: ['position'] });
  const rows = push.arg(tensorType('f32', ['T', 1]), 'x');
  const [cache, position] = ['cache', 'position'].map((name) => push.one('state_read', [], { name }));
  if (cache === undefined || position === undefined) throw new Error('states exist');
  push.emit('state_write', [push.one('cache_append', [cache, rows, position])], { name: 'cache' });
  const next = push.one('add', [position, push.one('dim_size', [], { dim: dim('T') })]);
  push.emit('state_write', [next], { name: 'position' });
  const read = new FuncBuilder('read', moduleScope(base), { outputs: ['cache'] });
  const reader = read.finish([read.one('state_read', [], { name: 'cache' })]);
  const column = (...values: readonly number[]) => ({ x: tensor('f32', [values.length, 1], values) });
  return {
    name: 'two entries, one cache',
    ops: ['state_read', 'state_write'],
    module: withFunction(withFunction(base, push.finish([next])), reader),
    calls: [
      { entry: 'push', inputs: column(1, 2), wanted: { position: [2] } },
      { entry: 'push', inputs: column(3), wanted: { position: [3] } },
      { entry: 'read', inputs: {}, wanted: { cache: [1, 2, 3, 0] } },
    ],
  };
}

export const moduleCases: readonly ModuleCase[] = [
  paramCase(),
  stateCase(),
  repeatCase(),
  emptyLoopCase(),
  kernelCase(),
  sharedStateCase(),
];
