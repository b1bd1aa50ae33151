/** Usage, exit codes and the form of errors. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { asHewError, LoadError, version } from '../../compiler/api.js';
import { runCli } from '../../compiler/cli/program.js';
import { writeLineModel } from './fixture.js';
import { hew, parsed, scratchDirectory } from './run-cli.js';

const directory = scratchDirectory();
const commands = [
  'compile',
  'quantize',
  'run',
  'sample',
  'eval',
  'eval-diffusion',
  'check',
  'fmt',
  'inspect',
  'passes',
  'tune',
];

test.each(commands)('%s has help with an example', async (command) => {
  const { code, stdout, stderr } = await hew([command, '--help']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(new RegExp(`Examples?:\n {2}hew ${command} `.replace('passes ', '.*--pipeline')));
});

test('the help of the program names every command', async () => {
  const { code, stdout } = await hew(['--help']);
  expect(code).toBe(0);
  for (const command of commands) expect(stdout).toContain(`  ${command}`);
});

test('--version prints the version', async () => {
  expect(await hew(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
});

test.each([
  [['compil'], "unknown command 'compil'"],
  [['compile'], "missing required argument 'spec'"],
  [['compile', 'x.hew', '--outptu', 'y'], "unknown option '--outptu'"],
  [['compile', 'x.hew', '--set', 'novalue'], 'Write it as name=value.'],
  [['compile', 'x.hew', '--weights-dtype', 'f64'], 'Allowed choices are f32, f16, bf16.'],
  [['run', 'x.hew'], "required option '--prompt <text>' not specified"],
  [['run', 'x.hew', '--prompt', 'a', '--max-tokens', '1.5'], 'It must be a whole number.'],
  [['run', 'x.hew', '--prompt', 'a', '--temperature', 'hot'], 'It must be a number.'],
  [
    ['sample', 'x.hew', '--classes', '1,b', '-o', 'x.png'],
    'Write whole numbers and ranges, such as 1,2,5-8.',
  ],
  [['sample', 'x.hew', '--classes', '7-3', '-o', 'x.png'], '7-3 is no range.'],
  [['eval', 'x.hew'], 'either --tokens or --golden is needed'],
  [['eval', 'x.hew', '--tokens', 'a.u16', '--window', '1'], 'a window has at least two tokens'],
  [['fmt'], "missing required argument 'files'"],
])('%j is a usage error', async (argv, message) => {
  const { code, stdout, stderr } = await hew(argv);
  expect(code).toBe(2);
  expect(stdout).toBe('');
  expect(stderr).toMatch(/^error\[HEW8001\]: /);
  expect(stderr).toContain(message);
});

test('no command at all shows the help and is a usage error', async () => {
  expect((await hew([])).code).toBe(2);
});

test.each([
  ['compile', ['-o', join(directory, 'o')]],
  ['run', ['--prompt', 'a']],
  ['sample', ['--classes', '1', '-o', join(directory, 'o.png')]],
  ['eval', ['--tokens', 'a.u16']],
  ['check', []],
  ['fmt', []],
  ['inspect', []],
])('%s reports a missing file', async (command, options) => {
  const { code, stdout, stderr } = await hew([command, join(directory, 'absent.hew'), ...options]);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/^error\[HEW3001\]: there is no (file )?'.*absent\.hew'\n$/);
});

test('a file that is neither spec nor bundle is refused', async () => {
  const path = join(directory, 'notes.txt');
  writeFileSync(path, 'text');
  expect((await hew(['inspect', path])).stderr).toContain(
    'is neither a spec (.hew), nor an ONNX model (.onnx), nor a bundle',
  );
  mkdirSync(join(directory, 'empty'));
  expect((await hew(['inspect', join(directory, 'empty')])).stderr).toContain('error[HEW7001]');
  expect((await hew(['compile', join(directory, 'empty')])).stderr).toContain('is not a spec');
});

test('with --json a failure is a JSON document on stdout, and text on stderr', async () => {
  const path = join(directory, 'broken.hew');
  writeFileSync(path, 'dim n = 4\ndim n = 5\n');
  const { code, stdout, stderr } = await hew(['compile', path, '--json']);
  expect(code).toBe(1);
  expect(stderr).toContain('error[HEW2002]');
  const { ok, exitCode, diagnostics } = parsed(stdout) as {
    ok: boolean;
    exitCode: number;
    diagnostics: object[];
  };
  expect({ ok, exitCode }).toEqual({ ok: false, exitCode: 1 });
  expect(diagnostics[0]).toMatchObject({
    code: 'HEW2002',
    severity: 'error',
    labels: [{ at: `${path}:2:5` }, {}],
  });
});

test('colours appear on a terminal only, and neither with NO_COLOR nor --no-color', async () => {
  const argv = ['inspect', 'absent.hew'];
  const escapeCode = '\u001b[';
  expect((await hew(argv)).stderr).not.toContain(escapeCode);
  expect((await hew(argv, { terminal: true })).stderr).toContain(escapeCode);
  expect((await hew(argv, { terminal: true, env: { NO_COLOR: '1' } })).stderr).not.toContain(escapeCode);
  expect((await hew([...argv, '--no-color'], { terminal: true })).stderr).not.toContain(escapeCode);
});

test('a mistake in Hew ends with exit code 70, and shows its stack only with --debug', async () => {
  const run = async (argv: readonly string[]): Promise<{ code: number; stderr: string }> => {
    let stderr = '';
    const broken = {
      write: () => {
        throw new TypeError('out of order');
      },
    };
    const sink = { write: (text: string) => (stderr += text) };
    const code = await runCli(argv, { stdout: broken, stderr: sink, env: {} });
    return { code, stderr };
  };
  const quiet = await run(['passes']);
  expect(quiet.code).toBe(70);
  expect(quiet.stderr).toMatch(/^error\[HEW9001\]: TypeError: out of order\n/);
  expect(quiet.stderr).toContain('--debug');
  expect(quiet.stderr).not.toMatch(/^\s+at /m);
  expect((await run(['passes', '--debug'])).stderr).toMatch(/^\s+at .*usage\.test/m);
});

test('errors of the loader keep their code and help', () => {
  const { diagnostics, exitCode } = asHewError(new LoadError('HEW7002', 'too new', { help: 'update' }));
  expect(diagnostics).toMatchObject([{ code: 'HEW7002', message: 'too new', help: 'update' }]);
  expect(exitCode).toBe(4);
});

test('unsupported targets end with exit code 4', async () => {
  const spec = await writeLineModel(directory);
  const { code, stderr } = await hew(['compile', spec, '--target', 'wams']);
  expect(code).toBe(4);
  expect(stderr).toContain("error[HEW6005]: there is no target 'wams'\n  help: did you mean 'wasm'?");
  expect((await hew(['check', spec, '--target', 'cuda'])).code).toBe(0);
  expect((await hew(['check', spec, '--target', 'ascendc'])).code).toBe(0);
});
