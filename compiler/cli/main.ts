#!/usr/bin/env node
/**
 * The `hew` executable. It only makes sure that a Node new enough runs the program: this file must parse
 * and run on Node 20, so it imports the program (which need not) after the check.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const REQUIRED_MAJOR = 24;
const EXIT_UNSUPPORTED = 4;
const FORWARDED_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

const self = fileURLToPath(import.meta.url);

function majorOf(version: string): number {
  return Number.parseInt(version.replace(/^v/, ''), 10);
}

function isRecent(node: string): boolean {
  const { status, stdout } = spawnSync(node, ['--version'], { encoding: 'utf8' });
  return status === 0 && majorOf(stdout) >= REQUIRED_MAJOR;
}

/** The Node that npm installed beside Hew: in a checkout of Hew, or in a project that depends on it. */
function findInstalledNode(): string | undefined {
  for (let folder = dirname(self); ; folder = dirname(folder)) {
    const node = join(folder, 'node_modules', '.bin', 'node');
    if (existsSync(node) && isRecent(node)) return node;
    if (folder === dirname(folder)) return undefined;
  }
}

/** Runs this command again under `node` and ends as that run ends. */
function runUnder(node: string): void {
  const child = spawn(node, [...process.execArgv, self, ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of FORWARDED_SIGNALS) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    for (const forwarded of FORWARDED_SIGNALS) process.removeAllListeners(forwarded);
    if (signal !== null) process.kill(process.pid, signal);
    else process.exitCode = code ?? EXIT_UNSUPPORTED;
  });
}

if (majorOf(process.versions.node) >= REQUIRED_MAJOR) {
  const { runCli } = await import('./program.js');
  process.exitCode = await runCli(process.argv.slice(2));
} else {
  const node = findInstalledNode();
  if (node !== undefined) {
    runUnder(node);
  } else {
    process.stderr.write(
      `hew: needs Node ${REQUIRED_MAJOR} or newer, and this is Node ${process.versions.node}; ` +
        'install a newer Node, or add it to your project with `npm install --save-dev node@26`\n',
    );
    process.exitCode = EXIT_UNSUPPORTED;
  }
}
