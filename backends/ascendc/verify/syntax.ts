/**
 * The part of C++ that emitted kernels are written in, as syntax trees: constants, one class with members and methods,
 * and its entry. What lies outside of it is an error, so nothing that is emitted goes unseen.
 */

export type Expression =
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'name'; readonly name: string; readonly templates: readonly string[] }
  | {
      readonly kind: 'member';
      readonly object: Expression;
      readonly name: string;
      readonly templates: readonly string[];
    }
  | { readonly kind: 'call'; readonly callee: Expression; readonly args: readonly Expression[] }
  | { readonly kind: 'index'; readonly object: Expression; readonly at: Expression }
  | { readonly kind: 'list'; readonly type: string; readonly items: readonly Expression[] }
  | { readonly kind: 'unary'; readonly operator: string; readonly operand: Expression }
  | {
      readonly kind: 'binary';
      readonly operator: string;
      readonly left: Expression;
      readonly right: Expression;
    }
  | {
      readonly kind: 'choice';
      readonly condition: Expression;
      readonly yes: Expression;
      readonly no: Expression;
    };

export interface Declaration {
  readonly type: string;
  readonly name: string;
  readonly value?: Expression;
}

export type Statement = { readonly line: number } & (
  | { readonly kind: 'block'; readonly body: readonly Statement[] }
  | { readonly kind: 'declare'; readonly declared: readonly Declaration[] }
  | { readonly kind: 'expression'; readonly value: Expression }
  | { readonly kind: 'return'; readonly value?: Expression }
  | {
      readonly kind: 'if';
      readonly condition: Expression;
      readonly then: Statement;
      readonly otherwise?: Statement;
    }
  | {
      readonly kind: 'for';
      readonly start?: Statement;
      readonly condition?: Expression;
      readonly step?: Expression;
      readonly body: Statement;
    }
);

export interface Method {
  readonly name: string;
  readonly parameters: readonly Declaration[];
  readonly body: readonly Statement[];
}

export interface KernelSyntax {
  readonly constants: readonly Declaration[];
  readonly members: readonly Declaration[];
  readonly methods: ReadonlyMap<string, Method>;
  /** Statements of the entry function. */
  readonly entry: readonly Statement[];
}

export class SyntaxProblem extends Error {
  constructor(
    message: string,
    readonly line: number,
  ) {
    super(message);
  }
}

interface Token {
  readonly text: string;
  readonly kind: 'word' | 'number' | 'sign' | 'string' | 'end';
  readonly line: number;
}

const tokenPattern =
  /(?<space>\s+|\/\/[^\n]*|#[^\n]*)|(?<word>[A-Za-z_]\w*(?:::\w+)*)|(?<number>0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?[fuU]*)|(?<string>"[^"]*")|(?<sign>->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%<>=!?:;,.(){}[\]&|~^])/y;

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  const pattern = new RegExp(tokenPattern);
  let line = 1;
  while (pattern.lastIndex < text.length) {
    const at = pattern.lastIndex;
    const groups = pattern.exec(text)?.groups;
    if (groups === undefined) throw new SyntaxProblem(`unexpected character '${text[at]}'`, line);
    for (const kind of ['word', 'number', 'string', 'sign'] as const) {
      const own = groups[kind];
      if (own !== undefined) tokens.push({ kind, text: own, line });
    }
    line += text.slice(at, pattern.lastIndex).split('\n').length - 1;
  }
  return [...tokens, { kind: 'end', text: '', line }];
}

/** Binary operators by how tightly they bind. */
const precedence: readonly (readonly string[])[] = [
  ['||'],
  ['&&'],
  ['|'],
  ['&'],
  ['==', '!='],
  ['<', '>', '<=', '>='],
  ['<<', '>>'],
  ['+', '-'],
  ['*', '/', '%'],
];
const assignments: ReadonlySet<string> = new Set(['=', '+=', '-=', '*=', '/=']);
const qualifiers: ReadonlySet<string> = new Set([
  'const',
  'constexpr',
  'inline',
  'extern',
  '__aicore__',
  '__global__',
  '__gm__',
]);

class Parser {
  private at = 0;

  constructor(private readonly tokens: readonly Token[]) {}

  kernel(): KernelSyntax {
    const constants: Declaration[] = [];
    const members: Declaration[] = [];
    const methods = new Map<string, Method>();
    let entry: readonly Statement[] = [];
    while (this.peek().kind !== 'end') {
      if (this.accept('namespace')) {
        this.expect('{');
      } else if (this.accept('}')) {
        // the end of the namespace
      } else if (this.accept('using')) {
        while (!this.accept(';')) this.next();
      } else if (this.accept('class')) {
        this.classBody(this.next().text, members, methods);
      } else {
        const declared = this.typed();
        if (this.accept('(')) entry = this.functionRest(declared.name).body;
        else constants.push(this.initialised(declared));
      }
    }
    return { constants, members, methods, entry };
  }

