/**
 * Names and where their values live.
 *
 * An `Environment` maps the names in sight to bindings. A `Frame` is one function of the IR under construction: an
 * entry, or the body of a loop. A variable has a home frame; in a loop body that reads it, it becomes an argument of
 * the body's function, and when the body assigns it, the loop carries it from turn to turn. States are variables
 * whose first value is a `state_read` and whose last value is written when their frame ends.
 */

import type { FuncBuilder } from '../../ir/builder.js';
import type { Span } from '../../ir/diagnostics.js';
import type { Value } from '../../ir/module.js';
import type { TensorType } from '../../ir/type.js';
import { type SpecValue, type TensorValue, tensor } from './values.js';

export interface Variable {
  readonly name: string;
  readonly home: Frame;
  readonly state: { readonly symbol: string; readonly type: TensorType } | undefined;
}

export type Binding =
  /** Constants, dimensions and parameters known at compile time. */
  | { readonly kind: 'constant'; readonly value: SpecValue; readonly span: Span }
  | { readonly kind: 'variable'; readonly variable: Variable; readonly span: Span }
  /** A dimension of a signature that is not solved yet. */
  | { readonly kind: 'open'; readonly span: Span }
  /** The variable of a loop: a placeholder in weight names, a counter where it is used as a number. */
  | { readonly kind: 'turn'; readonly frame: Frame; readonly span: Span };

export class Environment {
  private readonly bindings = new Map<string, Binding>();

  constructor(readonly parent: Environment | undefined) {}

  find(name: string): Binding | undefined {
    return this.bindings.get(name) ?? this.parent?.find(name);
  }

  /** The binding of this very block, which a second definition would collide with. */
  own(name: string): Binding | undefined {
    return this.bindings.get(name);
  }

  bind(name: string, binding: Binding): void {
    this.bindings.set(name, binding);
  }

  /** Every name in sight, for hints. */
  names(): string[] {
    return [...this.bindings.keys(), ...(this.parent?.names() ?? [])];
  }
}

export class Frame {
  private readonly values = new Map<Variable, SpecValue>();
  private readonly assigned = new Set<Variable>();
  /** States declared in this frame, by their name in the module. */
  readonly states = new Map<string, Variable>();
  /** Arguments of this frame's function and the values of the parent frame they stand for. */
  readonly imports: { readonly variable: Variable; readonly arg: Value; readonly outer: Value }[] = [];
  /** Parameters already brought into this function, widened to f32. */
  readonly params = new Map<string, Value>();
  /** Counts the turns, once the loop's variable is used as a number. */
  counter: Variable | undefined;
  /** Of a loop: how many of its first turns the checkpoint gave the same answers so far. */
  agreeingTurns = Number.POSITIVE_INFINITY;

  constructor(
    readonly builder: FuncBuilder,
    readonly parent: Frame | undefined,
    readonly loop: string | undefined,
  ) {}

  define(name: string, value: SpecValue): Variable {
    const variable: Variable = { name, home: this, state: undefined };
    this.values.set(variable, value);
    return variable;
  }

  defineState(symbol: string, name: string, type: TensorType): Variable {
    const variable: Variable = { name, home: this, state: { symbol, type } };
    this.states.set(symbol, variable);
    return variable;
  }

  read(variable: Variable): SpecValue {
    const known = this.values.get(variable);
    if (known !== undefined) return known;
    const value = variable.home === this ? this.readState(variable) : this.importValue(variable);
    this.values.set(variable, value);
    return value;
  }

  assign(variable: Variable, value: SpecValue): void {
    if (variable.home !== this) this.read(variable);
    this.assigned.add(variable);
    this.values.set(variable, value);
  }

  private readState(variable: Variable): SpecValue {
    if (variable.state === undefined) throw new Error(`'${variable.name}' has no value in its own frame`);
    const value = this.builder.one('state_read', [], { name: variable.state.symbol });
    nameValue(value, variable.name);
    return tensor(value);
  }

  private importValue(variable: Variable): SpecValue {
    const outer = (this.parent as Frame).read(variable);
    if (outer.kind === 'tensor') return this.importTensor(variable, outer.value, variable.name);
    if (outer.kind !== 'tuple') return outer;
    const items = outer.items.map(({ name, value }) => ({
      name,
      value: value.kind === 'tensor' ? this.importTensor(variable, value.value, name) : value,
    }));
    return { kind: 'tuple', items };
  }

  private importTensor(variable: Variable, outer: Value, name: string | undefined): TensorValue {
    const arg = this.builder.arg(outer.type, name);
    this.imports.push({ variable, arg, outer });
    return tensor(arg);
  }

  /** Variables of outer frames that this frame assigned, in the order of their first assignment. */
  carriedVariables(): Variable[] {
    return [...this.assigned].filter((variable) => variable.home !== this);
  }

  /** States of this frame with a new value. */
  writtenStates(): Variable[] {
    return [...this.assigned].filter((variable) => variable.home === this && variable.state !== undefined);
  }
}

/** Gives a fresh value the name it has in the spec, for readers of the IR's text. */
export function nameValue(value: Value, name: string): void {
  const named = value as { name?: string | undefined };
  named.name ??= name;
}
