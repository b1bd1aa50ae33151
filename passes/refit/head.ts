/** Refitting the head: the linear layer that reads the norm behind the last turn. */
import { mapFunctions, rewriteFunc } from '../../ir/builder.js';
import { defOf, type Func, type Module, type Param, type Value } from '../../ir/module.js';
import { paramOf } from '../structure.js';
import type { Settings } from './problem.js';
import { refitReaders } from './readers.js';
import { type Place, streamEnds } from './segment.js';
import type { Carried } from './stream.js';
import { type Layer, readersOf } from './sublayers.js';

/** The place with the head solved, or undefined when there is none. A head that is also the embedding is untied. */
export async function refitHead(
  own: Behind,
  original: Behind,
  settings: Settings,
): Promise<Place | undefined> {
  const [ownHead, head] = [headOf(own.place), headOf(original.place)];
  if (ownHead === undefined || head === undefined) return undefined;
  const reader = { layer: ownHead.layer, original: head.layer.weight };
  const solved = await refitReaders({ ...own, ...ownHead }, { ...original, ...head }, [reader], settings);
  if (solved === own.place) return undefined;
  const { weight } = ownHead.layer;
  return {
    ...own.place,
    module: untied(own.place.module, weight, solved.module.params.get(weight) as Param),
  };
}

/** A model and its stream behind the last turn. */
interface Behind {
  readonly place: Place;
  readonly stream: Carried;
}

function headOf(place: Place): { before: Value; value: Value; layer: Layer } | undefined {
  const { last } = streamEnds(place);
  for (const [value, [layer]] of readersOf(place.entry, last))
    if (layer !== undefined) return { before: last, value, layer };
  return undefined;
}

/** The module whose linear layers read `head` where they read `weight`; a new parameter when others read it too. */
function untied(module: Module, weight: string, head: Param): Module {
  if (![...module.functions.values()].some((func) => hasOtherReaders(func, weight))) {
    return { ...module, params: new Map(module.params).set(weight, head) };
  }
  const name = freeName(module, 'lm_head.weight');
  const params = new Map(module.params).set(name, head);
  return mapFunctions({ ...module, params }, (func, scope) =>
    rewriteFunc(func, scope, (op, operands, b) => {
      if (op.name !== 'linear' || paramOf(op.operands[1]) !== weight) return undefined;
      const raw = b.one('param', [], { name });
      const { dtype } = (operands[1] as Value).type;
      const matrix = raw.type.dtype === dtype ? raw : b.one('cast', [raw], { dtype });
      return b.emit('linear', [operands[0] as Value, matrix, ...operands.slice(2)], op.attrs);
    }),
  );
}

/** Whether anything but a linear layer's weight operand is the parameter. */
function hasOtherReaders(func: Func, weight: string): boolean {
  return func.body.some(
    (op) =>
      op.name !== 'cast' &&
      op.operands.some(
        (value, i) =>
          paramOf(value) === weight && defOf(value)?.name !== 'linear' && !(op.name === 'linear' && i === 1),
      ),
  );
}

function freeName(module: Module, wanted: string): string {
  let name = wanted;
  while (module.params.has(name)) name += '.refit';
  return name;
}
