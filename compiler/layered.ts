/**
 * Running a model layer by layer: the entry is cut at its loops (passes/stages.ts), and all calls are led through one
 * stage before the next one is begun. Memory holds the weights of one turn, and the values that cross from stage to
 * stage for as many calls as fit `carriedBytes`; calls beyond that go through the model in a further round.
 */
import type { Outputs, TypedArray } from '../backends/wasm/runtime/load.js';
import { fail } from '../ir/diagnostics.js';
import { dimBounds, nameOf, productOfDims } from '../ir/dim.js';
import type { TensorSource } from '../ir/materialise.js';
import { dimRange, type Func, type Module } from '../ir/module.js';
import { storedBytes } from '../ir/type.js';
import { argName, outName, type Stage, type StagedEntry, stageEntry, stagesOf } from '../passes/stages.js';
import type { EmitOptions } from './build.js';
import type { Executor, ExecutorCall, ExecutorRun, ExecutorView } from './executor.js';
import { type StartedModule, startModule } from './in-memory.js';

export interface LayeredOptions extends EmitOptions {
  /** Bytes of crossing values that are held at a time (default 256 MiB); one sequence is led through in any case. */
  readonly carriedBytes?: number | undefined;
}

const defaultCarriedBytes = 256 * 2 ** 20;

const help = 'use windows that fit one call, or let the model be run as a whole: --resident-memory 4G';

/** Crossing values of one call by their names. */
type Crossing = Map<string, TypedArray>;

export class LayeredExecutor implements Executor {
  constructor(
    private readonly lowered: Module,
    private readonly source: TensorSource | undefined,
    private readonly options: LayeredOptions,
  ) {}

  /** Fails with HEW6030 when calls are of several entries, or follow each other and share a state across stages. */
  async run(run: ExecutorRun, view: ExecutorView): Promise<void> {
    const [entry, ...others] = new Set(run.sequences.flat().map((call) => call.entry));
    if (entry === undefined) return;
    if (others.length > 0)
      fail('HEW6030', `entries ${[entry, ...others].join(' and ')} would have to take turns`, { help });
    const staged = stagesOf(this.lowered, entry);
    const [shared] = staged.sharedStates;
    if (shared !== undefined && run.sequences.some((calls) => calls.length > 1)) {
      fail('HEW6030', `state @${shared} is used in several parts of entry ${entry}`, { help });
    }
    const rounds = this.rounds(staged, run.sequences);
    const turns = staged.stages.reduce((sum, stage) => sum + this.turnsOf(stage), 0);
    const progress = { done: 0, total: turns * run.sequences.length };
    let first = 0;
    for (const sequences of rounds) {
      await new Round(this, staged, { ...run, sequences }, first, view, progress).run();
      first += sequences.length;
    }
  }

  turnsOf({ loop }: Stage): number {
    return loop === undefined ? 1 : (this.lowered.loops.get(loop)?.indices.length ?? 0);
  }

  start(stage: Stage): Promise<StartedModule> {
    return startModule(stage.module, this.options);
  }

  /** Writes a stage's weights; behind the first turn, those that differ from turn to turn. */
  async write({ loop }: Stage, started: StartedModule, turn: number): Promise<void> {
    const isOfTurn = (name: string): boolean =>
      loop !== undefined && this.lowered.params.get(name)?.loop === loop;
    await started.write(this.lowered, this.source, (name) => turn === 0 || isOfTurn(name), turn);
  }

  /** Calls that go through the model together: at least one sequence, and as many as fit. */
  private rounds(
    staged: StagedEntry,
    sequences: readonly (readonly ExecutorCall[])[],
  ): (readonly (readonly ExecutorCall[])[])[] {
    const rounds: (readonly ExecutorCall[])[][] = [];
    let room = 0;
    for (const sequence of sequences) {
      const bytes = sequence.reduce((sum, call) => sum + this.crossingBytes(staged, call), 0);
      if (bytes > room) {
        rounds.push([]);
        room = this.options.carriedBytes ?? defaultCarriedBytes;
      }
      rounds.at(-1)?.push(sequence);
      room -= bytes;
    }
    return rounds;
  }

  /** What one call brings to a stage and takes from it, at most. */
  private crossingBytes({ stages }: StagedEntry, call: ExecutorCall): number {
    const most = mostOfSymbols(this.lowered, call);
    const sizes = stages.map(({ module }) => {
      const { args, results } = module.functions.get(stageEntry) as Func;
      return [...args, ...results].reduce((sum, { type }) => {
        const count = dimBounds(productOfDims(type.shape), (name) => ({ min: 0, max: most(name) })).max;
        return sum + storedBytes(type.dtype, count);
      }, 0);
    });
    return Math.max(...sizes);
  }
}

