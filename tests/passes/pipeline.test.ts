/** Pipelines: their grammar and its errors, options, reports and dumps, and how little a pass needs. */
import { describe, expect, test } from 'vitest';
import { mapFunctions, rewriteFunc } from '../../ir/builder.js';
import type { HewError } from '../../ir/diagnostics.js';
import { type Module, withFunctions } from '../../ir/module.js';
import { parseModule } from '../../ir/parse.js';
import { printModule } from '../../ir/print.js';
import { definePass, option, Tally } from '../../passes/pass.js';
import { type PipelineOptions, parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { passes, standardPipeline } from '../../passes/registry.js';

/** A pass as a user writes one: exact division by two instead of multiplication by a half. */
const halve = definePass({
  name: 'halve',
  summary: 'Divides by two where a value is multiplied by a half.',
  options: { factor: option('float', 'the factor to look for', 0.5) },
  run(module, { factor }) {
    const tally = new Tally();
    const result = mapFunctions(module, (func, scope) =>
      rewriteFunc(func, scope, (op, [x, y], builder) => {
        const constant = y?.def;
        if (op.name !== 'mul' || x === undefined || constant?.attrs.value !== factor) return undefined;
        tally.add('products');
        const two = builder.one('full', [], { ...constant.attrs, value: 1 / factor });
        return [builder.one('div', [x, two])];
      }),
    );
    return { module: result, report: { ...tally.report(), notes: ['a note'] } };
  },
});

const every = definePass({
  name: 'every-option',
  summary: 'Does nothing, with an option of each kind.',
  options: {
    count: option('int', 'how many', 3),
    ratio: option('float', 'how much', 0.5),
    strict: option('bool', 'how strictly', false),
    scheme: option('string', 'which way', 'none'),
  },
  run: (module) => ({ module }),
});

const available = [...passes, halve, every];

const module = parseModule(`module @m {
  entry @main(%x: f32[2]) -> (y: f32[2]) {
    %half = full(value=0.5) : f32[]
    %y = mul(%x, %half) : f32[2]
    return %y
  }
}`);

describe('grammar', () => {
  const text = (pipeline: string): string[] =>
    parsePipeline(pipeline, available).map((s) => `${s.pass.name} ${JSON.stringify(s.options)}`);

  test.each<[string, string[]]>([
    ['', []],
    ['  ', []],
    ['dce', ['dce {}']],
    [' cse , dce{ } ', ['cse {}', 'dce {}']],
    [
      'fuse',
      [
        'fuse {"epilogues":true,"quantized_rows":false,"attention_epilogues":false,"constant_operands":false,"narrow_caches":false}',
      ],
    ],
    [
      'fuse{epilogues=false},dce',
      [
        'fuse {"epilogues":false,"quantized_rows":false,"attention_epilogues":false,"constant_operands":false,"narrow_caches":false}',
        'dce {}',
      ],
    ],
    ['every-option', ['every-option {"count":3,"ratio":0.5,"strict":false,"scheme":"none"}']],
    [
      'every-option{count=-7, ratio=1e-3, strict, scheme=a=b c}',
      ['every-option {"count":-7,"ratio":0.001,"strict":true,"scheme":"a=b c"}'],
    ],
    ['every-option { scheme = }', ['every-option {"count":3,"ratio":0.5,"strict":false,"scheme":""}']],
  ])('%s', (pipeline, wanted) => expect(text(pipeline)).toEqual(wanted));

  test('of the standard pipeline', () => {
    expect(
      parsePipeline(standardPipeline)
        .map((s) => s.pass.name)
        .join(),
    ).toBe(standardPipeline);
  });
});

const form = 'write passes as name{option=value,option=value}, separated by commas';

describe('errors', () => {
  test.each<[string, string, string, string | undefined]>([
    ['canonicalise', 'HEW6001', "there is no pass 'canonicalise'", "did you mean 'canonicalize'?"],
    [
      'optimise',
      'HEW6001',
      "there is no pass 'optimise'",
      `passes: ${available.map((p) => p.name).join(', ')}`,
    ],
    [
      'constructor',
      'HEW6001',
      "there is no pass 'constructor'",
      `passes: ${available.map((p) => p.name).join(', ')}`,
    ],
    ['dce,,cse', 'HEW6002', "cannot read '' in the pipeline", form],
    ['dce,', 'HEW6002', "cannot read '' in the pipeline", form],
    ['{limit=3}', 'HEW6002', "cannot read '{limit=3}' in the pipeline", form],
    ['fold{limit=3', 'HEW6002', "cannot read 'fold{limit=3' in the pipeline", form],
    ['fold}', 'HEW6002', "cannot read 'fold}' in the pipeline", form],
    ['fold{limit=3}x', 'HEW6002', "cannot read 'fold{limit=3}x' in the pipeline", form],
    ['fold{limits=3}', 'HEW6002', "fold has no option 'limits'", "did you mean 'limit'?"],
    ['fold{constructor=3}', 'HEW6002', "fold has no option 'constructor'", 'options: limit'],
    ['dce{limit=3}', 'HEW6002', "dce has no option 'limit'", 'it has no options'],
    ['fold{=3}', 'HEW6002', "fold has no option ''", 'options: limit'],
    ['fold{limit=1,limit=2}', 'HEW6002', "fold: option 'limit' is given twice", undefined],
    [
      'fold{limit}',
      'HEW6002',
      "fold: option 'limit' must be an integer, it has no value",
      'largest constant to store, in elements',
    ],
    [
      'fold{limit=}',
      'HEW6002',
      "fold: option 'limit' must be an integer, '' is not",
      'largest constant to store, in elements',
    ],
    [
      'fold{limit=1.5}',
      'HEW6002',
      "fold: option 'limit' must be an integer, '1.5' is not",
      'largest constant to store, in elements',
    ],
    [
      'fold{limit=99999999999999999999}',
      'HEW6002',
      "fold: option 'limit' must be an integer, '99999999999999999999' is not",
      'largest constant to store, in elements',
    ],
    [
      'every-option{ratio=Infinity}',
      'HEW6002',
      "every-option: option 'ratio' must be a number, 'Infinity' is not",
      'how much',
    ],
    [
      'every-option{strict=yes}',
      'HEW6002',
      "every-option: option 'strict' must be true or false, 'yes' is not",
      'how strictly',
    ],
    [
      'every-option{scheme}',
      'HEW6002',
      "every-option: option 'scheme' must be text, it has no value",
      'which way',
    ],
  ])('%s', (pipeline, code, message, help) => {
    try {
      parsePipeline(pipeline, available);
    } catch (error) {
      const [found] = (error as HewError).diagnostics;
      expect([found?.code, found?.message, found?.help]).toEqual([code, message, help]);
      return;
    }
    throw new Error('the pipeline was accepted');
  });
});

function run(
  pipeline: string,
  options?: PipelineOptions,
  start: Module = module,
): ReturnType<typeof runPipeline> {
  return runPipeline(start, parsePipeline(pipeline, available), options);
}

describe('running', () => {
  test('a custom pass, its counts and notes', () => {
    const { module: result, reports } = run('halve,dce');
    expect(printModule(result)).toContain('%1 = div(%x, %0) : f32[2]');
    expect(printModule(result)).not.toContain('mul');
    expect(reports.map(({ pass, counts, notes }) => ({ pass, counts, notes }))).toEqual([
      { pass: 'halve', counts: { products: 1 }, notes: ['a note'] },
      { pass: 'dce', counts: { ops: 1, params: 0 }, notes: [] },
    ]);
    for (const { milliseconds } of reports) expect(milliseconds).toBeGreaterThanOrEqual(0);
  });

  test('options reach the pass', () => {
    expect(run('halve{factor=4}').reports[0]?.counts).toEqual({});
  });

  test('a pass that finds nothing returns the module it was given', () => {
    const clean = run(`${standardPipeline},fuse,dce`).module;
    for (const name of ['canonicalize', 'fold', 'cse', 'dce', 'fuse']) {
      const { module: same, reports } = run(name, {}, clean);
      expect(same).toBe(clean);
      expect(reports[0]?.changed).toBe(false);
    }
  });

  test('dumps what was asked for where it changed', () => {
    const dumped: string[] = [];
    const onDump = (pass: string, text: string): void => {
      dumped.push(`${pass} ${text.length > 0}`);
    };
    const { reports } = run('canonicalize,halve,every-option,halve,dce', { printAfter: 'all', onDump });
    expect(dumped).toEqual(['halve true', 'dce true']);
    expect(reports.map((r) => r.changed)).toEqual([false, true, false, false, true]);
    dumped.length = 0;
    run('halve,dce', { printAfter: ['dce'], onDump });
    expect(dumped).toEqual(['dce true']);
    run('halve,dce', { onDump });
    run('halve,dce', { printAfter: 'all' });
    expect(dumped).toEqual(['dce true']);
  });
});

describe('a pass that goes wrong', () => {
  const breaking = definePass({
    name: 'break',
    summary: 'Drops the body of every function.',
    run: (m) => ({
      module: withFunctions(
        m,
        [...m.functions.values()].map((f) => ({ ...f, body: [] })),
      ),
    }),
  });
  const mistyped = definePass({
    name: 'mistype',
    summary: 'Adds what cannot be added.',
    run: (m) => ({
      module: mapFunctions(m, (func, scope) =>
        rewriteFunc(func, scope, (_op, operands, builder) => [builder.one('not', operands.slice(0, 1))]),
      ),
    }),
  });
  const failing = definePass({
    name: 'fail',
    summary: 'Has a bug.',
    run() {
      throw new TypeError('x is undefined');
    },
  });
  const step = (pass: typeof breaking) => [{ pass, options: {} }];

  test('is named when it breaks an invariant', () => {
    expect(() => runPipeline(module, step(breaking))).toThrow(
      'HEW5002: after pass break: @main: this returns a value that is not defined here',
    );
    expect(() => runPipeline(module, step(breaking), { verify: false })).not.toThrow();
  });

  test('is named when it builds what has no type', () => {
    expect(() => runPipeline(module, step(mistyped))).toThrow(
      'HEW5002: in pass mistype: not takes 1 operands (x), 0 given',
    );
  });

  test('is not hidden when it has a bug', () => {
    expect(() => runPipeline(module, step(failing))).toThrow(new TypeError('x is undefined'));
  });

  test('is not blamed for a module that was broken before', () => {
    const broken = runPipeline(module, step(breaking), { verify: false }).module;
    expect(() => run('dce', {}, broken)).toThrow('HEW5002: after building the module: @main: this returns');
  });
});

describe('the registry', () => {
  test.each(passes)('$name has a name, a sentence and documented options', ({ name, summary, options }) => {
    expect(name).toMatch(/^[a-z][a-z0-9-]*$/);
    expect(summary).toMatch(/^[A-Z].*\.$/);
    for (const { doc } of Object.values(options)) expect(doc).not.toBe('');
  });
});
