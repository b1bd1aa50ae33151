/** Random specs as token lists, for the properties of parser and formatter; they parse, but mean nothing. */
import fc from 'fast-check';

/** A token; `tight` ones must stay on the line of the token before them. */
type Token = string | { readonly tight: string };
type Tokens = readonly Token[];

const word = fc.constantFrom('x', 'h', 'gamma', 'γ', 'rope_theta', 'in', 'T', 'k_cache2');
const text = fc.constantFrom('"weight"', '"a.{x}.b"', '"\\"\\n"', '""');
const number = fc.constantFrom('0', '12', '1.5', '1e-5', '2.25e+3');

function concat(...parts: readonly (fc.Arbitrary<Tokens> | Token)[]): fc.Arbitrary<Tokens> {
  const all = parts.map((part) => (part instanceof fc.Arbitrary ? part : fc.constant<Tokens>([part])));
  return fc.tuple(...all).map((lists) => lists.flat());
}

function one(arbitrary: fc.Arbitrary<string>): fc.Arbitrary<Tokens> {
  return arbitrary.map((token) => [token]);
}

function separated(item: fc.Arbitrary<Tokens>, minLength: number): fc.Arbitrary<Tokens> {
  return fc
    .tuple(fc.array(item, { minLength, maxLength: 3 }), fc.boolean())
    .map(([items, trailing]) => [
      ...items.flatMap((tokens, i) => (i === 0 ? tokens : [',', ...tokens])),
      ...(trailing && items.length > 0 ? [','] : []),
    ]);
}

function oneOrMore(item: fc.Arbitrary<Tokens>): fc.Arbitrary<Tokens> {
  return fc.array(item, { minLength: 1, maxLength: 3 }).map((lists) => lists.flat());
}

const { value } = fc.letrec<{ value: Tokens; index: Tokens; argument: Tokens }>((tie) => {
  const inner = tie('value');
  const index = fc.oneof(
    inner,
    concat(inner, ':', inner),
    concat(':', inner),
    concat(inner, ':'),
    one(fc.constantFrom(':', '..')),
  );
  const argument = fc.oneof(inner, concat(one(word), '=', inner));
  const leaf = fc.oneof(one(word), one(number), one(text), one(fc.constantFrom('true', 'false')));
  const call = concat(one(word), { tight: '(' }, separated(argument, 0), ')');
  const operator = one(fc.constantFrom('+', '-', '*', '/', '%', '@', '**', 'and', 'or'));
  const name = one(word);
  return {
    index,
    argument,
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      leaf,
      call,
      concat(name, { tight: '[' }, separated(inner, 1), ']', { tight: '(' }, inner, ')', 'at', one(text)),
      concat(name, { tight: '[' }, separated(index, 1), ']'),
      concat('(', inner, operator, inner, ')'),
      concat('(', inner, one(fc.constantFrom('==', '<', '>=')), inner, ')'),
      concat('-', leaf),
      concat('(', 'not', leaf, ')'),
      concat(name, '.', one(fc.constantFrom('T', 'factor'))),
      concat('(', 'if', inner, 'then', inner, 'else', inner, ')'),
      concat('[', separated(inner, 0), ']'),
      concat('(', argument, ',', separated(argument, 1), ')'),
    ),
  };
});

const axes = concat(
  '[',
  separated(fc.oneof(one(word), one(fc.constantFrom('1', '..')), concat('(', oneOrMore(one(word)), ')')), 0),
  ']',
);
const expression = fc.oneof(
  { weight: 3, arbitrary: value },
  { weight: 1, arbitrary: concat(value, ':', axes, '->', axes) },
);
const dims = separated(fc.oneof(value, one(fc.constant('..'))), 0);
const type = fc.oneof(
  one(fc.constantFrom('i32', 'float')),
  concat('[', dims, ']'),
  concat('i32', '[', dims, ']'),
);

const { statement } = fc.letrec<{ statement: Tokens; block: Tokens }>((tie) => ({
  block: concat(
    '{',
    fc.array(tie('statement'), { maxLength: 3 }).map((lists) => lists.flat()),
    '}',
  ),
  statement: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    concat('let', one(word), '=', expression),
    concat('let', '(', one(word), ',', one(word), ')', '=', expression),
    concat('let', one(word), ':', type, '=', expression),
    concat('weight', one(word), ':', type, '=', value),
    concat('weight', one(word), '[', one(word), 'in', value, ']', ':', type, '=', one(text)),
    concat('state', one(word), ':', type),
    concat(one(word), '=', expression),
    concat(one(word), { tight: '[' }, value, ':', value, ']', '=', expression),
    concat('require', value, ',', one(text)),
    concat('return', expression),
    concat('for', one(word), 'in', value, tie('block')),
    concat('for', one(word), 'in', value, ':', value, tie('block')),
    concat('if', value, tie('block')),
    concat('if', value, tie('block'), 'else', 'if', value, tie('block'), 'else', tie('block')),
  ),
}));

const parameter = concat(one(word), ':', type);
const item = fc.oneof(
  concat(one(fc.constantFrom('import', 'extend', 'config', 'tokenizer', 'weights')), one(text)),
  concat('config', one(word), ':', one(fc.constantFrom('int', 'float'))),
  concat('config', one(word), '.', one(word), ':', 'int', '=', value),
  concat('dim', one(word), '=', value),
  concat('dim', one(word), '<=', value),
  concat('dim', one(word), 'in', '1', '..', value),
  concat('sampler', one(word), '{', one(word), '=', value, ',', one(word), '=', value, '}'),
  concat(
    one(fc.constantFrom('module', 'fn', 'entry')),
    one(word),
    '[',
    separated(one(word), 0).map((tokens) => tokens.filter((t, i) => t !== ',' || i < tokens.length - 1)),
    ']',
    { tight: '(' },
    separated(parameter, 0),
    ')',
    '->',
    fc.oneof(type, concat('(', separated(fc.oneof(type, parameter), 1), ')')),
    '{',
    oneOrMore(statement),
    '}',
  ),
  statement.filter((tokens) => ['let', 'state', 'require'].includes(String(tokens[0]))),
);

const gap = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(' ', '  ', '\t') },
  { weight: 2, arbitrary: fc.constantFrom('\n', '\n\n\n', '\r\n') },
  { weight: 1, arbitrary: fc.constantFrom(' // comment\n', '\n  //note  \n') },
);

/** Text of a random spec without syntax errors, in a random layout. */
export const specText: fc.Arbitrary<string> = fc
  .tuple(fc.array(item, { maxLength: 5 }), fc.infiniteStream(gap))
  .map(([items, gaps]) =>
    items
      .flat()
      .map((token) => {
        if (typeof token !== 'string') return ` ${token.tight}`;
        return (gaps.next().value ?? ' ') + token;
      })
      .join(''),
  );
