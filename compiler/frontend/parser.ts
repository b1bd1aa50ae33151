/**
 * The grammar of the Hew language, with error recovery: one run reports several syntax errors.
 * `docs/language.md` holds the same grammar in EBNF; `build-ast.ts` turns an error-free parse into a tree.
 *
 * Line breaks matter in one place only: a `(` or `[` continues an expression when it stands on the line of the
 * token before it. Statements need no semicolons, and a line that starts with an operator continues the line above.
 */
import type { CstNode, IRecognitionException, IToken } from 'chevrotain';
import { tokens as t } from './lexer.js';
import { ParserBase, type Rule, TooManyErrors } from './parser-base.js';

class SpecParser extends ParserBase {
  constructor() {
    super();
    this.performSelfAnalysis();
  }

  // ---- items

  readonly spec: Rule = this.RULE('spec', () => {
    this.MANY(() => {
      this.ACTION(() => this.checkErrors());
      this.SUBRULE(this.item);
    });
  });

  private readonly item: Rule = this.RULE('item', () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.fileReference) },
      { ALT: () => this.SUBRULE(this.configDeclaration) },
      { ALT: () => this.SUBRULE(this.dimDeclaration) },
      { ALT: () => this.SUBRULE(this.definition) },
      { ALT: () => this.SUBRULE(this.samplerDeclaration) },
      { ALT: () => this.SUBRULE(this.requireStatement) },
      { ALT: () => this.SUBRULE(this.stateStatement) },
      { ALT: () => this.SUBRULE(this.letStatement) },
    ]);
  });

  private readonly fileReference: Rule = this.RULE('fileReference', () => {
    this.OR([
      { ALT: () => this.CONSUME(t.import) },
      { ALT: () => this.CONSUME(t.extend) },
      { ALT: () => this.CONSUME(t.config) },
      { ALT: () => this.CONSUME(t.tokenizer) },
      { ALT: () => this.CONSUME(t.weights) },
    ]);
    this.CONSUME(t.Text);
  });

  private readonly configDeclaration: Rule = this.RULE('configDeclaration', () => {
    this.CONSUME(t.config);
    this.AT_LEAST_ONE_SEP({ SEP: t.Dot, DEF: () => this.CONSUME(t.Name, { LABEL: 'path' }) });
    this.CONSUME(t.Colon);
    this.CONSUME2(t.Name, { LABEL: 'type' });
    this.OPTION(() => {
      this.CONSUME(t.Equals);
      this.SUBRULE(this.expression);
    });
  });

  private readonly dimDeclaration: Rule = this.RULE('dimDeclaration', () => {
    this.CONSUME(t.dim);
    this.CONSUME(t.Name);
    this.OR([
      {
        ALT: () => {
          this.CONSUME(t.Equals);
          this.SUBRULE(this.conditional, { LABEL: 'value' });
        },
      },
      {
        ALT: () => {
          this.CONSUME(t.LessEqual);
          this.SUBRULE1(this.conditional, { LABEL: 'max' });
        },
      },
      {
        ALT: () => {
          this.CONSUME(t.in);
          this.SUBRULE2(this.conditional, { LABEL: 'min' });
          this.CONSUME(t.DotDot);
          this.SUBRULE3(this.conditional, { LABEL: 'max' });
        },
      },
    ]);
  });

  private readonly definition: Rule = this.RULE('definition', () => {
    this.OR([
      { ALT: () => this.CONSUME(t.module) },
      { ALT: () => this.CONSUME(t.fn) },
      { ALT: () => this.CONSUME(t.entry) },
    ]);
    this.CONSUME(t.Name);
    this.OPTION(() => this.SUBRULE(this.generics));
    this.SUBRULE(this.parameters);
    this.CONSUME(t.Arrow);
    this.SUBRULE(this.results);
    this.SUBRULE(this.block);
  });

  private readonly generics: Rule = this.RULE('generics', () => {
    this.CONSUME(t.LSquare);
    this.MANY_SEP({ SEP: t.Comma, DEF: () => this.CONSUME(t.Name) });
    this.CONSUME(t.RSquare);
  });

  private readonly parameters: Rule = this.RULE('parameters', () => {
    this.CONSUME(t.LParen);
    this.OPTION(() => this.commaSeparated(this.parameter));
    this.CONSUME(t.RParen);
  });

  private readonly parameter: Rule = this.RULE('parameter', () => {
    this.CONSUME(t.Name);
    this.CONSUME(t.Colon);
    this.SUBRULE(this.type);
    this.OPTION(() => {
      this.CONSUME(t.Equals);
      this.SUBRULE(this.conditional);
    });
  });

  private readonly results: Rule = this.RULE('results', () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.type) },
      {
        ALT: () => {
          this.CONSUME(t.LParen);
          this.commaSeparated(this.result);
          this.CONSUME(t.RParen);
        },
      },
    ]);
  });

  private readonly result: Rule = this.RULE('result', () => {
    this.OPTION(() => {
      this.CONSUME(t.Name);
      this.CONSUME(t.Colon);
    });
    this.SUBRULE(this.type);
  });

  private readonly samplerDeclaration: Rule = this.RULE('samplerDeclaration', () => {
    this.CONSUME(t.sampler);
    this.CONSUME(t.Name);
    this.CONSUME(t.LCurly);
    this.MANY(() => {
      this.SUBRULE(this.setting);
      this.OPTION(() => this.CONSUME(t.Comma));
    });
    this.CONSUME(t.RCurly);
  });

  private readonly setting: Rule = this.RULE('setting', () => {
    this.CONSUME(t.Name);
    this.CONSUME(t.Equals);
    this.SUBRULE(this.conditional);
  });

  // ---- types

  private readonly type: Rule = this.RULE('type', () => {
    this.OR([
      {
        ALT: () => {
          this.CONSUME(t.Name);
          this.OPTION(() => this.SUBRULE(this.typeDims));
        },
      },
      { ALT: () => this.SUBRULE2(this.typeDims) },
    ]);
  });

  private readonly typeDims: Rule = this.RULE('typeDims', () => {
    this.CONSUME(t.LSquare);
    this.OPTION(() => this.commaSeparated(this.typeDim));
    this.CONSUME(t.RSquare);
  });

  private readonly typeDim: Rule = this.RULE('typeDim', () => {
    this.OR([{ ALT: () => this.CONSUME(t.DotDot) }, { ALT: () => this.SUBRULE(this.conditional) }]);
  });

  // ---- statements

  private readonly block: Rule = this.nesting('block', () => {
    this.CONSUME(t.LCurly);
    this.MANY(() => this.SUBRULE(this.statement));
    this.CONSUME(t.RCurly);
  });

  private readonly statement: Rule = this.RULE('statement', () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.letStatement) },
      { ALT: () => this.SUBRULE(this.weightStatement) },
      { ALT: () => this.SUBRULE(this.stateStatement) },
      { ALT: () => this.SUBRULE(this.forStatement) },
      { ALT: () => this.SUBRULE(this.ifStatement) },
      { ALT: () => this.SUBRULE(this.requireStatement) },
      { ALT: () => this.SUBRULE(this.returnStatement) },
      { ALT: () => this.SUBRULE(this.assignStatement) },
    ]);
  });

  private readonly letStatement: Rule = this.RULE('letStatement', () => {
    this.CONSUME(t.let);
    this.OR([
      { ALT: () => this.CONSUME(t.Name) },
      {
        ALT: () => {
          this.CONSUME(t.LParen);
          this.AT_LEAST_ONE_SEP({ SEP: t.Comma, DEF: () => this.CONSUME2(t.Name) });
          this.CONSUME(t.RParen);
        },
      },
    ]);
    this.OPTION(() => {
      this.CONSUME(t.Colon);
      this.SUBRULE(this.type);
    });
    this.CONSUME(t.Equals);
    this.SUBRULE(this.expression);
  });

  private readonly weightStatement: Rule = this.RULE('weightStatement', () => {
    this.CONSUME(t.weight);
    this.CONSUME(t.Name);
    this.OPTION(() => {
      this.CONSUME(t.LSquare);
      this.CONSUME2(t.Name, { LABEL: 'variable' });
      this.CONSUME(t.in);
      this.SUBRULE(this.conditional, { LABEL: 'count' });
      this.CONSUME(t.RSquare);
    });
    this.CONSUME(t.Colon);
    this.SUBRULE(this.type);
    this.CONSUME(t.Equals);
    this.SUBRULE2(this.conditional, { LABEL: 'path' });
  });

  private readonly stateStatement: Rule = this.RULE('stateStatement', () => {
    this.CONSUME(t.state);
    this.CONSUME(t.Name);
    this.CONSUME(t.Colon);
    this.SUBRULE(this.type);
  });

  private readonly assignStatement: Rule = this.RULE('assignStatement', () => {
    this.CONSUME(t.Name);
    this.OPTION(() => this.SUBRULE(this.indexItems));
    this.CONSUME(t.Equals);
    this.SUBRULE(this.expression);
  });

  private readonly forStatement: Rule = this.RULE('forStatement', () => {
    this.CONSUME(t.for);
    this.CONSUME(t.Name);
    this.CONSUME(t.in);
    this.SUBRULE(this.conditional);
    this.OPTION(() => {
      this.CONSUME(t.Colon);
      this.SUBRULE2(this.conditional);
    });
    this.SUBRULE(this.block);
  });

  private readonly ifStatement: Rule = this.RULE('ifStatement', () => {
    this.SUBRULE(this.ifBranch);
    this.MANY(() => {
      this.CONSUME(t.else);
      this.SUBRULE2(this.ifBranch);
    });
    this.OPTION(() => {
      this.CONSUME2(t.else);
      this.SUBRULE(this.block);
    });
  });

  private readonly ifBranch: Rule = this.RULE('ifBranch', () => {
    this.CONSUME(t.if);
    this.SUBRULE(this.conditional);
    this.SUBRULE(this.block);
  });

  private readonly requireStatement: Rule = this.RULE('requireStatement', () => {
    this.CONSUME(t.require);
    this.SUBRULE(this.conditional);
    this.OPTION(() => {
      this.CONSUME(t.Comma);
      this.CONSUME(t.Text);
    });
  });

  private readonly returnStatement: Rule = this.RULE('returnStatement', () => {
    this.CONSUME(t.return);
    this.SUBRULE(this.expression);
  });

  // ---- expressions, from the loosest to the tightest binding

  private readonly expression: Rule = this.RULE('expression', () => {
    this.SUBRULE(this.conditional);
    this.MANY(() => {
      this.CONSUME(t.Colon);
      this.SUBRULE(this.axisPattern);
      this.CONSUME(t.Arrow);
      this.SUBRULE2(this.axisPattern);
    });
  });

  private readonly axisPattern: Rule = this.RULE('axisPattern', () => {
    this.CONSUME(t.LSquare);
    this.OPTION(() => this.commaSeparated(this.axis));
    this.CONSUME(t.RSquare);
  });

  private readonly axis: Rule = this.RULE('axis', () => {
    this.OR([
      { ALT: () => this.CONSUME(t.DotDot) },
      { ALT: () => this.SUBRULE(this.axisAtom) },
      { ALT: () => this.SUBRULE(this.axisGroup) },
    ]);
  });

  private readonly axisGroup: Rule = this.RULE('axisGroup', () => {
    this.CONSUME(t.LParen);
    this.AT_LEAST_ONE(() => this.SUBRULE(this.axisAtom));
    this.CONSUME(t.RParen);
  });

  private readonly axisAtom: Rule = this.RULE('axisAtom', () => {
    this.OR([{ ALT: () => this.CONSUME(t.Name) }, { ALT: () => this.CONSUME(t.Int) }]);
  });

  private readonly conditional: Rule = this.nesting('conditional', () => {
    this.OR([
      {
        ALT: () => {
          this.CONSUME(t.if);
          this.SUBRULE(this.disjunction);
          this.CONSUME(t.then);
          this.SUBRULE(this.conditional);
          this.CONSUME(t.else);
          this.SUBRULE2(this.conditional);
        },
      },
      { ALT: () => this.SUBRULE2(this.disjunction) },
    ]);
  });

  private readonly disjunction: Rule = this.RULE('disjunction', () => {
    this.SUBRULE(this.conjunction);
    this.MANY(() => {
      this.CONSUME(t.or);
      this.SUBRULE2(this.conjunction);
    });
  });

  private readonly conjunction: Rule = this.RULE('conjunction', () => {
    this.SUBRULE(this.negation);
    this.MANY(() => {
      this.CONSUME(t.and);
      this.SUBRULE2(this.negation);
    });
  });

  private readonly negation: Rule = this.RULE('negation', () => {
    this.MANY(() => this.CONSUME(t.not));
    this.SUBRULE(this.comparison);
  });

  private readonly comparison: Rule = this.RULE('comparison', () => {
    this.SUBRULE(this.sum);
    this.OPTION(() => {
      this.OR([
        { ALT: () => this.CONSUME(t.EqualEqual) },
        { ALT: () => this.CONSUME(t.NotEqual) },
        { ALT: () => this.CONSUME(t.LessEqual) },
        { ALT: () => this.CONSUME(t.GreaterEqual) },
        { ALT: () => this.CONSUME(t.Less) },
        { ALT: () => this.CONSUME(t.Greater) },
      ]);
      this.SUBRULE2(this.sum);
    });
  });

  private readonly sum: Rule = this.RULE('sum', () => {
    this.SUBRULE(this.product);
    this.MANY(() => {
      this.OR([
        { ALT: () => this.CONSUME(t.Plus, { LABEL: 'operator' }) },
        { ALT: () => this.CONSUME(t.Minus, { LABEL: 'operator' }) },
      ]);
      this.SUBRULE2(this.product);
    });
  });

  private readonly product: Rule = this.RULE('product', () => {
    this.SUBRULE(this.unary);
    this.MANY(() => {
      this.OR([
        { ALT: () => this.CONSUME(t.Star, { LABEL: 'operator' }) },
        { ALT: () => this.CONSUME(t.Slash, { LABEL: 'operator' }) },
        { ALT: () => this.CONSUME(t.Percent, { LABEL: 'operator' }) },
        { ALT: () => this.CONSUME(t.MatMul, { LABEL: 'operator' }) },
      ]);
      this.SUBRULE2(this.unary);
    });
  });

  private readonly unary: Rule = this.RULE('unary', () => {
    this.MANY(() => this.CONSUME(t.Minus));
    this.SUBRULE(this.power);
  });

  private readonly power: Rule = this.RULE('power', () => {
    this.SUBRULE(this.postfix);
    this.MANY(() => {
      this.CONSUME(t.Power);
      this.SUBRULE(this.exponent);
    });
  });

  private readonly exponent: Rule = this.RULE('exponent', () => {
    this.MANY(() => this.CONSUME(t.Minus));
    this.SUBRULE(this.postfix);
  });

  private readonly postfix: Rule = this.RULE('postfix', () => {
    this.SUBRULE(this.primary);
    this.MANY({ GATE: () => this.continuesExpression(), DEF: () => this.SUBRULE(this.suffix) });
  });

  private readonly suffix: Rule = this.RULE('suffix', () => {
    this.OR([
      { ALT: () => this.SUBRULE(this.callArguments) },
      { ALT: () => this.SUBRULE(this.indexItems) },
      {
        ALT: () => {
          this.CONSUME(t.Dot);
          this.CONSUME(t.Name);
        },
      },
      {
        ALT: () => {
          this.CONSUME(t.at);
          this.SUBRULE(this.primary);
        },
      },
    ]);
  });

  private readonly callArguments: Rule = this.RULE('callArguments', () => {
    this.CONSUME(t.LParen);
    this.OPTION(() => this.commaSeparated(this.argument));
    this.CONSUME(t.RParen);
  });

  private readonly argument: Rule = this.RULE('argument', () => {
    this.OPTION(() => {
      this.CONSUME(t.Name);
      this.CONSUME(t.Equals);
    });
    this.SUBRULE(this.expression);
  });

  private readonly indexItems: Rule = this.RULE('indexItems', () => {
    this.CONSUME(t.LSquare);
    this.commaSeparated(this.indexItem);
    this.CONSUME(t.RSquare);
  });

  private readonly indexItem: Rule = this.RULE('indexItem', () => {
    this.OR([
      { ALT: () => this.CONSUME(t.DotDot) },
      {
        ALT: () => {
          this.CONSUME(t.Colon);
          this.OPTION(() => this.SUBRULE(this.conditional, { LABEL: 'end' }));
        },
      },
      {
        ALT: () => {
          this.SUBRULE2(this.conditional, { LABEL: 'start' });
          this.OPTION2(() => {
            this.CONSUME2(t.Colon);
            this.OPTION3(() => this.SUBRULE3(this.conditional, { LABEL: 'end' }));
          });
        },
      },
    ]);
  });

  private readonly primary: Rule = this.RULE('primary', () => {
    this.OR([
      { ALT: () => this.CONSUME(t.Name) },
      { ALT: () => this.CONSUME(t.Int) },
      { ALT: () => this.CONSUME(t.Float) },
      { ALT: () => this.CONSUME(t.Text) },
      { ALT: () => this.CONSUME(t.true) },
      { ALT: () => this.CONSUME(t.false) },
      { ALT: () => this.SUBRULE(this.callArguments, { LABEL: 'tuple' }) },
      { ALT: () => this.SUBRULE(this.list) },
    ]);
  });

  private readonly list: Rule = this.RULE('list', () => {
    this.CONSUME(t.LSquare);
    this.OPTION(() => this.commaSeparated(this.conditional));
    this.CONSUME(t.RSquare);
  });
}

const parser = new SpecParser();

export interface CstResult {
  /** Undefined when the parser gave up. */
  readonly cst: CstNode | undefined;
  readonly errors: IRecognitionException[];
}

/** Parses tokens into a concrete tree; throws NestingTooDeep, reports everything else in `errors`. */
export function parseTokens(tokens: IToken[]): CstResult {
  parser.start(tokens);
  try {
    const cst = parser.spec();
    return { cst, errors: parser.errors };
  } catch (error) {
    if (error instanceof TooManyErrors) return { cst: undefined, errors: parser.errors };
    throw error;
  }
}
