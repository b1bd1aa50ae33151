/**
 * What quantization does to routers: they stay in float, but their inputs change, and small changes of logits can choose
 * other experts. The logits of both models on the same tokens are kept in caches and compared.
 */
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { type Dim, dim, evalDim, nameOf } from '../../ir/dim.js';
import {
  dimRange,
  type Func,
  type Module,
  modelDims,
  type OpOf,
  type State,
  type Value,
} from '../../ir/module.js';
import { chooseExperts } from '../../ir/ops/experts.js';
import { dce } from '../dce.js';
import type { DataArray, DataCalls, PassData, RunnableModule } from '../pass.js';
import { projectionMaking, reachableFunctions } from '../structure.js';

/** Calls that are compared; routing is a matter of percents. */
const callsCompared = 8;

export interface RoutingChange {
  readonly router: string;
  /** Share of tokens, over all turns, that choose the same experts. */
  readonly same: number;
  /** ‖l' - l‖ / ‖l‖ of the logits. */
  readonly error: number;
}

type Route = OpOf<'moe_route'>;

interface RoutedModule {
  readonly module: Module;
  readonly routers: readonly { readonly state: string; readonly name: string; readonly route: Route }[];
}

/** None for models without routers. */
export async function routingChanges(
  before: Module,
  after: Module,
  data: PassData,
): Promise<RoutingChange[]> {
  const { entry, calls } = data.calibration;
  const [original, changed] = [before, after].map((module) => routedModule(module, entry));
  if (original === undefined || changed === undefined || original.routers.length === 0) return [];
  const models = [await data.load(original.module), await data.load(changed.module)] as const;
  const comparisons = original.routers.map(
    ({ route: { operands, attrs } }) =>
      new Comparison(evalDim((operands[0] as Value).type.shape.at(-1) as Dim, modelDims(before)), attrs),
  );
  for (const call of calls.slice(0, callsCompared)) {
    for (const model of models) runOnce(model, entry, call);
    original.routers.forEach(({ state }, i) => {
      const [a, b] = models.map((model) => model.state(state).read()) as [DataArray, DataArray];
      comparisons[i]?.add(a, b);
    });
  }
  return original.routers.map(({ name }, i) => ({
    router: name,
    ...(comparisons[i] as Comparison).result(),
  }));
}

function runOnce(model: RunnableModule, entry: string, { inputs }: DataCalls['calls'][number]): void {
  model.reset();
  model.run(entry, inputs, { outputs: [] });
}

/** The part of a module that makes the logits of its routers, which it keeps in states [most tokens, experts]. */
function routedModule(module: Module, entry: string): RoutedModule {
  const func = module.functions.get(entry) as Func;
  const reached = reachableFunctions(module, func);
  const states = new Map(module.states);
  const routers: RoutedModule['routers'][number][] = [];
  const functions = [...module.functions.values()].flatMap((own): Func[] => {
    if (!reached.has(own.name)) return [];
    const routes = own.body.filter((op) => op.name === 'moe_route');
    const kept = own.name === entry ? { ...own, results: [], outputs: [] } : own;
    if (routes.length === 0) return [kept];
    const added = routes.map((route): [string, Route] => {
      const state = `routing.${routers.length}`;
      const [logits] = route.operands as [Value];
      states.set(state, { type: { dtype: 'f32', shape: largest(module, logits) }, loop: own.loop });
      routers.push({ state, route, name: projectionMaking(logits)?.weight ?? own.name });
      return [state, route];
    });
    const builder = new FuncBuilder(own.name, moduleScope({ ...module, states }, own.loop));
    for (const [state, { operands }] of added) {
      const start = builder.one('full', [], { value: 0, dtype: 'i32' });
      const cache = builder.one('state_read', [], { name: state });
      const [logits] = operands as [Value];
      builder.emit('state_write', [builder.one('cache_append', [cache, logits, start])], { name: state });
    }
    return [{ ...kept, body: [...own.body, ...builder.body] }];
  });
  const whole = { ...module, states, functions: new Map(functions.map((f) => [f.name, f])) };
  return { module: dce.run(whole, {}).module, routers };
}

/** The shape of a value for the greatest run-time symbols. */
function largest(module: Module, { type }: Value): State['type']['shape'] {
  const dims = modelDims(module);
  return type.shape.map((size: Dim) => {
    const name = nameOf(size);
    return name === undefined || dims.has(name) ? size : dim(dimRange(module, name).max);
  });
}

/** Rows of logits of two models, of all turns. Rows that no token reached are zeros in both, and left out. */
class Comparison {
  private rows = 0;
  private same = 0;
  private difference = 0;
  private magnitude = 0;

  constructor(
    private readonly experts: number,
    private readonly attrs: Route['attrs'],
  ) {}

  add(before: DataArray, after: DataArray): void {
    const { experts, attrs } = this;
    const [a, b] = [Float64Array.from(before as Float32Array), Float64Array.from(after as Float32Array)];
    for (let at = 0; at < a.length; at += experts) {
      const [x, y] = [a.subarray(at, at + experts), b.subarray(at, at + experts)];
      if (x.every((value) => value === 0)) continue;
      const [chosen, now] = [x, y].map((row) => chooseExperts(row, attrs).toSorted((i, j) => i - j));
      this.rows += 1;
      this.same += String(chosen) === String(now) ? 1 : 0;
      x.forEach((value, i) => {
        this.difference += ((y[i] as number) - value) ** 2;
        this.magnitude += value ** 2;
      });
    }
  }

  result(): Pick<RoutingChange, 'same' | 'error'> {
    return {
      same: this.same / Math.max(this.rows, 1),
      error: Math.sqrt(this.difference / Math.max(this.magnitude, Number.MIN_VALUE)),
    };
  }
}
