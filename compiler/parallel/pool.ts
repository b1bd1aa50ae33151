/**
 * Does tasks on copies of a model in several threads. Results are shown in the order of the tasks, so that sums over
 * them do not depend on the number of threads.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Model } from '../../backends/wasm/runtime/load.js';
import { imageOf, type ModelImage, type StartedModule } from '../in-memory.js';
import { type CallResult, perform, type Task } from './tasks.js';

export interface PoolOptions {
  /** Threads to use; as many as the machine runs at once by default. */
  readonly workers?: number | undefined;
}

/** Threads are not worth their start for fewer tasks than this. */
const leastTasks = 4;

/** Sources that are run as they are have no file that a thread could start from. */
const workerFile = new URL('./worker.js', import.meta.url);
const isBuilt = import.meta.url.endsWith('.js');

export async function runTasks(
  started: StartedModule,
  tasks: readonly Task[],
  { workers = availableParallelism() }: PoolOptions,
  onResult: (task: number, results: readonly CallResult[]) => void,
): Promise<void> {
  const count = Math.min(workers, Math.floor(tasks.length / (leastTasks / 2)));
  if (count < 2 || !isBuilt) {
    for (const [i, task] of tasks.entries()) onResult(i, await perform(started.model, task));
    return;
  }
  const pool = new Pool(started.model, imageOf(started), count);
  try {
    await pool.run(tasks, onResult);
  } finally {
    await pool.close();
  }
}

/** Tasks that may be done ahead of one that is late, for each thread. */
const ahead = 4;

class Pool {
  private readonly workers: readonly Worker[];

  constructor(
    private readonly model: Model,
    image: ModelImage,
    count: number,
  ) {
    this.workers = Array.from({ length: count }, () => new Worker(workerFile, { workerData: image }));
  }

  async run(
    tasks: readonly Task[],
    onResult: (task: number, results: readonly CallResult[]) => void,
  ): Promise<void> {
    const early = new Map<number, readonly CallResult[]>();
    let [next, shown] = [0, 0];
    let wake = Promise.withResolvers<void>();
    const show = (task: number, results: readonly CallResult[]): void => {
      early.set(task, results);
      for (; early.has(shown); shown++) {
        const own = early.get(shown) as readonly CallResult[];
        early.delete(shown);
        onResult(shown, own);
      }
      wake.resolve();
      wake = Promise.withResolvers<void>();
    };
    const serve = async (worker: Worker): Promise<void> => {
      while (next < tasks.length) {
        if (next >= shown + ahead * this.workers.length) {
          await wake.promise;
          continue;
        }
        const own = next++;
        const task = tasks[own] as Task;
        show(own, (await answer(worker, task)) ?? (await perform(this.model, task)));
      }
    };
    await Promise.all(this.workers.map(serve));
  }

  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }
}

function answer(worker: Worker, task: Task): Promise<CallResult[] | undefined> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (results: CallResult[] | undefined) => {
      worker.off('error', reject);
      resolve(results);
    });
    worker.postMessage(task);
  });
}
