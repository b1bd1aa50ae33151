/**
 * refit: re-initialisation of a pruned model by least squares, without training. Turn by turn and sub-layer by
 * sub-layer, the linear layers that write to the residual stream are solved again so that the stream of the pruned
 * model is that of the original on the calibration data, as far as its kept channels go (see writers.ts for the
 * formulas):
 *
 *   sequential   a sub-layer reads the stream of the refitted layers before it, and its writer is asked for all that
 *                is missing from the original's stream behind it, errors of earlier layers included;
 *   one-shot     every layer is solved on what the original's own layer reads, cut to what is left of it, so layers do
 *                not depend on each other. A writer that still reads all it read is right as it is.
 *
 * What a removed turn added to the stream is asked of the last sub-layer in front of it. With `readers`, the layers
 * that read the normed stream are solved as well, in front of the writers; with `gains`, the gains of the norms behind
 * the writers after them.
 */
import { fail } from '../../ir/diagnostics.js';
import type { Module } from '../../ir/module.js';
import { definePass, type OptionsOf, option, type PassData } from '../pass.js';
import { refitExperts } from './experts.js';
import { refitGain } from './gains.js';
import { refitHead } from './head.js';
import { keptOfDim } from './kept.js';
import type { Settings } from './problem.js';
import { refitReaders } from './readers.js';
import type { Place } from './segment.js';
import { type Carried, cutChannels } from './stream.js';
import type { Sublayer } from './sublayers.js';
import {
  channelsOf,
  firstStream,
  indicesOf,
  type Lesson,
  lessonOf,
  placeOf,
  sublayersAt,
  throughSublayer,
} from './walk.js';
import { type Known, refitOnOwnInputs, refitOnTwin, type Twin, twinOf } from './writers.js';

const modes = ['sequential', 'one-shot'] as const;

const options = {
  mode: option(
    'string',
    'whose stream a sub-layer is solved on: sequential (the refitted model) or one-shot (the original)',
    'sequential',
  ),
  ridge: option('float', 'pull towards the present weights, relative to the mean square of the inputs', 1e-3),
  readers: option('bool', 'solve the layers that read the stream as well', false),
  gains: option('bool', 'solve the gains of the norms behind the writers as well', false),
  lm_head: option('bool', 'solve the head behind the last norm as well; tied embeddings are untied', false),
};
type Options = OptionsOf<typeof options>;

export const refit = definePass({
  name: 'refit',
  kind: 'approximate',
  summary:
    "Solves the layers that write to the residual stream again, so that it is the original model's on calibration data.",
  options,
  data: { observe: () => [], run },
});

async function run(module: Module, given: Options, data: PassData) {
  checkOptions(given);
  const walk = new Walk(placeOf(data.original, data), placeOf(module, data), given, data);
  const place = await walk.run();
  const { solved, exact, starved, notes } = walk;
  if (starved > 0) notes.add(`${starved} routed experts stay: they see fewer tokens than they have inputs`);
  if (solved.writers + solved.experts + starved + exact === 0)
    fail('HEW6010', 'no linear layer writes to the residual stream in a form that refit knows');
  if (exact > 0) notes.add(`${exact} writers read all that the original's do: they are right as they are`);
  return { module: place.module, report: { counts: solved, notes: [...notes] } };
}

function checkOptions({ mode, ridge }: Options): void {
  if (!(modes as readonly string[]).includes(mode)) {
    fail('HEW6002', `refit has no mode '${mode}'`, { help: `modes: ${modes.join(', ')}` });
  }
  if (!(ridge >= 0)) fail('HEW6002', `refit: ridge=${ridge} must not be negative`);
}

/** A sub-layer of the pruned model, and what its sub-layer in the original teaches. */
interface Task {
  readonly place: Place;
  readonly sublayer: Sublayer;
  readonly number: number;
  /** The turn of the original. */
  readonly original: Place;
  readonly teacher: Sublayer | undefined;
  readonly lesson: Lesson;
  /** The stream that the sub-layer reads. */
  readonly stream: Carried;
}

/** Turns that are done, and the streams behind them. */
interface Finished {
  readonly turns: number;
  readonly wanted: Carried;
  readonly stream: Carried;
}

interface WalkFacts extends Pick<Walk, 'solved' | 'exact'> {
  readonly turns: number;
  readonly notes: readonly string[];
}

