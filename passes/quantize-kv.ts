/**
 * quantize-kv: caches of keys and values in 8 bits, with a scale for each token and head (per-token quantization of
 * caches as in Atom, arXiv 2310.19102). A row is quantized when it is appended and never touched again, so that a token
 * costs the same at every position; attention reads the bytes.
 *
 *   c ← append(c, x)          q, s ← dynamic_quantize(x);  c ← append(c, q);  c.scale ← append(c.scale, s)
 *   attention(.., c, ..)      attention(.., dequantize(c, c.scale), ..)
 */
import { mapFunctions, rewriteFunc } from '../ir/builder.js';
import { fail } from '../ir/diagnostics.js';
import { type Dim, dim } from '../ir/dim.js';
import { defOf, type Module, modelDims, type Op, type State, type Value } from '../ir/module.js';
import { elementCount, evalShape, isFloat, storedBytes, tensorType } from '../ir/type.js';
import { dce } from './dce.js';
import { definePass, option, type PassResult } from './pass.js';
import { turnsOf } from './recipes.js';
import { Uses } from './structure.js';

const options = {
  asymmetric: option('bool', 'rows have zero points as well, one byte each', false),
};

export const quantizeKv = definePass({
  name: 'quantize-kv',
  kind: 'approximate',
  summary: 'Keeps the keys and values of attention in 8 bits, with a scale for each token and head.',
  options,
  run: (module, { asymmetric }) => quantizeCaches(module, asymmetric),
});

function quantizeCaches(module: Module, asymmetric: boolean): PassResult {
  const { caches, skipped } = findCaches(module);
  if (caches.size === 0)
    fail('HEW6010', 'the model has no cache of floats that attention alone reads', { notes: skipped });
  const columns = (cache: string): readonly string[] => [
    cache,
    `${cache}.scale`,
    ...(asymmetric ? [`${cache}.zero_point`] : []),
  ];
  const states = new Map<string, State>();
  for (const [name, state] of module.states) {
    if (!caches.has(name)) {
      states.set(name, state);
      continue;
    }
    const { shape } = state.type;
    const rows: readonly Dim[] = [...shape.slice(0, -1), dim(1)];
    const types = [tensorType('i8', shape), tensorType('f32', rows), tensorType('i8', rows)];
    columns(name).forEach((column, i) => {
      states.set(column, { ...state, type: types[i] as State['type'] });
    });
  }
  const changed = mapFunctions({ ...module, states }, (func, scope) => {
    if (!func.body.some((op) => op.name === 'state_read' && caches.has(op.attrs.name))) return func;
    const appended = new Map<Value, readonly Value[]>();
    return rewriteFunc(func, scope, (op, operands, b) => {
      if (op.name === 'state_read' && caches.has(op.attrs.name)) return [b.one('state_read', [], op.attrs)];
      const cache = op.name === 'cache_append' ? stateRead(op.operands[0] as Value) : undefined;
      if (cache !== undefined && caches.has(cache)) {
        const [, x, position] = operands as [Value, Value, Value];
        const rows = b.emit('dynamic_quantize', [x], { dtype: 'i8', symmetric: !asymmetric });
        const after = columns(cache).map((name, i) =>
          b.one('cache_append', [b.one('state_read', [], { name }), rows[i] as Value, position]),
        );
        const wide = b.one('dequantize', after);
        appended.set(wide, after);
        return [wide];
      }
      if (op.name !== 'state_write' || !caches.has(op.attrs.name)) return undefined;
      const after = appended.get(operands[0] as Value) as readonly Value[];
      columns(op.attrs.name).forEach((name, i) => {
        b.emit('state_write', [after[i] as Value], { name });
      });
      return [];
    });
  });
  const result = dce.run(changed, {}).module;
  const [before, after] = [stateBytes(module), stateBytes(result)];
  return {
    module: result,
    report: {
      counts: { caches: caches.size, skipped: skipped.length },
      notes: [
        `states of ${before} bytes became ${after}, ${(after / before).toFixed(3)} of them`,
        ...skipped.map((reason) => `left alone: ${reason}`),
      ],
      details: { bytes: { before, after } },
    },
  };
}

/** Name of the state that a value is read from. */
function stateRead(value: Value): string | undefined {
  const op = defOf(value);
  return op?.name === 'state_read' ? op.attrs.name : undefined;
}

/** States of floats that are appended to, and whose rows attention alone reads; and why others are none. */
function findCaches(module: Module): {
  readonly caches: ReadonlySet<string>;
  readonly skipped: readonly string[];
} {
  const read = new Set<string>();
  const problems = new Map<string, string>();
  for (const func of module.functions.values()) {
    const uses = new Uses(func);
    for (const op of func.body) {
      if (op.name !== 'state_read' && op.name !== 'state_write') continue;
      const { name } = op.attrs;
      const { dtype, shape } = (module.states.get(name) as State).type;
      if (!isFloat(dtype) || shape.length < 2) continue;
      const append =
        op.name === 'state_read' ? uses.sole(op.results[0] as Value) : defOf(op.operands[0] as Value);
      if (append?.name !== 'cache_append' || stateRead(append.operands[0] as Value) !== name) {
        problems.set(name, `${append?.name ?? 'something else'} uses it`);
        continue;
      }
      const [cache] = append.results as [Value];
      const other = uses.of(cache).find((reader) => !isReader(reader, cache, name));
      if (other !== undefined || func.results.includes(cache))
        problems.set(name, `${other?.name ?? 'the caller'} reads it`);
      read.add(name);
    }
  }
  return {
    caches: new Set([...read].filter((name) => !problems.has(name))),
    skipped: [...problems].map(([name, problem]) => `${name}: ${problem}`),
  };
}

function isReader(op: Op, cache: Value, state: string): boolean {
  if (op.name === 'state_write') return op.attrs.name === state;
  return (
    op.name === 'attention' && op.operands.every((operand, i) => operand !== cache || i === 1 || i === 2)
  );
}

function stateBytes(module: Module): number {
  const dims = modelDims(module);
  return [...module.states.values()].reduce((sum, { type, loop }) => {
    const turns = turnsOf(module, loop)?.length ?? 1;
    return sum + turns * storedBytes(type.dtype, elementCount(evalShape(type.shape, dims)));
  }, 0);
}
