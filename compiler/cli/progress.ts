/**
 * Progress of long work on stderr: one line with the time left that is drawn over itself on a terminal, plain lines
 * otherwise. Nothing is said about work that is over soon.
 */
import { formatSeconds } from './format.js';
import type { TextSink } from './terminal.js';

/** Milliseconds between drawings on a terminal, and between plain lines. */
const redrawEvery = 100;
const lineEvery = 5000;

/** Milliseconds of a stage before the time left is estimated from it. */
const estimateAfter = 500;

const eraseLine = '\r\u001b[2K';

export class Progress {
  private stage: string | undefined;
  private stageStarted = 0;
  private lastShown: number;
  private drawn = false;

  constructor(
    private readonly sink: TextSink,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.lastShown = now();
  }

  /** `done` of `total` units of a stage are finished. */
  update(stage: string, done: number, total: number): void {
    const time = this.now();
    if (stage !== this.stage) {
      this.stage = stage;
      this.stageStarted = time;
    }
    if (time - this.lastShown < (this.sink.isTTY === true ? redrawEvery : lineEvery)) return;
    this.lastShown = time;
    const line = describe(stage, done, total, time - this.stageStarted);
    if (this.sink.isTTY === true) {
      const width = Math.max(20, (this.sink.columns ?? 80) - 1);
      this.sink.write(`${eraseLine}${line.slice(0, width)}`);
      this.drawn = true;
    } else this.sink.write(`${line}\n`);
  }

  /** Removes the line that was drawn. */
  end(): void {
    if (this.drawn) this.sink.write(eraseLine);
    this.drawn = false;
    this.stage = undefined;
  }
}

function describe(stage: string, done: number, total: number, milliseconds: number): string {
  const share = total > 0 ? Math.min(1, done / total) : 0;
  const known = share > 0 && milliseconds > estimateAfter;
  const left = known ? `, ${formatSeconds(((1 - share) / share) * (milliseconds / 1000))} left` : '';
  return `${stage}: ${Math.floor(share * 100)} % (${done} of ${total})${left}`;
}