class Walk {
  readonly solved = { writers: 0, experts: 0, readers: 0, gains: 0, head: 0 };
  readonly notes = new Set<string>();
  /** Writers that need not be solved. */
  exact = 0;
  /** Routed experts that see too few tokens. */
  starved = 0;
  private readonly sequential: boolean;
  private readonly settings: Settings;
  /** Channels of the original that are left. */
  private readonly kept: readonly number[];

  constructor(
    private readonly original: Place,
    private place: Place,
    private readonly given: Options,
    private readonly data: PassData,
  ) {
    this.sequential = given.mode === 'sequential';
    this.settings = { data, ridge: given.ridge };
    this.kept = keptChannels(original, place);
  }

  async run(): Promise<Place> {
    const turns = indicesOf(this.original);
    const left = indicesOf(this.place);
    const earlier = this.resume(turns.length);
    let wanted = earlier?.wanted ?? (await firstStream(this.original, this.data));
    let stream =
      earlier?.stream ?? (this.sequential ? await firstStream(this.place, this.data) : this.cut(wanted));
    let pending: { readonly index: number; readonly lesson: Lesson } | undefined;
    for (const [turn, index] of turns.entries()) {
      if (turn < (earlier?.turns ?? 0)) continue;
      const following = turns[turn + 1];
      const isLast = following === undefined || left.includes(following);
      const twins = left.includes(index) ? this.twinsOf(turn, index, isLast) : [];
      const lesson = await lessonOf({ ...this.original, turn }, wanted, twins, this.data);
      wanted = lesson.after.at(-1) as Carried;
      if (left.includes(index)) pending = { index, lesson };
      else if (pending !== undefined) pending = { ...pending, lesson: lastBecomes(pending.lesson, wanted) };
      if (pending !== undefined && isLast) {
        stream = await this.turn(pending.index, pending.lesson, stream);
        pending = undefined;
      }
      if (!this.sequential) stream = this.cut(wanted);
      if (pending === undefined) await this.save({ turns: turn + 1, wanted, stream });
      this.data.progress(turn + 1, turns.length);
    }
    if (this.given.lm_head) await this.head(wanted, stream);
    return this.place;
  }

  /** What an earlier run had finished. */
  private resume(turns: number): Finished | undefined {
    const found = this.data.journal?.resume(this.place.module);
    if (found === undefined) return undefined;
    const { facts, arrays } = found.state;
    const { turns: done, solved, exact, notes } = facts as WalkFacts;
    this.place = { ...this.place, module: found.module };
    Object.assign(this.solved, solved);
    this.exact = exact;
    for (const note of notes) this.notes.add(note);
    if (done < turns) this.notes.add(`continued at ${this.place.stream.loop} ${done + 1} of ${turns}`);
    this.data.progress(done, turns);
    return { turns: done, wanted: arrays.wanted as Carried, stream: arrays.stream as Carried };
  }

  /** Puts aside what is finished; solved weights leave memory. */
  private async save({ turns, wanted, stream }: Finished): Promise<void> {
    const { solved, exact } = this;
    const facts: WalkFacts = { turns, solved, exact, notes: [...this.notes] };
    const state = { facts, arrays: { wanted, stream } };
    const module = await this.data.journal?.save(this.place.module, state);
    if (module !== undefined) this.place = { ...this.place, module };
  }

  /** Writers that are solved on the original's inputs: in one-shot mode, unless removed turns are asked of them too. */
  private twinsOf(originalTurn: number, index: number, isLast: boolean): Twin[] {
    if (this.sequential) return [];
    const own = { ...this.place, turn: indicesOf(this.place).indexOf(index) };
    const original = { ...this.original, turn: originalTurn };
    const teachers = sublayersAt(original, this.data);
    return sublayersAt(own, this.data).flatMap((sublayer, number) => {
      const isAsked = isLast || number < teachers.length - 1;
      return (isAsked && twinOf(own, sublayer, original, teachers[number], number, this.data)) || [];
    });
  }

  /** Refits the turn that corresponds to one of the original; the stream behind it. */
  private async turn(index: number, lesson: Lesson, before: Carried): Promise<Carried> {
    const turn = indicesOf(this.place).indexOf(index);
    const original = { ...this.original, turn: indicesOf(this.original).indexOf(index) };
    const teachers = sublayersAt(original, this.data);
    let stream = before;
    for (const [number, sublayer] of sublayersAt({ ...this.place, turn }, this.data).entries()) {
      const own = this.sequential ? stream : this.cut(lesson.before[number] as Carried);
      const place = { ...this.place, turn };
      const task = { place, sublayer, number, original, teacher: teachers[number], lesson, stream: own };
      stream = await this.sublayer(task);
    }
    return stream;
  }

