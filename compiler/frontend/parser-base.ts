/**
 * What the grammar in `parser.ts` is written with: lists, nesting limits, the one place where line breaks matter,
 * and how far error recovery goes.
 */
import { type CstNode, CstParser, type IToken, type ParserMethod, type TokenType } from 'chevrotain';
import { nestingLimit } from './ast.js';
import { tokens as t, tokenVocabulary } from './lexer.js';
import { expectationProvider } from './syntax-errors.js';

/** Thrown out of the parser when brackets or blocks nest deeper than `nestingLimit`. */
export class NestingTooDeep extends Error {
  readonly token: IToken;

  constructor(token: IToken) {
    super('nested too deeply');
    this.token = token;
  }
}

/** Recovery takes time that grows with the rest of the file, and a file with more errors than this is no spec. */
const maxErrors = 100;

/** Thrown out of the parser when there is no point in going on. */
export class TooManyErrors extends Error {}

export type Rule = ParserMethod<[], CstNode>;

export class ParserBase extends CstParser {
  private depth = 0;

  constructor() {
    super(tokenVocabulary, {
      recoveryEnabled: true,
      maxLookahead: 2,
      errorMessageProvider: expectationProvider,
      nodeLocationTracking: 'full',
    });
  }

  start(tokens: IToken[]): void {
    this.depth = 0;
    this.input = tokens;
  }

  /** Only a missing closing bracket is worth imagining; anything else invented or skipped misleads later messages. */
  protected override canTokenTypeBeInsertedInRecovery(type: TokenType): boolean {
    return type === t.RParen || type === t.RSquare;
  }

  protected override canTokenTypeBeDeletedInRecovery(): boolean {
    return false;
  }

  /** `(` and `[` continue an expression on their own line only; `.` and `at` on the next one too. */
  protected continuesExpression(): boolean {
    const next = this.LA(1);
    return next.startLine === this.LA(0).endLine || next.tokenType === t.Dot || next.tokenType === t.at;
  }

  /** One or more, separated by commas; a trailing comma is allowed. */
  protected commaSeparated(rule: Rule): void {
    this.SUBRULE8(rule);
    this.MANY8(() => {
      this.CONSUME8(t.Comma);
      this.SUBRULE9(rule);
    });
    this.OPTION8(() => this.CONSUME9(t.Comma));
  }

  protected checkErrors(): void {
    if (this.errors.length > maxErrors) throw new TooManyErrors('too many syntax errors');
  }

  /** A rule that can contain itself: counts how deep it is nested. */
  protected nesting(name: string, implementation: () => void): Rule {
    return this.RULE(name, () => {
      this.ACTION(() => {
        this.depth += 1;
        this.checkErrors();
        if (this.depth > nestingLimit) throw new NestingTooDeep(this.LA(1));
      });
      try {
        implementation();
      } finally {
        this.ACTION(() => {
          this.depth -= 1;
        });
      }
    });
  }
}
