/** Runs the built command line in a process of its own, which says at its end what it took. */
import { spawnSync } from 'node:child_process';

export interface Measured {
  readonly stdout: string;
  readonly seconds: number;
  /** Of all threads. */
  readonly cpuSeconds: number;
  /** Peak resident memory. */
  readonly maxRssMiB: number;
}

const report = `process.on('exit', () => {
  const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
  console.error('took ' + JSON.stringify({ maxRSS, cpu: userCPUTime + systemCPUTime }));
})`;

/** Throws, with what it printed, when the command fails. */
export function runMeasured(argv: readonly string[]): Measured {
  const started = performance.now();
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', `data:text/javascript,${encodeURIComponent(report)}`, 'dist/compiler/cli/main.js', ...argv],
    { encoding: 'utf8', maxBuffer: 2 ** 28 },
  );
  if (status !== 0) throw new Error(`hew ${argv.join(' ')}\n${stderr}`);
  const took = JSON.parse(/^took (.*)$/m.exec(stderr)?.[1] ?? '{}') as { maxRSS: number; cpu: number };
  return {
    stdout,
    seconds: (performance.now() - started) / 1000,
    cpuSeconds: took.cpu / 1e6,
    maxRssMiB: took.maxRSS / 1024,
  };
}