  /** Solves one sub-layer; the stream behind it in sequential mode. */
  private async sublayer(task: Task): Promise<Carried> {
    const { sublayer, number, lesson, stream } = task;
    const known: Known = new Map();
    let place = this.given.readers ? await this.readers(task) : task.place;
    const target = sublayer.isGated ? lesson.sums.get(number) : lesson.after[number];
    if (target === undefined || sublayer.writers.length + sublayer.experts.length === 0) {
      this.notes.add(`sub-layer ${number} of @${place.stream.func} is left: no linear layer writes it`);
    } else {
      place = await this.writers({ ...task, place }, this.cut(target), known);
    }
    if (this.given.gains && sublayer.norm !== undefined) {
      const goal = this.cut(lesson.after[number] as Carried);
      place = await refitGain(place, sublayer, { stream, target: goal, known }, this.data);
      this.solved.gains += 1;
    }
    const { turn: _, ...whole } = place;
    this.place = whole;
    return this.sequential ? throughSublayer(place, sublayer, stream, known, this.data) : stream;
  }

  private async writers(
    { place, sublayer, number, lesson, stream }: Task,
    target: Carried,
    known: Known,
  ): Promise<Place> {
    const found = lesson.twins.get(number);
    if (found?.twin.isExact) {
      this.exact += 1;
      return place;
    }
    if (found?.moments !== undefined) {
      this.solved.writers += 1;
      return refitOnTwin(place, found.twin, found.moments, this.settings);
    }
    let current = place;
    for (const writer of sublayer.writers)
      current = await refitOnOwnInputs(current, sublayer, writer, { stream, target, known }, this.settings);
    this.solved.writers += sublayer.writers.length;
    for (const layer of sublayer.experts) {
      const inputs = { stream, target, known };
      const {
        place: next,
        solved,
        starved,
      } = await refitExperts(current, sublayer, layer, inputs, this.settings);
      current = next;
      this.solved.experts += solved;
      this.starved += starved;
    }
    return current;
  }

  private async readers({
    place,
    sublayer,
    original,
    teacher,
    lesson,
    number,
    stream,
  }: Task): Promise<Place> {
    let current = place;
    for (const [value, layers] of sublayer.readers) {
      const names = new Set(layers.map(({ weight }) => weight));
      const [from] = [...(teacher?.readers ?? [])].find(([, own]) =>
        own.some(({ weight }) => names.has(weight)),
      ) ?? [undefined];
      if (teacher === undefined || from === undefined) continue;
      const own = { place: current, before: sublayer.before, value, stream };
      const whole = {
        place: original,
        before: teacher.before,
        value: from,
        stream: lesson.before[number] as Carried,
      };
      const readers = layers.map((layer) => ({ layer, original: layer.weight }));
      const solved = await refitReaders(own, whole, readers, this.settings);
      this.solved.readers += layers.filter(({ weight }) => isChanged(current, solved, weight)).length;
      current = solved;
    }
    return current;
  }

  private async head(wanted: Carried, stream: Carried): Promise<void> {
    const own = { place: this.place, stream };
    const place = await refitHead(own, { place: this.original, stream: wanted }, this.settings);
    if (place === undefined) this.notes.add('no linear layer reads the norm behind the last turn');
    else this.solved.head += 1;
    this.place = place ?? this.place;
  }

  private cut(carried: Carried): Carried {
    return cutChannels(carried, channelsOf(this.original), this.kept);
  }
}

const isChanged = (a: Place, b: Place, weight: string): boolean =>
  a.module.params.get(weight) !== b.module.params.get(weight);

/** The lesson whose last sub-layer is to do what removed turns behind it did as well. */
function lastBecomes(lesson: Lesson, stream: Carried): Lesson {
  return { ...lesson, after: lesson.after.with(-1, stream) };
}

function keptChannels(original: Place, place: Place): readonly number[] {
  const [before, after] = [channelsOf(original), channelsOf(place)];
  if (before === after) return Array.from({ length: after }, (_, i) => i);
  const name = place.stream.channels as string;
  return (
    keptOfDim(place.module, name) ??
    fail('HEW6010', `which indices of ${name} were kept cannot be read off any weight`)
  );
}
