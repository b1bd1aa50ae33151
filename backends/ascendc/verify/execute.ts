/**
 * Runs a kernel's Init and Process on what is known of its numbers: loops once, both sides of every branch, methods where
 * they are called. Queues and flags are counted: a loop must leave them as it found them, and so must the kernel.
 */
import type { Chip } from '../chips.js';
import { instructions, type Rule } from './instructions.js';
import {
  copied,
  flagStep,
  imbalances,
  leftovers,
  nothingUnderWay,
  type ProtocolState,
  queueStep,
} from './protocol.js';
import {
  add,
  anything,
  divide,
  either,
  exactly,
  lesser,
  multiply,
  type Range,
  remainder,
  roundedUp,
  subtract,
  upTo,
} from './range.js';
import { assignedIn, type Expression, type KernelSyntax, type Method, type Statement } from './syntax.js';
import {
  type LocalValue,
  numberValue,
  rangeOf,
  type Space,
  sizeOf,
  spaceOf,
  unknown,
  type Value,
} from './values.js';

export interface LocalBuffer {
  readonly space: Space;
  readonly count: number;
  readonly bytes: number;
  readonly isQueue: boolean;
}

export interface Execution {
  readonly buffers: ReadonlyMap<string, LocalBuffer>;
}

/** Which cores run: mixed kernels are executed once for each. */
export type CoreRole = 'AIC' | 'AIV';

type Report = (rule: Rule, line: number, message: string) => void;

/** What ends a path through a method. */
interface Returned {
  readonly value: Value;
}

const mostUnrolled = 8;
const eventIds = 8;

export class Executor {
  readonly buffers = new Map<string, LocalBuffer>();
  readonly crossCore = { set: new Set<number>(), awaited: new Set<number>() };
  synchronisesAll = false;
  private state = nothingUnderWay();
  private readonly globals = new Map<string, Value>();
  private line = 0;

  constructor(
    private readonly syntax: KernelSyntax,
    private readonly chip: Chip,
    private readonly role: CoreRole,
    private readonly isMixed: boolean,
    private readonly report: Report,
  ) {
    for (const { name, value } of syntax.constants)
      if (value !== undefined) this.globals.set(name, this.evaluate(value, new Map()));
    for (const { name, type } of syntax.members) this.globals.set(name, memberValue(name, type));
  }

  run(): void {
    for (const name of ['Init', 'Process']) {
      const method = this.syntax.methods.get(name);
      if (method === undefined) this.problem('language', `the kernel has no ${name}`);
      else
        this.call(
          method,
          method.parameters.map(() => unknown),
        );
    }
    for (const text of leftovers(this.state)) this.problem('protocol', text);
  }

  private problem(rule: Rule, message: string): void {
    this.report(rule, this.line, message);
  }

  // ---- statements ----

  private call(method: Method, args: readonly Value[]): Value {
    const scope = new Map<string, Value>();
    method.parameters.forEach(({ name }, i) => {
      scope.set(name, args[i] ?? unknown);
    });
    const line = this.line;
    const returned = this.statements(method.body, scope);
    this.line = line;
    return returned?.value ?? unknown;
  }

  private statements(body: readonly Statement[], scope: Map<string, Value>): Returned | undefined {
    for (const statement of body) {
      const returned = this.statement(statement, scope);
      if (returned !== undefined) return returned;
    }
    return undefined;
  }

  private statement(statement: Statement, scope: Map<string, Value>): Returned | undefined {
    this.line = statement.line;
    switch (statement.kind) {
      case 'block': {
        return this.statements(statement.body, inner(scope));
      }
      case 'declare':
        for (const { type, name, value } of statement.declared)
          scope.set(name, this.declared(type, value, scope));
        return undefined;
      case 'expression':
        this.evaluate(statement.value, scope);
        return undefined;
      case 'return':
        return { value: statement.value === undefined ? unknown : this.evaluate(statement.value, scope) };
      case 'if':
        return this.branch(statement, scope);
      case 'for':
        this.loop(statement, scope);
        return undefined;
    }
  }