/** How large each symbol can be in a call: as it is given, or as many as the inputs have elements. */
function mostOfSymbols(module: Module, { entry, inputs, symbols }: ExecutorCall): (name: string) => number {
  const { args } = module.functions.get(entry) as Func;
  return (name) => {
    const given = symbols?.get(name);
    if (given !== undefined) return given;
    const bounds = args.flatMap(({ name: input, type }) => {
      const value = inputs[input as string];
      if (value === undefined || !type.shape.some((d) => nameOf(d) === name)) return [];
      const others = type.shape.filter((d) => nameOf(d) !== name);
      const least = dimBounds(productOfDims(others), (other) => dimRange(module, other)).min;
      const count = (ArrayBuffer.isView(value) ? value : value.data).length;
      return [Math.floor(count / Math.max(1, least))];
    });
    return Math.min(dimRange(module, name).max, ...bounds);
  };
}

/** Some sequences on their way through the stages. */
class Round {
  /** By sequence and call. */
  private readonly values: Crossing[][];

  constructor(
    private readonly executor: LayeredExecutor,
    private readonly staged: StagedEntry,
    private readonly runOf: ExecutorRun,
    private readonly first: number,
    private readonly view: ExecutorView,
    private readonly progress: { done: number; readonly total: number },
  ) {
    this.values = runOf.sequences.map((calls) => calls.map((call) => this.inputsOf(call)));
  }

  private inputsOf({ inputs }: ExecutorCall): Crossing {
    const named = [...this.staged.inputs].flatMap(([input, name]): [string, TypedArray][] => {
      const given = inputs[input];
      if (given === undefined) return [];
      return [[name, ArrayBuffer.isView(given) ? given : given.data]];
    });
    return new Map(named);
  }

  async run(): Promise<void> {
    const { stages } = this.staged;
    for (const [at, stage] of stages.entries()) {
      const needed = this.neededBehind(at);
      const started = await this.executor.start(stage);
      const turns = this.executor.turnsOf(stage);
      if (turns === 0) this.skip(stage);
      for (let turn = 0; turn < turns; turn++) {
        await this.executor.write(stage, started, turn);
        this.runOf.sequences.forEach((calls, i) => {
          started.model.reset();
          calls.forEach((call, j) => {
            this.call(stage, started, turn, call, this.values[i]?.[j] as Crossing);
            if (turn === turns - 1) this.settle(i, j, needed, at === stages.length - 1);
          });
          this.showStates(stage, started, turn, i);
        });
        this.progress.done += this.runOf.sequences.length;
        this.view.progress?.(this.progress.done, this.progress.total);
      }
    }
  }

  private call(
    { loop, takes, gives }: Stage,
    { model }: StartedModule,
    turn: number,
    { symbols = new Map() }: ExecutorCall,
    values: Crossing,
  ): void {
    // Behind the first turn, what the last one gave is carried.
    const from = loop !== undefined && turn > 0 ? takes.map((name, i) => gives[i] ?? name) : takes;
    const inputs = from.map((name, i) => [argName(i), values.get(name) as TypedArray]);
    const wanted = gives.flatMap((name, i) => (this.isWanted(name) ? [outName(i)] : []));
    const found = model.run(stageEntry, Object.fromEntries(inputs), {
      outputs: wanted,
      symbols: Object.fromEntries(symbols),
    });
    gives.forEach((name, i) => {
      const value = found[outName(i)];
      if (value !== undefined) values.set(name, value);
    });
  }

  /** Whether a later stage takes a value, or it is an output that is asked for. */
  private isWanted(name: string): boolean {
    const { stages, outputs } = this.staged;
    return (
      stages.some(({ takes }) => takes.includes(name)) ||
      stages.some(({ loop, gives }) => loop !== undefined && gives.includes(name)) ||
      this.runOf.outputs.some((output) => outputs.get(output) === name)
    );
  }

  /** A loop without turns gives what it takes. */
  private skip({ takes, gives }: Stage): void {
    for (const values of this.values.flat())
      gives.forEach((name, i) => {
        values.set(name, values.get(takes[i] as string) as TypedArray);
      });
  }

  /** Names that later stages take, and those of the outputs. */
  private neededBehind(at: number): Set<string> {
    const { stages, outputs } = this.staged;
    const later = stages.slice(at + 1).flatMap(({ takes }) => takes);
    return new Set([...later, ...this.runOf.outputs.map((output) => outputs.get(output) as string)]);
  }

  /** Drops what a call no longer needs; behind the last stage, shows its outputs and drops them too. */
  private settle(i: number, j: number, needed: ReadonlySet<string>, isLast: boolean): void {
    const values = this.values[i]?.[j] as Crossing;
    for (const name of [...values.keys()]) if (!needed.has(name)) values.delete(name);
    if (!isLast) return;
    const { outputs } = this.runOf;
    const shown: Outputs = Object.fromEntries(
      outputs.map((output) => [output, values.get(this.staged.outputs.get(output) as string) as TypedArray]),
    );
    this.view.outputs?.(this.first + i, j, shown);
    values.clear();
  }

  private showStates({ module }: Stage, { model }: StartedModule, turn: number, i: number): void {
    for (const name of this.runOf.states ?? [])
      if (module.states.has(name)) this.view.state?.(this.first + i, name, turn, model.state(name).read());
  }
}