  private classBody(name: string, members: Declaration[], methods: Map<string, Method>): void {
    this.expect('{');
    while (!this.accept('}')) {
      if (this.accept('public') || this.accept('private')) {
        this.expect(':');
        continue;
      }
      const isConstructor = this.tokens
        .slice(this.at, this.at + 4)
        .some((token, i) => token.text === name && this.tokens[this.at + i + 1]?.text === '(');
      if (isConstructor) {
        while (!this.accept('{')) this.next();
        this.expect('}');
        continue;
      }
      const declared = this.typed();
      if (this.accept('(')) methods.set(declared.name, this.functionRest(declared.name));
      else members.push(this.initialised(declared));
    }
    this.expect(';');
  }

  private functionRest(name: string): Method {
    const parameters: Declaration[] = [];
    while (!this.accept(')')) {
      parameters.push(this.typed());
      this.accept(',');
    }
    this.expect('{');
    return { name, parameters, body: this.statements() };
  }

  /** A type and a name. */
  private typed(): Declaration {
    return { type: this.type(), name: this.word() };
  }

  private initialised({ type, name }: Declaration): Declaration {
    const value = this.accept('=') ? this.expression() : undefined;
    this.expect(';');
    return value === undefined ? { type, name } : { type, name, value };
  }

  private type(): string {
    while (qualifiers.has(this.peek().text) || this.peek().kind === 'string') this.next();
    let text =
      this.word() +
      this.templates()
        .map((t) => `<${t}>`)
        .join('');
    while (this.peek().text === '*' || this.peek().text === '&') text += this.next().text;
    return text;
  }

  private statements(): Statement[] {
    const body: Statement[] = [];
    while (!this.accept('}')) body.push(this.statement());
    return body;
  }

  private statement(): Statement {
    const { line, text } = this.peek();
    if (this.accept('{')) return { kind: 'block', line, body: this.statements() };
    if (this.accept('if')) return this.branch(line);
    if (this.accept('for')) return this.loop(line);
    if (this.accept('return')) {
      if (this.accept(';')) return { kind: 'return', line };
      const value = this.expression();
      this.expect(';');
      return { kind: 'return', line, value };
    }
    if (['while', 'do', 'switch', 'goto', 'new', 'delete', 'throw', 'try'].includes(text))
      throw new SyntaxProblem(`'${text}' has no place in a kernel`, line);
    const simple = this.simple(line);
    this.expect(';');
    return simple;
  }

  private branch(line: number): Statement {
    this.accept('constexpr');
    const condition = this.accept('(') ? this.closed(')') : this.unary();
    const then = this.statement();
    if (!this.accept('else')) return { kind: 'if', line, condition, then };
    return { kind: 'if', line, condition, then, otherwise: this.statement() };
  }

  private loop(line: number): Statement {
    this.expect('(');
    const start = this.accept(';') ? undefined : this.simple(line);
    if (start !== undefined) this.expect(';');
    const condition = this.accept(';') ? undefined : this.closed(';');
    const step = this.accept(')') ? undefined : this.closed(')');
    return {
      kind: 'for',
      line,
      ...(start && { start }),
      ...(condition && { condition }),
      ...(step && { step }),
      body: this.statement(),
    };
  }

  private closed(sign: string): Expression {
    const value = this.expression();
    this.expect(sign);
    return value;
  }

  /** A declaration or an expression, without its semicolon. */
  private simple(line: number): Statement {
    const begin = this.at;
    const type = this.declaredType();
    if (type === undefined) {
      this.at = begin;
      return { kind: 'expression', line, value: this.expression() };
    }
    const declared: Declaration[] = [];
    do {
      const name = this.word();
      if (this.accept('=')) declared.push({ type, name, value: this.expression() });
      else if (this.accept('(')) declared.push({ type, name, value: this.listed(type, ')') });
      else if (this.accept('{')) declared.push({ type, name, value: this.listed(type, '}') });
      else declared.push({ type, name });
    } while (this.accept(','));
    return { kind: 'declare', line, declared };
  }

  private declaredType(): string | undefined {
    if (this.peek().kind !== 'word') return undefined;
    const type = this.type();
    return this.peek().kind === 'word' ? type : undefined;
  }

  private listed(type: string, end: string): Expression {
    return { kind: 'list', type, items: this.list(end) };
  }

  private list(end: string): Expression[] {
    const items: Expression[] = [];
    while (!this.accept(end)) {
      items.push(this.expression());
      this.accept(',');
    }
    return items;
  }

  expression(): Expression {
    const left = this.binary(0);
    if (this.accept('?')) {
      const yes = this.expression();
      this.expect(':');
      return { kind: 'choice', condition: left, yes, no: this.expression() };
    }
    const operator = this.peek().text;
    if (!assignments.has(operator)) return left;
    this.next();
    return { kind: 'binary', operator, left, right: this.expression() };
  }