  private declared(type: string, value: Expression | undefined, scope: Map<string, Value>): Value {
    if (/Params(V220)?(<.*>)?$/.test(type)) return this.parameters(type, value, scope);
    if (value === undefined || value.kind === 'list') return unknown;
    return this.evaluate(value, scope);
  }

  private parameters(type: string, value: Expression | undefined, scope: Map<string, Value>): Value {
    const items =
      value?.kind === 'list' ? value.items.map((item) => rangeOf(this.evaluate(item, scope))) : [];
    return { kind: 'parameters', type, items, fields: new Map() };
  }

  private branch(
    statement: Extract<Statement, { kind: 'if' }>,
    scope: Map<string, Value>,
  ): Returned | undefined {
    const role = roleOf(statement.condition);
    if (role !== undefined) {
      const taken = role === this.role || !this.isMixed;
      const chosen = taken ? statement.then : statement.otherwise;
      return chosen === undefined ? undefined : this.statement(chosen, inner(scope));
    }
    this.evaluate(statement.condition, scope);
    const before = copied(this.state);
    const first = this.statement(statement.then, inner(scope));
    const afterFirst = this.state;
    this.state = before;
    const second = statement.otherwise && this.statement(statement.otherwise, inner(scope));
    this.line = statement.line;
    // A side that leaves the method has to have put everything back; the other goes on.
    if (first !== undefined && second === undefined) return undefined;
    if (second !== undefined) this.state = afterFirst;
    if (first === undefined && second === undefined) this.balanced(afterFirst, 'a side of a branch');
    return first !== undefined && second !== undefined ? first : undefined;
  }

  private loop(statement: Extract<Statement, { kind: 'for' }>, scope: Map<string, Value>): void {
    const own = inner(scope);
    if (statement.start !== undefined) this.statement(statement.start, own);
    const turns = this.fixedTurns(statement, own);
    if (turns !== undefined) {
      for (const value of turns.values) {
        own.set(turns.name, numberValue(exactly(value)));
        this.statement(statement.body, inner(own));
      }
      return;
    }
    for (const name of assignedIn(statement)) widen(own, name);
    this.bindVariable(statement, own);
    const before = copied(this.state);
    this.statement(statement.body, inner(own));
    this.line = statement.line;
    this.balanced(before, 'a turn of a loop');
  }

  /** The values of a variable that runs over few constants. */
  private fixedTurns(
    { start, condition, step }: Extract<Statement, { kind: 'for' }>,
    scope: Map<string, Value>,
  ): { name: string; values: number[] } | undefined {
    if (start?.kind !== 'declare' || condition?.kind !== 'binary' || condition.operator !== '<')
      return undefined;
    if (step?.kind !== 'unary') return undefined;
    const { name } = start.declared[0] as { name: string };
    const [from, to] = [rangeOf(scope.get(name)), rangeOf(this.evaluate(condition.right, scope))];
    if (from.least !== from.most || to.least !== to.most || to.most - from.least > mostUnrolled)
      return undefined;
    return { name, values: Array.from({ length: to.most - from.least }, (_, i) => from.least + i) };
  }

  /** Within the loop its variable is from where it starts to below the limit, in whole steps. */
  private bindVariable(
    { start, condition, step }: Extract<Statement, { kind: 'for' }>,
    scope: Map<string, Value>,
  ): void {
    if (start?.kind !== 'declare') return;
    const { name, value } = start.declared[0] as { name: string; value?: Expression };
    const from = value === undefined ? exactly(0) : rangeOf(this.evaluate(value, scope));
    const limit =
      condition?.kind === 'binary' && condition.operator === '<'
        ? rangeOf(this.evaluate(condition.right, scope)).most - 1
        : from.most;
    const by = step?.kind === 'binary' ? rangeOf(this.evaluate(step.right, inner(scope))) : exactly(1);
    const { multiple } = either(from, by);
    scope.set(name, numberValue({ least: from.least, most: Math.max(from.least, limit), multiple }));
  }

  // ---- queues and flags ----

  private balanced(other: ProtocolState, what: string): void {
    for (const text of imbalances(other, this.state, what)) this.problem('protocol', text);
  }

