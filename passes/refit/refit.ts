/**
 * refit: re-initialisation of a pruned model by least squares, without training. Turn by turn and sub-layer by
 * sub-layer, the linear layers that write to the residual stream are solved again so that the stream of the pruned
 * model is that of the original on the calibration data, as far as its kept channels go (see solve.ts for the
 * formulas):
 *
 *   sequential   a sub-layer reads the stream of the refitted layers before it, and its writer is asked for all that
 *                is missing from the original's stream behind it, errors of earlier layers included;
 *   one-shot     a sub-layer reads the original's own stream, cut to the kept channels, so layers do not depend on
 *                each other.
 *
 * What a removed turn added to the stream is asked of the last sub-layer in front of it. With `readers`, the layers
 * that read the normed stream are solved as well, in front of the writers.
 */
import { fail } from '../../ir/diagnostics.js';
import type { Module } from '../../ir/module.js';
import { definePass, type OptionsOf, option, type PassData } from '../pass.js';
import { refitHead } from './head.js';
import { keptOfDim } from './kept.js';
import type { Place } from './segment.js';
import { type Problem, refitReaders, refitWriter } from './solve.js';
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

const modes = ['sequential', 'one-shot'] as const;

const options = {
  mode: option(
    'string',
    'whose stream a sub-layer is solved on: sequential (the refitted model) or one-shot (the original)',
    'sequential',
  ),
  ridge: option('float', 'pull towards the present weights, relative to the mean square of the inputs', 1e-3),
  readers: option('bool', 'solve the layers that read the stream as well', false),
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
  const { writers, readers, head } = walk.solved;
  if (writers === 0)
    fail('HEW6010', 'no linear layer writes to the residual stream in a form that refit knows');
  return { module: place.module, report: { counts: { writers, readers, head }, notes: [...walk.notes] } };
}

function checkOptions({ mode, ridge }: Options): void {
  if (!(modes as readonly string[]).includes(mode)) {
    fail('HEW6002', `refit has no mode '${mode}'`, { help: `modes: ${modes.join(', ')}` });
  }
  if (!(ridge >= 0)) fail('HEW6002', `refit: ridge=${ridge} must not be negative`);
}

class Walk {
  readonly solved = { writers: 0, readers: 0, head: 0 };
  readonly notes = new Set<string>();
  private readonly sequential: boolean;
  /** Channels of the original that are left. */
  private readonly kept: readonly number[];

  constructor(
    private readonly original: Place,
    private place: Place,
    private readonly given: Options,
    private readonly data: PassData,
  ) {
    this.sequential = given.mode === 'sequential';
    this.kept = keptChannels(original, place);
  }

  async run(): Promise<Place> {
    const turns = indicesOf(this.original);
    const left = indicesOf(this.place);
    let wanted = await firstStream(this.original, this.data);
    let stream = this.sequential ? await firstStream(this.place, this.data) : this.cut(wanted);
    let pending: { readonly index: number; readonly lesson: Lesson } | undefined;
    for (const [turn, index] of turns.entries()) {
      const lesson = await lessonOf({ ...this.original, turn }, wanted, this.data);
      wanted = lesson.after.at(-1) as Carried;
      if (left.includes(index)) pending = { index, lesson };
      else if (pending !== undefined) pending = { ...pending, lesson: lastBecomes(pending.lesson, wanted) };
      const following = turns[turn + 1];
      if (pending !== undefined && (following === undefined || left.includes(following))) {
        stream = await this.turn(pending.index, pending.lesson, stream);
        pending = undefined;
      }
      if (!this.sequential) stream = this.cut(wanted);
      this.data.progress(turn + 1, turns.length);
    }
    if (this.given.lm_head) await this.head(wanted, stream);
    return this.place;
  }

  /** Refits the turn that corresponds to one of the original; the stream behind it. */
  private async turn(index: number, lesson: Lesson, before: Carried): Promise<Carried> {
    const turn = indicesOf(this.place).indexOf(index);
    const originalTurn = indicesOf(this.original).indexOf(index);
    let stream = before;
    for (const [number, sublayer] of sublayersAt({ ...this.place, turn }, this.data).entries()) {
      const own = this.sequential ? stream : this.cut(lesson.before[number] as Carried);
      await this.sublayer(turn, originalTurn, number, sublayer, lesson, own);
      if (this.sequential) stream = await throughSublayer({ ...this.place, turn }, sublayer, own, this.data);
    }
    return stream;
  }

  private async sublayer(
    turn: number,
    originalTurn: number,
    number: number,
    sublayer: Sublayer,
    lesson: Lesson,
    stream: Carried,
  ): Promise<void> {
    const { data, given } = this;
    const problem: Problem = { data, ridge: given.ridge, stream };
    let place: Place = { ...this.place, turn };
    if (given.readers) {
      const teacher = {
        place: { ...this.original, turn: originalTurn },
        number,
        stream: lesson.before[number] as Carried,
      };
      place = await refitReaders(place, sublayer, teacher, problem);
      const solved = [...sublayer.readers.values()]
        .flat()
        .filter(({ weight }) => isChanged(place, this.place, weight));
      this.solved.readers += solved.length;
    }
    const target = sublayer.isGated ? lesson.sums.get(number) : lesson.after[number];
    if (target === undefined || sublayer.writers.length === 0) {
      this.notes.add(`sub-layer ${number} of @${place.stream.func} is left: no linear layer writes it`);
    } else {
      for (const writer of sublayer.writers)
        place = await refitWriter(place, sublayer, writer, this.cut(target), problem);
      this.solved.writers += sublayer.writers.length;
    }
    const { turn: _, ...whole } = place;
    this.place = whole;
  }

  private async head(wanted: Carried, stream: Carried): Promise<void> {
    const { data, given } = this;
    const place = await refitHead(
      this.place,
      { place: this.original, stream: wanted },
      { data, ridge: given.ridge, stream },
    );
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
