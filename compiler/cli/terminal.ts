/** Where the command line reads its surroundings and writes its output; tests give their own. */

export interface TextSink {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

export interface Terminal {
  readonly stdout: TextSink;
  readonly stderr: TextSink;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The process's own. A reader that goes away (`hew run … | head`) ends the process without a word. */
export function processTerminal(): Terminal {
  for (const stream of [process.stdout, process.stderr]) stream.once('error', endQuietly);
  return { stdout: process.stdout, stderr: process.stderr, env: process.env };
}

function endQuietly(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
}
