/** A thread that does the tasks it is sent on a copy of a model of its own. */
import { parentPort, workerData } from 'node:worker_threads';
import { type ModelImage, modelOf } from '../in-memory.js';
import { perform, type Task } from './tasks.js';

const model = modelOf(workerData as ModelImage);

parentPort?.on('message', async (task: Task) => {
  try {
    parentPort?.postMessage(await perform(await model, task));
  } catch {
    // The task is done again where the error keeps its type.
    parentPort?.postMessage(undefined);
  }
});
