/** Steps run on the caller's thread; between them timers, drawing and signals need a turn now and then. */

/** A function that gives the event loop a turn when the last one is more than `everyMs` milliseconds ago. */
export function createBreather(everyMs = 50): () => Promise<void> {
  let last = performance.now();
  return async () => {
    if (performance.now() - last < everyMs) return;
    await new Promise((resolve) => setTimeout(resolve, 0));
    last = performance.now();
  };
}
