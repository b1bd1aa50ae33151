/** Pipelines in YAML mean what the one-line form means; what is no pipeline is refused with the place. */
import { expect, test } from 'vitest';
import { HewError } from '../../compiler/api.js';
import { pipelineOfYaml, readPipeline } from '../../compiler/pipeline-file.js';
import { parsePipeline } from '../../passes/pipeline.js';

test('a list of passes with options', () => {
  const text = pipelineOfYaml(
    '- canonicalize\n- fuse: { epilogues: false }  # every op its own kernel\n- dce:\n',
    'p.yaml',
  );
  expect(text).toBe('canonicalize,fuse{epilogues=false},dce');
  expect(parsePipeline(text).map(({ pass, options }) => [pass.name, options])).toEqual([
    ['canonicalize', {}],
    [
      'fuse',
      {
        epilogues: false,
        quantized_rows: false,
        attention_epilogues: false,
        constant_operands: false,
        narrow_caches: false,
      },
    ],
    ['dce', {}],
  ]);
});

test('text that names no file stays', () => {
  expect(readPipeline('canonicalize,dce')).toBe('canonicalize,dce');
});

test.each([
  ['a mapping', 'canonicalize: true', 'is not a list of passes'],
  ['nested options', '- fuse: { epilogues: [1] }', 'is not a list of passes'],
  ['broken YAML', '- fuse: { epilogues: ', 'is not valid YAML'],
  ['an unknown alias', '- *a', 'is not valid YAML'],
])('%s is refused', (_what, source, message) => {
  expect(() => pipelineOfYaml(source, 'p.yaml')).toThrow(HewError);
  expect(() => pipelineOfYaml(source, 'p.yaml')).toThrow(message);
});

test('a missing file', () => {
  expect(() => readPipeline('/nowhere/p.yaml')).toThrow('HEW3001');
});