  private queueCall(
    name: string,
    method: string,
    templates: readonly string[],
    args: readonly Value[],
  ): Value {
    const buffer = this.buffers.get(name);
    if (buffer === undefined) {
      this.problem('protocol', `${name} is used before InitBuffer`);
      return unknown;
    }
    const [given] = args;
    if (given?.kind === 'local' && given.queue !== name)
      this.problem('protocol', `${method} of a tensor that is not one of ${name}`);
    const wrong = queueStep(this.state, name, method, buffer.count);
    if (wrong !== undefined) this.problem('protocol', `${name}: ${wrong}`);
    return method === 'AllocTensor' || method === 'DeQue'
      ? {
          kind: 'local',
          space: buffer.space,
          type: templates[0] ?? '',
          bytes: buffer.bytes,
          offset: exactly(0),
          queue: name,
        }
      : unknown;
  }

  private flagCall(kind: 'SetFlag' | 'WaitFlag', event: string, id: Range): void {
    if (id.most !== Number.POSITIVE_INFINITY && id.most >= eventIds)
      this.problem('limit', `event id ${id.most} is not in 0 to ${eventIds - 1}`);
    const wrong = flagStep(this.state, kind, event);
    if (wrong !== undefined) this.problem('protocol', `${event}: ${wrong}`);
  }

  private crossCoreCall(name: string, templates: readonly string[], flag: Range): void {
    const [mode, pipe] = templates;
    if (!['0', '1', '2'].includes(mode ?? ''))
      this.problem('limit', `${name}: mode ${mode} is not 0, 1 or 2`);
    if (name === 'CrossCoreSetFlag' && (pipe === undefined || pipe === 'PIPE_S' || pipe === 'PIPE_ALL'))
      this.problem('limit', `${name} is on a pipe that carries instructions, not on ${pipe}`);
    if (flag.least !== flag.most) return;
    if (flag.most > 10)
      this.problem('limit', `cross-core flag ${flag.most} is not in 0 to 10; SyncAll uses 11 to 14`);
    (name === 'CrossCoreSetFlag' ? this.crossCore.set : this.crossCore.awaited).add(flag.most);
  }

  // ---- expressions ----

  private evaluate(expression: Expression, scope: Map<string, Value>): Value {
    switch (expression.kind) {
      case 'number':
        return numberValue(exactly(expression.value));
      case 'name':
        return this.named(expression.name, scope);
      case 'index':
        return this.indexed(this.evaluate(expression.object, scope), this.evaluate(expression.at, scope));
      case 'unary':
        return this.unary(expression, scope);
      case 'binary':
        return this.binary(expression, scope);
      case 'choice': {
        const { least } = rangeOf(this.evaluate(expression.condition, scope));
        if (least > 0) return this.evaluate(expression.yes, scope);
        const [a, b] = [
          this.evaluate(expression.yes, scope),
          this.evaluate(expression.no, this.whereUnequal(expression.condition, scope)),
        ];
        return a.kind === 'number' && b.kind === 'number' ? numberValue(either(a.range, b.range)) : a;
      }
      case 'list':
        return this.parameters(expression.type, expression, scope);
      case 'member':
        this.evaluate(expression.object, scope);
        return unknown;
      case 'call':
        return this.called(expression, scope);
    }
  }

  /** Where `name == number` does not hold: a least value that the number is cannot be. */
  private whereUnequal(condition: Expression, scope: Map<string, Value>): Map<string, Value> {
    if (condition.kind !== 'binary' || condition.operator !== '==' || condition.left.kind !== 'name')
      return scope;
    const { name } = condition.left;
    const [own, other] = [rangeOf(scope.get(name)), rangeOf(this.evaluate(condition.right, scope))];
    if (other.least !== other.most || own.least !== other.least || own.most <= own.least) return scope;
    return inner(scope).set(name, numberValue({ ...own, least: own.least + 1 }));
  }

  private named(name: string, scope: Map<string, Value>): Value {
    const known = scope.get(name) ?? this.globals.get(name);
    if (known !== undefined) return known;
    return name.includes('::') || /^[A-Z]/.test(name) ? { kind: 'text', text: name } : unknown;
  }

  private indexed(object: Value, at: Value): Value {
    if (object.kind !== 'local') return object;
    const bytes = multiply(rangeOf(at), exactly(sizeOf(object.type)));
    const least = bytes.least === Number.POSITIVE_INFINITY ? 0 : bytes.least;
    return { ...object, bytes: object.bytes - least, offset: add(object.offset, bytes) };
  }

