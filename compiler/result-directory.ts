/**
 * Directories that a command makes: written beside their place and renamed, with a report by whose name a later run
 * knows that it may replace them.
 */
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fail } from '../ir/diagnostics.js';
import { claimTemporary, withTemporary } from './atomic-write.js';

export interface ResultKind {
  /** File name of the report. */
  readonly report: string;
  /** The command that makes such directories. */
  readonly command: string;
}

/** Fails with HEW8003 unless there is nothing, an empty directory, or what an earlier run wrote. */
export function checkReplaceable(target: string, { report, command }: ResultKind): void {
  if (!existsSync(target)) return;
  const help = 'choose another output directory, or remove this one yourself';
  const names = readdirSync(target);
  if (names.length > 0 && !names.includes(report))
    fail('HEW8003', `${target} exists and was not made by ${command}`, { help });
}

/** Fills a directory and puts it in its place with the report that `fill` returns; nothing is left when it fails. */
export async function writeResult<Report>(
  target: string,
  kind: ResultKind,
  fill: (directory: string) => Promise<Report>,
): Promise<Report> {
  await mkdir(dirname(target), { recursive: true });
  const made: Report[] = [];
  await withTemporary(target, async (temporary) => {
    await mkdir(temporary);
    const report = await fill(temporary);
    await writeFile(join(temporary, kind.report), `${JSON.stringify(report, undefined, 1)}\n`);
    await replace(target, temporary, kind);
    made.push(report);
  });
  return made[0] as Report;
}

async function replace(target: string, temporary: string, kind: ResultKind): Promise<void> {
  checkReplaceable(target, kind);
  if (!existsSync(target) || readdirSync(target).length === 0) return rename(temporary, target);
  const old = claimTemporary(target, 'old');
  await rename(target, old);
  await rename(temporary, target);
  await rm(old, { recursive: true, force: true });
}
