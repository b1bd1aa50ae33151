/**
 * What an expression of a spec means while the module is built: a compile-time constant, a value of the graph, or
 * several of them. `poison` stands for what could not be made; its error is reported already, so nothing that
 * touches it reports another.
 */
import { constantOf, type Dim, type DimLike, dim, printDim } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import { printType } from '../../ir/type.js';

export type SpecValue = Constant | TensorValue | TupleValue | Poison;
export type Constant = IntValue | FloatValue | BoolValue | TextValue | ListValue;

/** A whole number: exact, and symbolic where it mentions dimensions. */
export interface IntValue {
  readonly kind: 'int';
  readonly dim: Dim;
}
export interface FloatValue {
  readonly kind: 'float';
  readonly value: number;
}
export interface BoolValue {
  readonly kind: 'bool';
  readonly value: boolean;
}
export interface TextValue {
  readonly kind: 'string';
  readonly value: string;
}
export interface ListValue {
  readonly kind: 'list';
  readonly items: readonly Constant[];
}
export interface TensorValue {
  readonly kind: 'tensor';
  readonly value: Value;
}
export interface TupleValue {
  readonly kind: 'tuple';
  readonly items: readonly { readonly name: string | undefined; readonly value: SpecValue }[];
}
export interface Poison {
  readonly kind: 'poison';
}

export const poison: Poison = { kind: 'poison' };

export function int(value: DimLike): IntValue {
  return { kind: 'int', dim: dim(value) };
}
export function float(value: number): FloatValue {
  return { kind: 'float', value };
}
export function bool(value: boolean): BoolValue {
  return { kind: 'bool', value };
}
export function text(value: string): TextValue {
  return { kind: 'string', value };
}
export function tensor(value: Value): TensorValue {
  return { kind: 'tensor', value };
}

export function isConstant(value: SpecValue): value is Constant {
  return value.kind !== 'tensor' && value.kind !== 'tuple' && value.kind !== 'poison';
}

/** The kind of a value with its article, and its type or text where that is short: for messages. */
export function describeValue(value: SpecValue): string {
  switch (value.kind) {
    case 'int':
      return constantOf(value.dim) === undefined
        ? `the dimension ${printDim(value.dim)}`
        : `the int ${printDim(value.dim)}`;
    case 'float':
      return `the float ${value.value}`;
    case 'bool':
      return `the bool ${value.value}`;
    case 'string':
      return `the string ${JSON.stringify(value.value)}`;
    case 'list':
      return 'a list';
    case 'tensor':
      return `a tensor ${printType(value.value.type)}`;
    case 'tuple':
      return `${value.items.length} values`;
    case 'poison':
      return 'an erroneous value';
  }
}
