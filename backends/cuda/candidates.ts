/** What `hew tune` measures: the shapes that the kernels of a model ask parameters for, and a module for each of them. */
import type { Module } from '../../ir/module.js';
import { type CudaModule, emitCuda } from './compile.js';
import { type Isolated, isolate } from './isolate.js';
import {
  choicesOf,
  type KindName,
  type ParametersOf,
  type Request,
  requestKey,
  type Tuning,
} from './tuning.js';

/** All that emitters ask for while a lowered module is emitted, where there is anything to choose. */
export function requestsOf(module: Module): Request[] {
  const asked = new Map<string, Request>();
  const record = (request: Request): undefined => {
    const key = `${requestKey(request.kind, request.shape)} @${request.func.name}`;
    asked.set(key, request);
  };
  emitCuda(module, { tuning: record });
  return [...asked.values()].filter(({ kind, shape }) => choicesOf(kind, shape).length > 1);
}

export interface Candidates<K extends KindName = KindName> extends Isolated {
  /** The parameters of each copy; the first are the default. */
  readonly choices: readonly ParametersOf<K>[];
  readonly cuda: CudaModule;
}

/** The kernel of a request in all ways that it may be run; what else it asks for is as `others` says. */
export function candidatesOf<K extends KindName>(
  module: Module,
  request: Request<K>,
  others: Tuning,
): Candidates<K> {
  const { kind, shape, func } = request;
  const choices = choicesOf(kind, shape);
  const isolated = isolate(module, func, choices.length);
  const key = requestKey(kind, shape);
  const own = new Map(isolated.copies.map(({ kernel }, i) => [kernel, choices[i]]));
  const tuning: Tuning = (asked) =>
    requestKey(asked.kind, asked.shape) === key
      ? (own.get(asked.func.name) as ParametersOf<typeof asked.kind> | undefined)
      : others(asked);
  return { ...isolated, choices, cuda: emitCuda(isolated.module, { tuning }) };
}
