/** Runs the command line in this process, with its output captured. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { runCli } from '../../compiler/cli/program.js';
import type { TextSink } from '../../compiler/cli/terminal.js';

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

class Capture implements TextSink {
  text = '';
  constructor(readonly isTTY = false) {}
  write(text: string): void {
    this.text += text;
  }
}

export interface CliSurroundings {
  readonly env?: Readonly<Record<string, string>>;
  readonly terminal?: boolean;
}

export async function hew(argv: readonly string[], surroundings: CliSurroundings = {}): Promise<CliResult> {
  const stdout = new Capture();
  const stderr = new Capture(surroundings.terminal);
  const code = await runCli(argv, { stdout, stderr, env: surroundings.env ?? {} });
  return { code, stdout: stdout.text, stderr: stderr.text };
}

/** A directory that is removed when the tests of the file are over. */
export function scratchDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'hew-cli-'));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export function parsed(text: string): Record<string, unknown> {
  return JSON.parse(text) as Record<string, unknown>;
}
