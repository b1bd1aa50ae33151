/**
 * Straight-line programs of the vector unit over one tile: instructions on virtual registers, each of `tile` floats (or
 * as many bits). `assignSlots` gives registers places in a work buffer, and `print` writes the instructions with a
 * barrier before each that depends on one since the last barrier: the unit keeps no such order by itself.
 */
import type { CoreLayout } from '../chips.js';

/** `float`: one float per element. `mask`: one bit per element. */
export type RegisterKind = 'float' | 'mask';

export interface Register {
  readonly kind: RegisterKind;
  /** Set for a tensor that is somewhere already, such as one out of a queue. */
  readonly place?: string;
}

export interface Instruction {
  readonly writes: Register;
  readonly reads: readonly Register[];
  /** The call, given the names of the registers. */
  readonly text: (name: (register: Register) => string) => string;
  /** Whether the result may lie where the first operand is. */
  readonly inPlace: boolean;
}

export class VectorProgram {
  readonly instructions: Instruction[] = [];

  /** Which casts there are depends on the chip's cores. */
  constructor(readonly layout: CoreLayout) {}

  /** `Exp(result, x, count);` */
  call(name: string, reads: readonly Register[], scalars: readonly string[] = [], count = 'count'): Register {
    return this.emit(reads, 'float', true, (result, operands) =>
      [name, '(', [result, ...operands, ...scalars, count].join(', '), ');'].join(''),
    );
  }

  emit(
    reads: readonly Register[],
    kind: RegisterKind,
    inPlace: boolean,
    text: (result: string, operands: readonly string[]) => string,
  ): Register {
    const writes: Register = { kind };
    this.instructions.push({
      writes,
      reads,
      inPlace,
      text: (name) => text(name(writes), reads.map(name)),
    });
    return writes;
  }
}

export interface SlotPlan {
  readonly names: ReadonlyMap<Register, string>;
  /** Number of slots of each kind. */
  readonly slots: Readonly<Record<RegisterKind, number>>;
}

const slotNames: Readonly<Record<RegisterKind, string>> = { float: 'work', mask: 'mask' };

/** Registers that are never needed at once share a slot. `live` are needed after the last instruction. */
export function assignSlots(program: VectorProgram, live: readonly Register[]): SlotPlan {
  const lastUse = new Map<Register, number>();
  program.instructions.forEach(({ reads }, i) => {
    for (const register of reads) lastUse.set(register, i);
  });
  for (const register of live) lastUse.set(register, program.instructions.length);
  const free: Record<RegisterKind, number[]> = { float: [], mask: [] };
  const slots: Record<RegisterKind, number> = { float: 0, mask: 0 };
  const taken = new Map<Register, number>();
  const names = new Map<Register, string>();
  const take = (register: Register): void => {
    const { kind } = register;
    const slot = free[kind].shift() ?? slots[kind]++;
    taken.set(register, slot);
    names.set(register, `${slotNames[kind]}${slot}`);
  };
  const release = (register: Register): void => {
    const slot = taken.get(register);
    if (slot === undefined) return;
    taken.delete(register);
    free[register.kind].push(slot);
    free[register.kind].sort((a, b) => a - b);
  };
  program.instructions.forEach(({ writes, reads, inPlace }, i) => {
    for (const register of reads) if (register.place !== undefined) names.set(register, register.place);
    const dying = new Set(reads.filter((register) => lastUse.get(register) === i));
    // Only the first operand's place may be the result's: the others could be read after it is written.
    const [first] = reads;
    const reused = inPlace && first !== undefined && dying.has(first) && first.kind === writes.kind;
    if (reused) release(first);
    take(writes);
    for (const register of dying) if (!reused || register !== first) release(register);
    if (!lastUse.has(writes)) release(writes);
  });
  for (const register of live) if (register.place !== undefined) names.set(register, register.place);
  return { names, slots };
}

/** The instructions as lines of code. Registers with the same name are the same memory. */
export function printProgram(program: VectorProgram, plan: SlotPlan): string[] {
  const lines: string[] = [];
  const nameOf = (register: Register): string => plan.names.get(register) as string;
  const written = new Set<string>();
  const read = new Set<string>();
  for (const { writes, reads, text } of program.instructions) {
    const target = nameOf(writes);
    const depends = written.has(target) || read.has(target) || reads.some((r) => written.has(nameOf(r)));
    if (depends) {
      lines.push('PipeBarrier<PIPE_V>();');
      written.clear();
      read.clear();
    }
    lines.push(text(nameOf));
    written.add(target);
    for (const register of reads) read.add(nameOf(register));
  }
  return lines;
}

/** The barrier that a program needs before it runs again, on the same slots; tensors of queues are others each time. */
export function barrierBetweenRuns(program: VectorProgram, plan: SlotPlan): string[] {
  const barrier = 'PipeBarrier<PIPE_V>();';
  const lines = printProgram(program, plan);
  const behind = lines.length - 1 - lines.lastIndexOf(barrier);
  const ahead = lines.includes(barrier) ? lines.indexOf(barrier) : lines.length;
  const slot = (register: Register): string | undefined =>
    register.place === undefined ? plan.names.get(register) : undefined;
  const last = program.instructions.slice(program.instructions.length - behind);
  const written = new Set(last.map(({ writes }) => slot(writes)));
  const used = new Set([...written, ...last.flatMap(({ reads }) => reads.map(slot))]);
  const depends = program.instructions.slice(0, ahead).some(({ writes, reads }) => {
    const target = slot(writes);
    return (
      (target !== undefined && used.has(target)) ||
      reads.some((register) => slot(register) !== undefined && written.has(slot(register)))
    );
  });
  return depends ? [barrier] : [];
}