  private unary(expression: Extract<Expression, { kind: 'unary' }>, scope: Map<string, Value>): Value {
    const { operator, operand } = expression;
    if (operator === '*')
      this.problem('language', 'a pointer is dereferenced: global memory is reached by GlobalTensor');
    const value = this.evaluate(operand, scope);
    if (operator === '++' || operator === '--') {
      if (operand.kind === 'name') widen(scope, operand.name);
      return unknown;
    }
    if (operator === '-' && value.kind === 'number')
      return numberValue({
        least: -value.range.most,
        most: -value.range.least,
        multiple: value.range.multiple,
      });
    return operator === '+' ? value : unknown;
  }

  private binary(expression: Extract<Expression, { kind: 'binary' }>, scope: Map<string, Value>): Value {
    const { operator, left, right } = expression;
    const b = this.evaluate(right, scope);
    if (operator === '=') return this.assigned(left, right, b, scope);
    const a = this.evaluate(left, scope);
    if (operator.endsWith('=') && operator.length === 2 && '+-*/'.includes(operator[0] as string)) {
      if (left.kind === 'name') widen(scope, left.name);
      return unknown;
    }
    const [x, y] = [rangeOf(a), rangeOf(b)];
    switch (operator) {
      case '+':
        return numberValue(add(x, y));
      case '-':
        return numberValue(subtract(x, y));
      case '*':
        return numberValue(multiply(x, y));
      case '/':
        return numberValue(divide(x, y));
      case '%':
        return numberValue(remainder(x, y));
      case '==':
        return numberValue(
          x.least === x.most && y.least === y.most ? exactly(x.most === y.most ? 1 : 0) : upTo(1),
        );
      default:
        return numberValue(upTo(1));
    }
  }

  private assigned(left: Expression, right: Expression, value: Value, scope: Map<string, Value>): Value {
    if (left.kind === 'name') {
      if (scope.has(left.name)) scope.set(left.name, value);
      return value;
    }
    if (left.kind !== 'member') return value;
    const object = this.evaluate(left.object, scope);
    if (object.kind !== 'parameters') return value;
    const text = right.kind === 'name' && value.kind === 'text' ? value.text : undefined;
    object.fields.set(
      left.name,
      text ?? (right.kind === 'name' && isWord(right.name) ? right.name : rangeOf(value)),
    );
    return value;
  }

  private called({ callee, args }: Extract<Expression, { kind: 'call' }>, scope: Map<string, Value>): Value {
    const values = args.map((arg) => this.evaluate(arg, scope));
    if (callee.kind === 'member') return this.memberCall(callee, args, values, scope);
    if (callee.kind !== 'name') return unknown;
    const { name, templates } = callee;
    const method = this.syntax.methods.get(name);
    if (method !== undefined) return this.call(method, values);
    const first = rangeOf(values[0]);
    const second = rangeOf(values[1]);
    switch (name) {
      case 'sizeof':
        return numberValue(args[0]?.kind === 'name' ? exactly(sizeOf(args[0].name)) : anything);
      case 'Minimum':
        return numberValue(lesser(first, second));
      case 'CeilDiv':
        return numberValue(divide(first, second, Math.ceil));
      case 'Align16':
        return numberValue(roundedUp(first, 16));
      case 'WholeRepeats':
        return numberValue(roundedUp(first, 64));
      case 'Clamp':
        return numberValue(upTo(second.most - 1));
      case 'GetBlockIdx':
        return numberValue(upTo(2 * this.chip.cubeCores - 1));
      case 'GetSubBlockIdx':
        return numberValue(upTo(1));
      case 'SetFlag':
      case 'WaitFlag':
        this.flagCall(name, (templates[0] ?? '').replace('HardEvent::', ''), first);
        return unknown;
      case 'CrossCoreSetFlag':
      case 'CrossCoreWaitFlag':
        this.crossCoreCall(name, templates, first);
        return unknown;
      case 'SyncAll':
        this.synchronisesAll = true;
        if (this.isMixed !== (templates[0] === 'false'))
          this.problem(
            'protocol',
            'SyncAll<false> is for kernels of cube and vector cores, SyncAll() for vector cores alone',
          );
        return unknown;
    }
    if (/Params(V220)?$/.test(name))
      return { kind: 'parameters', type: name, items: values.map(rangeOf), fields: new Map() };
    if (name.startsWith('static_cast') || name === 'float' || name === 'int64_t') return values[0] ?? unknown;
    const check = instructions[name];
    if (check !== undefined)
      check({
        name,
        templates,
        args: values,
        chip: this.chip,
        report: (rule, text) => this.problem(rule, text),
      });
    return unknown;
  }

