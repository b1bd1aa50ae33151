/**
 * The loader in a browser: a page on a local server loads the bundle of pangu-2m by URL and continues a prompt, which
 * must give what Node gives. Needs Chromium; CHROMIUM names another binary than /usr/bin/chromium.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compile, generate, load } from '../../compiler/api.js';

const chromium = process.env.CHROMIUM ?? '/usr/bin/chromium';
const available = existsSync(chromium);
if (!available) console.log(`the browser test is skipped: there is no ${chromium}`);

const folder = mkdtempSync(join(tmpdir(), 'hew-browser-'));
const prompt = [42, 7, 300, 12];
let server: Server;
let address = '';

const types: Readonly<Record<string, string>> = {
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

const page = `<!doctype html><title>hew</title><pre id="out">loading</pre><script type="module">
  import { generate, load } from '/loader/load.js';
  const out = document.getElementById('out');
  try {
    const model = await load(new URL('/bundle/', location.href));
    const ids = [];
    for await (const event of generate(model, ${JSON.stringify(prompt)}, { temperature: 0, max_tokens: 12 })) {
      if (event.type === 'token') ids.push(event.id);
    }
    out.textContent = 'ids ' + ids.join(',');
  } catch (error) {
    out.textContent = 'failed: ' + error;
  }
</script>`;

/** Files of the built loader and of the bundle; nothing else. */
function serve(url: string): { type: string; body: string | Buffer } | undefined {
  if (url === '/') return { type: 'text/html', body: page };
  const [, root, name] = /^\/(loader|bundle)\/([\w.-]+)$/.exec(normalize(url)) ?? [];
  if (name === undefined) return undefined;
  const file = join(root === 'loader' ? 'dist/backends/wasm/runtime' : join(folder, 'bundle'), name);
  return existsSync(file)
    ? { type: types[extname(name)] ?? 'application/octet-stream', body: readFileSync(file) }
    : undefined;
}

beforeAll(async () => {
  if (!available) return;
  await compile({ spec: 'examples/pangu-2m/model.hew', output: join(folder, 'bundle') });
  server = createServer((request, response) => {
    const found = serve(request.url ?? '/');
    response.writeHead(found === undefined ? 404 : 200, { 'content-type': found?.type ?? 'text/plain' });
    response.end(found?.body ?? 'not found');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});

afterAll(() => {
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The page's text once it has finished: the browser waits for the clock it is given. */
function dumpPage(): Promise<string> {
  const flags = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    `--user-data-dir=${join(folder, 'profile')}`,
    '--virtual-time-budget=60000',
    '--timeout=60000',
    '--dump-dom',
  ];
  return new Promise((resolve, reject) => {
    const browser = spawn(chromium, [...flags, address], { stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    browser.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    browser.on('error', reject);
    browser.on('close', () => resolve(text));
  });
}

test.skipIf(!available)('a page loads a bundle and writes the tokens that Node writes', async () => {
  const model = await load(join(folder, 'bundle'));
  const wanted: number[] = [];
  for await (const event of generate(model, prompt, { temperature: 0, max_tokens: 12 })) {
    if (event.type === 'token') wanted.push(event.id);
  }
  expect(wanted).toHaveLength(12);
  expect(await dumpPage()).toContain(`ids ${wanted.join(',')}`);
});
