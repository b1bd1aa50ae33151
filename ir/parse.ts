/**
 * Parser of the IR text form that print.ts writes. Errors are HEW5001 with the place in the text. Declarations precede
 * their uses: dimensions before types, functions before their callers.
 */

import { completeAttrs, FuncBuilder, makeOp, moduleScope, type Scope } from './builder.js';
import { fail } from './diagnostics.js';
import { addDims, type Dim, DimError, dim, divDims, mulDims, subDims } from './dim.js';
import type {
  DimDecl,
  Func,
  Loop,
  Module,
  Param,
  SamplerDecl,
  State,
  TokenizerDecl,
  Value,
} from './module.js';
import { type AttrKind, type AttrValue, InferError } from './op.js';
import { isOpName, type OpName, opTable } from './ops/table.js';
import type { Recipe } from './recipe.js';
import { isDType, printType, type TensorType, typesEqual } from './type.js';

interface Token {
  readonly kind: 'string' | 'symbol' | 'value' | 'number' | 'word' | 'punctuation' | 'end';
  readonly text: string;
  readonly at: number;
}

const tokenPattern =
  /\s+|\/\/[^\n]*|(?<string>"[^"\\]*(?:\\.[^"\\]*)*")|(?<symbol>@(?:[\w.{}+-]+|"[^"\\]*(?:\\.[^"\\]*)*"))|(?<value>%\w+)|(?<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?<word>[A-Za-z_]\w*)|(?<punctuation>->|\.\.|[-+*/(){}[\]:,=])/gy;

/** The named groups of the pattern, the frequent ones first. */
const kinds = [
  'punctuation',
  'value',
  'word',
  'number',
  'symbol',
  'string',
] as const satisfies readonly Token['kind'][];

/** Nesting of recipes and dimensions that the recursive parser follows. */
const maxDepth = 256;

function tokenise(text: string, file: string): Token[] {
  const tokens: Token[] = [];
  tokenPattern.lastIndex = 0;
  while (tokenPattern.lastIndex < text.length) {
    const at = tokenPattern.lastIndex;
    const match = tokenPattern.exec(text);
    if (match === null)
      fail('HEW5001', `unexpected character '${text[at]}'`, { span: { file, start: at, end: at + 1 } });
    const kind = kinds.find((name) => match.groups?.[name] !== undefined);
    if (kind !== undefined) tokens.push({ kind, text: match[0], at });
  }
  tokens.push({ kind: 'end', text: 'the end of the text', at: text.length });
  return tokens;
}

export function parseModule(text: string, file = '<ir>'): Module {
  return new ModuleParser(tokenise(text, file), file).parse();
}

class ModuleParser {
  private position = 0;
  private depth = 0;
  private readonly dims = new Map<string, DimDecl>();
  private readonly loops = new Map<string, Loop>();
  private readonly params = new Map<string, Param>();
  private readonly states = new Map<string, State>();
  private readonly functions = new Map<string, Func>();
  private tokenizer: TokenizerDecl | undefined;
  private sampler: SamplerDecl | undefined;
  private name = '';

  constructor(
    private readonly tokens: readonly Token[],
    private readonly file: string,
  ) {}

  parse(): Module {
    this.expectWord('module');
    this.name = this.symbol();
    this.expect('{');
    while (!this.accept('}')) this.item();
    if (this.peek().kind !== 'end') this.unexpected('the end of the text');
    return this.module();
  }

  private module(): Module {
    const { name, dims, loops, params, states, functions, tokenizer, sampler } = this;
    return {
      name,
      dims,
      loops,
      params,
      states,
      functions,
      ...(tokenizer === undefined ? {} : { tokenizer }),
      ...(sampler === undefined ? {} : { sampler }),
    };
  }

  private readonly items: Record<string, () => void> = {
    dim: () => this.dims.set(this.fresh(this.dims, this.word()), this.dimDecl()),
    loop: () => this.loop(),
    param: () => this.param(),
    state: () => this.state(),
    func: () => this.func(),
    entry: () => this.func(),
    tokenizer: () => {
      this.tokenizer = { file: this.string() };
    },
    sampler: () => {
      this.sampler = { kind: this.word(), settings: this.json() as SamplerDecl['settings'] };
    },
  };

  private item(): void {
    const keyword = this.peek().text;
    const parseItem = Object.hasOwn(this.items, keyword) ? this.items[keyword] : undefined;
    if (parseItem === undefined) this.unexpected(`one of ${Object.keys(this.items).join(', ')} or '}'`);
    this.position++;
    parseItem();
  }

  private dimDecl(): DimDecl {
    if (this.accept('=')) return { value: this.integer() };
    this.expectWord('in');
    const min = this.integer();
    this.expect('..');
    return { min, max: this.integer() };
  }

  private loop(): void {
    const name = this.fresh(this.loops, this.word());
    this.expectWord('over');
    const count = this.dim();
    const first = this.acceptWord('from') ? { first: this.dim() } : {};
    this.expect('=');
    this.loops.set(name, { count, ...first, indices: this.list('[', ']', () => this.integer()) });
  }

  private inLoop(): string | undefined {
    return this.acceptWord('in') ? this.word() : undefined;
  }

  private param(): void {
    const name = this.fresh(this.params, this.symbol());
    const loop = this.inLoop();
    this.expect(':');
    const type = this.type();
    this.expect('=');
    this.params.set(name, { type, loop, recipe: this.recipe() });
  }

  private state(): void {
    const name = this.fresh(this.states, this.symbol());
    const loop = this.inLoop();
    this.expect(':');
    this.states.set(name, { type: this.type(), loop });
  }

  /** The name that was just read, unless it is taken. */
  private fresh(taken: ReadonlyMap<string, unknown>, name: string): string {
    if (taken.has(name)) this.error(this.tokens[this.position - 1] as Token, `${name} is declared twice`);
    return name;
  }

  private recipe(): Recipe {
    return this.nested(() => this.recipeHere());
  }

  private recipeHere(): Recipe {
    const at = this.peek();
    const head = this.word();
    this.expect('(');
    if (head === 'source') {
      const name = this.string();
      this.expect(',');
      const type = this.type();
      this.expect(')');
      return { kind: 'source', name, type };
    }
    if (head === 'constant') {
      const type = this.type();
      this.expect(',');
      const bytes = new Uint8Array(Buffer.from(this.string(), 'base64'));
      this.expect(')');
      return { kind: 'constant', type, bytes };
    }
    if (head === 'stack') {
      const count = this.dim();
      this.expect(',');
      return { kind: 'stack', count, parts: this.rest(() => this.recipe()) };
    }
    if (head === 'per_index') return { kind: 'per_index', parts: this.rest(() => this.recipe()) };
    if (!isOpName(head)) this.error(at, `'${head}' is not a recipe or an operation`);
    const attrs: Record<string, AttrValue> = {};
    const args: Recipe[] = [];
    this.rest(() => {
      if (this.tokens[this.position + 1]?.text === '=') this.attribute(head, attrs);
      else args.push(this.recipe());
    });
    return {
      kind: 'op',
      op: head,
      attrs: this.attempt(at, () => completeAttrs(head, opTable[head], attrs)),
      args,
    };
  }

  private func(): void {
    const entry = this.tokens[this.position - 1]?.text === 'entry';
    const name = this.fresh(this.functions, this.symbol());
    const loop = this.inLoop();
    const kernel = this.acceptWord('kernel') ? this.word() : undefined;
    const scope = moduleScope(this.module(), loop);
    const builder = new FuncBuilder(name, scope, { loop, kernel });
    const values = new Map<string, Value>();
    this.list('(', ')', () => {
      const token = this.define(values, 'an argument such as %x');
      this.expect(':');
      values.set(token.text, builder.arg(this.type(), hint(token)));
    });
    this.expect('->');
    const outputs: string[] = [];
    const declared = this.list('(', ')', () => {
      if (entry) {
        outputs.push(this.word());
        this.expect(':');
      }
      return this.type();
    });
    this.expect('{');
    while (!this.acceptWord('return')) this.operation(builder, scope, values);
    const results = this.peek().kind === 'value' ? this.commaSeparated(() => this.use(values)) : [];
    this.checkTypes(
      this.peek(),
      declared,
      results.map((r) => r.type),
      `@${name} returns`,
    );
    this.expect('}');
    this.functions.set(name, { ...builder.finish(results), ...(entry ? { outputs } : {}) });
  }

  private operation(builder: FuncBuilder, scope: Scope, values: Map<string, Value>): void {
    const results =
      this.peek().kind === 'value' ? this.commaSeparated(() => this.define(values, 'a value')) : [];
    if (results.length > 0) this.expect('=');
    const at = this.peek();
    const name = this.word();
    if (!isOpName(name)) this.error(at, `there is no operation '${name}'`);
    this.expect('(');
    const operands: Value[] = [];
    const attrs: Record<string, AttrValue> = {};
    this.rest(() => {
      if (this.peek().kind === 'value') operands.push(this.use(values));
      else this.attribute(name, attrs);
    });
    const op = this.attempt(at, () =>
      makeOp(scope, name, operands, attrs, { file: this.file, start: at.at, end: at.at + at.text.length }),
    );
    if (results.length > 0) {
      this.expect(':');
      const declared = this.commaSeparated(() => this.type());
      this.checkTypes(
        at,
        declared,
        op.results.map((r) => r.type),
        name,
      );
    }
    if (results.length !== op.results.length)
      this.error(at, `${name} has ${op.results.length} results, ${results.length} named`);
    const own = op.results as Value[];
    results.forEach((token, i) => {
      if (values.has(token.text)) this.error(token, `${token.text} is defined twice`);
      own[i] = { ...(own[i] as Value), name: hint(token) };
      values.set(token.text, own[i] as Value);
    });
    builder.append(op);
  }

  private checkTypes(
    at: Token,
    declared: readonly TensorType[],
    actual: readonly TensorType[],
    what: string,
  ): void {
    const agree =
      declared.length === actual.length && declared.every((t, i) => typesEqual(t, actual[i] as TensorType));
    if (!agree)
      this.error(
        at,
        `${what}: declared ${declared.map(printType).join(', ')}, but it is ${actual.map(printType).join(', ')}`,
      );
  }

  private attribute(op: OpName, into: Record<string, AttrValue>): void {
    const at = this.peek();
    const key = this.word();
    const schema = opTable[op].attrs;
    const spec = Object.hasOwn(schema, key) ? schema[key] : undefined;
    if (spec === undefined) this.error(at, `${op} has no attribute '${key}'`);
    if (Object.hasOwn(into, key)) this.error(at, `attribute '${key}' is given twice`);
    this.expect('=');
    into[key] = this.attrParsers[spec.kind]();
  }

  private readonly attrParsers: Record<AttrKind, () => AttrValue> = {
    int: () => this.integer(),
    float: () => this.number(),
    bool: () => this.boolean(),
    string: () => this.string(),
    ints: () => this.list('[', ']', () => this.integer()),
    dim: () => this.dim(),
    dims: () => this.list('[', ']', () => this.dim()),
    dtype: () => this.word(),
    symbol: () => this.symbol(),
  };

  /** The token of a value that is not defined yet. */
  private define(values: ReadonlyMap<string, Value>, wanted: string): Token {
    const token = this.next('value', wanted);
    return values.has(token.text) ? this.error(token, `${token.text} is defined twice`) : token;
  }

  private use(values: ReadonlyMap<string, Value>): Value {
    const token = this.next('value', 'a value');
    return values.get(token.text) ?? this.error(token, `${token.text} is not defined`);
  }

  private type(): TensorType {
    const at = this.peek();
    const dtype = this.word();
    if (!isDType(dtype)) this.error(at, `'${dtype}' is not a data type`);
    return { dtype, shape: this.list('[', ']', () => this.dim()) };
  }

  private dim(): Dim {
    const at = this.peek();
    return this.attempt(at, () => this.nested(() => this.dimSum()));
  }

  private dimSum(): Dim {
    let sum = this.dimProduct();
    for (;;) {
      if (this.accept('+')) sum = addDims(sum, this.dimProduct());
      else if (this.accept('-')) sum = subDims(sum, this.dimProduct());
      else return sum;
    }
  }

  private dimProduct(): Dim {
    let product = this.dimFactor();
    for (;;) {
      if (this.accept('*')) product = mulDims(product, this.dimFactor());
      else if (this.accept('/')) product = divDims(product, this.dimFactor());
      else return product;
    }
  }

  private dimFactor(): Dim {
    if (this.accept('-'))
      return mulDims(
        -1,
        this.nested(() => this.dimFactor()),
      );
    if (this.accept('(')) {
      const inner = this.dim();
      this.expect(')');
      return inner;
    }
    if (this.peek().kind === 'number') return dim(this.integer());
    const at = this.peek();
    const name = this.word();
    if (!this.dims.has(name)) this.error(at, `dimension '${name}' is not declared`);
    return dim(name);
  }

  private json(): unknown {
    const first = this.peek();
    const start = first.at;
    if (first.text !== '{') this.unexpected("'{'");
    let depth = 0;
    do {
      const text = this.peek().text;
      if (this.peek().kind === 'end') this.unexpected("'}'");
      if (text === '{') depth++;
      if (text === '}') depth--;
      this.position++;
    } while (depth > 0);
    const tokens = this.tokens.filter((t) => t.at >= start && t.at < this.peek().at);
    return this.attempt(first, () => JSON.parse(tokens.map((t) => t.text).join('')));
  }

  private integer(): number {
    const at = this.peek();
    const value = this.number();
    return Number.isSafeInteger(value) ? value : this.error(at, `${value} is not an integer`);
  }

  private boolean(): boolean {
    if (this.acceptWord('true')) return true;
    if (!this.acceptWord('false')) this.unexpected("'true' or 'false'");
    return false;
  }

  private number(): number {
    return this.accept('-') ? -this.magnitude() : this.magnitude();
  }

  private magnitude(): number {
    if (this.acceptWord('Infinity')) return Number.POSITIVE_INFINITY;
    if (this.acceptWord('NaN')) return Number.NaN;
    return Number(this.next('number', 'a number').text);
  }

  private string(): string {
    const token = this.next('string', 'a string');
    return this.attempt(token, () => JSON.parse(token.text) as string);
  }

  private symbol(): string {
    const token = this.next('symbol', 'a symbol such as @name');
    const text = token.text.slice(1);
    return text.startsWith('"') ? this.attempt(token, () => JSON.parse(text) as string) : text;
  }

  private word(): string {
    return this.next('word', 'a name').text;
  }

  private commaSeparated<T>(one: () => T): T[] {
    const items = [one()];
    while (this.accept(',')) items.push(one());
    return items;
  }

  private list<T>(open: string, close: string, one: () => T): T[] {
    this.expect(open);
    return this.rest(one, close);
  }

  /** What is left of a list whose opening bracket was read. */
  private rest<T>(one: () => T, close = ')'): T[] {
    if (this.accept(close)) return [];
    const items = this.commaSeparated(one);
    this.expect(close);
    return items;
  }

  /** Parses something that may contain itself, to a bounded depth. */
  private nested<T>(parse: () => T): T {
    if (this.depth >= maxDepth) this.error(this.peek(), 'this is nested too deeply');
    this.depth++;
    const result = parse();
    this.depth--;
    return result;
  }

  private peek(): Token {
    return this.tokens[this.position] as Token;
  }

  private next(kind: Token['kind'], wanted: string): Token {
    const token = this.peek();
    if (token.kind !== kind) this.unexpected(wanted);
    this.position++;
    return token;
  }

  private accept(text: string): boolean {
    if (this.peek().kind !== 'punctuation' || this.peek().text !== text) return false;
    this.position++;
    return true;
  }

  private acceptWord(text: string): boolean {
    if (this.peek().kind !== 'word' || this.peek().text !== text) return false;
    this.position++;
    return true;
  }

  private expect(text: string): void {
    if (!this.accept(text)) this.unexpected(`'${text}'`);
  }

  private expectWord(text: string): void {
    if (!this.acceptWord(text)) this.unexpected(`'${text}'`);
  }

  private unexpected(wanted: string): never {
    const token = this.peek();
    return this.error(
      token,
      `expected ${wanted}, found ${token.kind === 'end' ? token.text : `'${token.text}'`}`,
    );
  }

  private error(token: Token, message: string): never {
    return fail('HEW5001', message, {
      span: { file: this.file, start: token.at, end: token.at + token.text.length },
    });
  }

  /** Turns the errors of IR construction into diagnostics at `token`. */
  private attempt<T>(token: Token, action: () => T): T {
    try {
      return action();
    } catch (error) {
      if (error instanceof InferError || error instanceof DimError || error instanceof SyntaxError) {
        return this.error(token, error.message);
      }
      throw error;
    }
  }
}

function hint(token: Token): string | undefined {
  const name = token.text.slice(1);
  return /^\d+$/.test(name) ? undefined : name;
}
