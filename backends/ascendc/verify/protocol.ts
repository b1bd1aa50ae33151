/** How many tensors of each queue and flags of each event are under way, and what calls do to them. */

/** Tensors of a queue between its calls. */
interface QueueState {
  allocated: number;
  queued: number;
  taken: number;
}

export interface ProtocolState {
  readonly queues: Map<string, QueueState>;
  /** Flags that are set, by event. */
  readonly flags: Map<string, number>;
}

export const nothingUnderWay = (): ProtocolState => ({ queues: new Map(), flags: new Map() });

export const copied = (state: ProtocolState): ProtocolState => ({
  queues: new Map([...state.queues].map(([name, queue]) => [name, { ...queue }])),
  flags: new Map(state.flags),
});

function queueIn(state: ProtocolState, name: string): QueueState {
  const known = state.queues.get(name);
  if (known !== undefined) return known;
  const fresh = { allocated: 0, queued: 0, taken: 0 };
  state.queues.set(name, fresh);
  return fresh;
}

/** What is wrong with a call on a queue, or nothing; the state is as after the call. */
export function queueStep(
  state: ProtocolState,
  name: string,
  method: string,
  buffers: number,
): string | undefined {
  const queue = queueIn(state, name);
  /** Moves a tensor, which has to be there. */
  const move = (from: 'allocated' | 'queued' | 'taken', to: 'queued' | 'taken' | undefined): boolean => {
    const isThere = queue[from] > 0;
    if (isThere) queue[from] -= 1;
    if (to !== undefined) queue[to] += 1;
    return isThere;
  };
  switch (method) {
    case 'AllocTensor':
      queue.allocated += 1;
      return queue.allocated + queue.queued + queue.taken > buffers
        ? 'more tensors are allocated than it has buffers'
        : undefined;
    case 'EnQue':
      return move('allocated', 'queued') ? undefined : 'EnQue without AllocTensor';
    case 'DeQue':
      return move('queued', 'taken') ? undefined : 'DeQue without EnQue';
    case 'FreeTensor':
      return move('taken', undefined) ? undefined : 'FreeTensor without DeQue';
    default:
      return undefined;
  }
}

export function flagStep(
  state: ProtocolState,
  kind: 'SetFlag' | 'WaitFlag',
  event: string,
): string | undefined {
  const count = state.flags.get(event) ?? 0;
  state.flags.set(event, kind === 'SetFlag' ? count + 1 : Math.max(0, count - 1));
  return kind === 'WaitFlag' && count === 0 ? 'WaitFlag without SetFlag' : undefined;
}

/** What differs between two states that should be the same. */
export function imbalances(a: ProtocolState, b: ProtocolState, what: string): string[] {
  const queues = [...new Set([...a.queues.keys(), ...b.queues.keys()])].filter((name) => {
    const [x, y] = [queueIn(a, name), queueIn(b, name)];
    return x.allocated !== y.allocated || x.queued !== y.queued || x.taken !== y.taken;
  });
  const flags = [...new Set([...a.flags.keys(), ...b.flags.keys()])].filter(
    (event) => (a.flags.get(event) ?? 0) !== (b.flags.get(event) ?? 0),
  );
  return [
    ...queues.map((name) => `${name}: ${what} does not leave the queue as it was`),
    ...flags.map((event) => `${event}: ${what} does not set as many flags as it waits for`),
  ];
}

/** What is still under way at the end of a kernel. */
export function leftovers({ queues, flags }: ProtocolState): string[] {
  const said = {
    allocated: 'a tensor is allocated and not enqueued',
    queued: 'a tensor is left in the queue',
    taken: 'a tensor is not freed',
  } as const;
  const tensors = [...queues].flatMap(([name, queue]) =>
    (['allocated', 'queued', 'taken'] as const).flatMap((where) =>
      queue[where] > 0 ? [`${name}: ${said[where]} at the end`] : [],
    ),
  );
  const set = [...flags].flatMap(([event, count]) =>
    count > 0 ? [`${event}: a flag is set and not waited for at the end`] : [],
  );
  return [...tensors, ...set];
}