  private binary(level: number): Expression {
    const operators = precedence[level];
    if (operators === undefined) return this.unary();
    let left = this.binary(level + 1);
    while (this.peek().kind === 'sign' && operators.includes(this.peek().text)) {
      const operator = this.next().text;
      left = { kind: 'binary', operator, left, right: this.binary(level + 1) };
    }
    return left;
  }

  private unary(): Expression {
    const { text, kind } = this.peek();
    if (kind === 'sign' && ['-', '!', '++', '--', '*', '&', '~', '+'].includes(text)) {
      this.next();
      return { kind: 'unary', operator: text, operand: this.unary() };
    }
    return this.postfix(this.primary());
  }

  private primary(): Expression {
    const { text, kind, line } = this.next();
    if (kind === 'number')
      return { kind: 'number', value: Number(text.startsWith('0x') ? text : text.replace(/[fuU]+$/, '')) };
    if (text === '(') return this.closed(')');
    if (text === '{') return this.listed('', '}');
    if (kind !== 'word') throw new SyntaxProblem(`unexpected '${text}'`, line);
    const templates = this.templates();
    if (this.peek().text === '{' && /^[A-Z]\w*Params$/.test(text)) {
      this.next();
      return this.listed(text, '}');
    }
    return { kind: 'name', name: text, templates };
  }

  private postfix(start: Expression): Expression {
    let value = start;
    for (;;) {
      if (this.accept('(')) value = { kind: 'call', callee: value, args: this.list(')') };
      else if (this.accept('[')) value = { kind: 'index', object: value, at: this.closed(']') };
      else if (this.accept('.') || this.accept('->'))
        value = { kind: 'member', object: value, name: this.word(), templates: this.templates() };
      else if (this.accept('++') || this.accept('--'))
        value = { kind: 'unary', operator: '++', operand: value };
      else return value;
    }
  }

  /** Template arguments, when `<` begins some: what is between the signs is names, numbers, stars and commas only. */
  private templates(): string[] {
    if (this.peek().text !== '<') return [];
    let depth = 0;
    for (let end = this.at; ; end++) {
      const { text, kind } = this.tokens[end] as Token;
      if (text === '<') depth += 1;
      else if (text === '>') depth -= 1;
      else if (!(kind === 'word' || kind === 'number' || text === ',' || text === '*')) return [];
      if (depth > 0) continue;
      const after = this.tokens[end + 1] as Token;
      if (
        after.text !== '(' &&
        after.text !== '{' &&
        after.text !== '&' &&
        after.text !== '*' &&
        after.kind !== 'word'
      )
        return [];
      const inner = this.tokens.slice(this.at + 1, end).map((token) => token.text);
      this.at = end + 1;
      return inner.join(' ').split(' , ');
    }
  }

  private peek(): Token {
    return this.tokens[this.at] as Token;
  }

  private next(): Token {
    const token = this.peek();
    this.at += 1;
    return token;
  }

  private word(): string {
    const { kind, text, line } = this.next();
    if (kind !== 'word') throw new SyntaxProblem(`a name is wanted, not '${text}'`, line);
    return text;
  }

  private accept(text: string): boolean {
    const { kind } = this.peek();
    if (this.peek().text !== text || kind === 'string') return false;
    this.at += 1;
    return true;
  }

  private expect(text: string): void {
    const token = this.next();
    if (token.text !== text) throw new SyntaxProblem(`'${text}' is wanted, not '${token.text}'`, token.line);
  }
}

export function parseKernel(text: string): KernelSyntax {
  return new Parser(tokensOf(text)).kernel();
}

/** Names that a loop's body or step assigns. */
export function assignedIn(statement: Extract<Statement, { kind: 'for' }>): Set<string> {
  const names = new Set<string>();
  const inExpression = (e: Expression | undefined): void => {
    if (e === undefined) return;
    if (e.kind === 'binary') {
      if (/^[-+*/]?=$/.test(e.operator) && e.left.kind === 'name') names.add(e.left.name);
      inExpression(e.left);
      inExpression(e.right);
    }
    if (e.kind === 'unary' && e.operator === '++' && e.operand.kind === 'name') names.add(e.operand.name);
    if (e.kind === 'unary' && e.operator === '--' && e.operand.kind === 'name') names.add(e.operand.name);
  };
  const inStatement = (s: Statement | undefined): void => {
    if (s === undefined) return;
    if (s.kind === 'block') s.body.forEach(inStatement);
    if (s.kind === 'expression') inExpression(s.value);
    if (s.kind === 'if') [s.then, s.otherwise].forEach(inStatement);
    if (s.kind === 'for') {
      inExpression(s.step);
      inStatement(s.body);
    }
  };
  inStatement(statement);
  return names;
}