  private memberCall(
    callee: Extract<Expression, { kind: 'member' }>,
    args: readonly Expression[],
    values: readonly Value[],
    scope: Map<string, Value>,
  ): Value {
    const object = this.evaluate(callee.object, scope);
    const { name, templates } = callee;
    if (name === 'InitBuffer') return this.initBuffer(args, values);
    if (name === 'FetchEventID') return numberValue(upTo(5));
    if (object.kind === 'buffer') {
      const buffer = this.buffers.get(object.name);
      if (buffer?.isQueue !== false) return this.queueCall(object.name, name, templates, values);
      return this.partOf(
        object.name,
        buffer,
        templates[0] ?? '',
        name === 'GetWithOffset' ? values : undefined,
      );
    }
    if (object.kind === 'local' && name === 'ReinterpretCast') return { ...object, type: templates[0] ?? '' };
    return unknown;
  }

  private partOf(name: string, buffer: LocalBuffer, type: string, part: readonly Value[] | undefined): Value {
    const whole: LocalValue = {
      kind: 'local',
      space: buffer.space,
      type,
      bytes: buffer.bytes,
      offset: exactly(0),
    };
    if (part === undefined) return whole;
    const bytes = multiply(rangeOf(part[0]), exactly(sizeOf(type)));
    const offset = rangeOf(part[1]);
    if (offset.multiple % 32 !== 0)
      this.problem('alignment', `a part of ${name} begins at no multiple of 32 bytes`);
    const end = offset.most + bytes.most;
    if (end !== Number.POSITIVE_INFINITY && end > buffer.bytes)
      this.problem('bounds', `a part of ${name} may end at byte ${end} of ${buffer.bytes}`);
    return { ...whole, bytes: bytes.most, offset };
  }

  private initBuffer(args: readonly Expression[], values: readonly Value[]): Value {
    const [target] = args;
    const name = target?.kind === 'name' ? target.name : '';
    const type = this.syntax.members.find((member) => member.name === name)?.type ?? '';
    const [kind, position] = [type.slice(0, 4), /TPosition::\w+/.exec(type)?.[0] ?? ''];
    const isQueue = kind === 'TQue';
    const bytes = rangeOf(values[isQueue ? 2 : 1]);
    const count = isQueue ? rangeOf(values[1]).most : 1;
    if (bytes.least !== bytes.most) this.problem('memory', `the size of ${name} is not a constant`);
    else this.buffers.set(name, { space: spaceOf(position), count, bytes: bytes.most, isQueue });
    return unknown;
  }
}

const isWord = (name: string): boolean => /^[A-Z]/.test(name) || name === 'true' || name === 'false';

function memberValue(name: string, type: string): Value {
  if (type.startsWith('TQue') || type.startsWith('TBuf')) return { kind: 'buffer', name };
  const global = /^GlobalTensor<(\w+)>/.exec(type);
  return global === null ? unknown : { kind: 'global', type: global[1] as string };
}

function roleOf(condition: Expression): CoreRole | undefined {
  if (condition.kind !== 'name') return undefined;
  if (condition.name === 'ASCEND_IS_AIC') return 'AIC';
  return condition.name === 'ASCEND_IS_AIV' ? 'AIV' : undefined;
}

/** A scope whose own names end with it, and whose assignments to outer names do too: what is assigned is widened first. */
const inner = (scope: Map<string, Value>): Map<string, Value> => new Map(scope);

function widen(scope: Map<string, Value>, name: string): void {
  if (scope.get(name)?.kind === 'number') scope.set(name, unknown);
}
