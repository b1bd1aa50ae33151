import { availableParallelism } from 'node:os';

/** Starts all tasks, as many at a time as there are processors. */
export function started<T>(tasks: readonly (() => Promise<T>)[]): Promise<T>[] {
  const count = availableParallelism();
  const free = Array.from({ length: count }, () => Promise.resolve());
  return tasks.map((task, i) => {
    const made = (free[i % count] as Promise<void>).then(task);
    const done = (): void => {};
    free[i % count] = made.then(done, done);
    return made;
  });
}
