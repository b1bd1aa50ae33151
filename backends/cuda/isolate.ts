/**
 * A kernel alone, several times, as a module that can be measured: every copy has an entry of its own, which launches it over
 * several sets of operands one after the other, so that the cache does not hold what a model would have to read.
 */
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { constantOf, evalDim, productOfDims } from '../../ir/dim.js';
import {
  defOf,
  dimRange,
  type Func,
  type Module,
  modelDims,
  type Param,
  type State,
  type Value,
  withFunctions,
} from '../../ir/module.js';
import { sourceRecipe } from '../../ir/recipe.js';
import { storedBytes, type TensorType } from '../../ir/type.js';
import { resolver } from '../kernel-function.js';
import { constantArguments } from './constant-arguments.js';

export interface Isolated {
  readonly module: Module;
  /** How often an entry launches the kernel. */
  readonly launches: number;
  /** By copy: its entry, and the name of its function. */
  readonly copies: readonly { readonly entry: string; readonly kernel: string }[];
  /** The output of the first launch of every result; the others only keep their launches needed. */
  readonly checked: readonly string[];
}

/** What a GPU's cache cannot hold by far; fewer sets do for operands that are large. */
const rotatedBytes = 2 ** 28;
const mostBytes = 2 ** 33;
const mostSets = 16;
/** A mask of outputs has so many bits. */
const mostOutputs = 30;

/** How an entry provides an argument: weights are parameters, caches are states, the rest are inputs that all sets share. */
type Role = 'parameter' | 'state' | 'input';

export function isolate(module: Module, func: Func, count: number): Isolated {
  const constant = constantArguments(module).get(func.name) ?? new Set<number>();
  const resolve = resolver(modelDims(module));
  const isFixed = ({ shape }: TensorType): boolean =>
    shape.every((d) => constantOf(resolve(d)) !== undefined);
  const appended = new Map(
    func.results.flatMap((result, i) => cacheOf(func, result).map((cache) => [cache, i])),
  );
  const roles = func.args.map((arg, i): Role => {
    if (appended.has(arg) && isFixed(arg.type)) return 'state';
    const { dtype } = arg.type;
    return constant.has(i) && isFixed(arg.type) && dtype !== 'i32' && dtype !== 'i64' ? 'parameter' : 'input';
  });
  const returned = func.results.flatMap((_, i) => (returnsState(i) ? [] : [i]));
  function returnsState(result: number): boolean {
    return func.args.some((arg, i) => roles[i] === 'state' && appended.get(arg) === result);
  }

  const bytes = (types: readonly TensorType[]): number =>
    types.reduce((sum, type) => sum + mostBytesOf(module, type), 0);
  const own = bytes(func.args.filter((_, i) => roles[i] !== 'input').map(({ type }) => type));
  const results = bytes(returned.map((i) => (func.results[i] as Value).type));
  const useful = Math.max(2, Math.ceil(rotatedBytes / Math.max(own, 1)));
  const affordable = Math.max(1, Math.floor(mostBytes / Math.max(1, own + count * results)));
  const launches = Math.min(
    useful,
    affordable,
    mostSets,
    Math.floor(mostOutputs / Math.max(1, returned.length)),
  );

  const sets = Array.from({ length: launches }, (_, set) => set);
  const copies = Array.from({ length: count }, (_, i) => ({
    entry: `candidate_${i}`,
    kernel: `kernel_${i}`,
  }));
  const kernels = copies.map(({ kernel }) => ({ ...func, name: kernel }));
  const named = <T>(role: Role, make: (type: TensorType, name: string) => T): [string, T][] =>
    func.args.flatMap(({ type }, i) =>
      roles[i] === role ? sets.map((set): [string, T] => [`a${i}.${set}`, make(type, `a${i}.${set}`)]) : [],
    );
  const base: Module = {
    ...withFunctions(module, kernels),
    loops: new Map(),
    params: new Map(named('parameter', (type, name): Param => ({ type, recipe: sourceRecipe(name, type) }))),
    states: new Map(named('state', (type): State => ({ type }))),
  };
  const outputs = sets.flatMap((set) => returned.map((i) => `r${i}.${set}`));
  const entries = copies.map(({ entry, kernel }) => {
    const builder = new FuncBuilder(entry, moduleScope(base), { outputs });
    const inputs = func.args.map(({ type }, i) =>
      roles[i] === 'input' ? builder.arg(type, `a${i}`) : undefined,
    );
    const made = sets.flatMap((set) => {
      const operands = func.args.map((_, i) => {
        const name = `a${i}.${set}`;
        return inputs[i] ?? builder.one(roles[i] === 'state' ? 'state_read' : 'param', [], { name });
      });
      const values = builder.emit('kernel', operands, { callee: kernel });
      func.args.forEach((arg, i) => {
        if (roles[i] !== 'state') return;
        builder.emit('state_write', [values[appended.get(arg) as number] as Value], { name: `a${i}.${set}` });
      });
      return returned.map((i) => values[i] as Value);
    });
    return builder.finish(made);
  });
  return {
    module: withFunctions(base, [...kernels, ...entries]),
    launches,
    copies,
    checked: returned.map((i) => `r${i}.0`),
  };
}

/** The argument that a result is the appended form of. */
function cacheOf({ args }: Func, result: Value): readonly Value[] {
  const op = defOf(result);
  const cache = op?.name === 'cache_append' ? op.operands[0] : undefined;
  return cache !== undefined && args.includes(cache) ? [cache] : [];
}

/** For the greatest values of the run-time symbols. */
function mostBytesOf(module: Module, { shape, dtype }: TensorType): number {
  const most = new Map([...module.dims.keys()].map((name) => [name, dimRange(module, name).max]));
  return storedBytes(dtype, evalDim(productOfDims(shape), most));
}
