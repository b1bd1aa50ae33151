/**
 * The loader in a browser: a page on a local server loads the bundle of pangu-2m by URL and continues a prompt, which
 * must give what Node gives. Needs Chromium; CHROMIUM names another binary than /usr/bin/chromium.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compile, generate, load } from '../../compiler/api.js';

const chromium = process.env.CHROMIUM ?? '/usr/bin/chromium';
const available = existsSync(chromium);
if (!available) console.log(`the browser test is skipped: there is no ${chromium}`);

const folder = mkdtempSync(join(tmpdir(), 'hew-browser-'));
const prompt = [42, 7, 300, 12];
let server: Server;
let address = '';
/** What the page says when it has finished. */
const said = Promise.withResolvers<string>();

const types: Readonly<Record<string, string>> = {
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

const page = `<!doctype html><title>hew</title><script type="module">
  import { generate, load } from '/loader/load.js';
  const done = (text) => fetch('/done', { method: 'POST', body: text });
  try {
    const model = await load(new URL('/bundle/', location.href));
    const ids = [];
    for await (const event of generate(model, ${JSON.stringify(prompt)}, { temperature: 0, max_tokens: 12 })) {
      if (event.type === 'token') ids.push(event.id);
    }
    await done('ids ' + ids.join(','));
  } catch (error) {
    await done('failed: ' + error);
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
  server = createServer(async (request, response) => {
    if (request.url === '/done') {
      said.resolve(await text(request));
      response.end();
      return;
    }
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

/** Opens the page in a browser until it has said something. */
async function openPage(): Promise<string> {
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
  ];
  const browser = spawn(chromium, [...flags, address], { stdio: 'ignore' });
  const closed = once(browser, 'close').then(() => 'the browser went away');
  try {
    return await Promise.race([said.promise, closed]);
  } finally {
    browser.kill();
    await closed;
  }
}

test.skipIf(!available)('a page loads a bundle and writes the tokens that Node writes', async () => {
  const model = await load(join(folder, 'bundle'));
  const wanted: number[] = [];
  for await (const event of generate(model, prompt, { temperature: 0, max_tokens: 12 })) {
    if (event.type === 'token') wanted.push(event.id);
  }
  expect(wanted).toHaveLength(12);
  expect(await openPage()).toBe(`ids ${wanted.join(',')}`);
});
