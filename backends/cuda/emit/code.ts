/** Lines of CUDA C++ in the making, with indentation and fresh names. */

export class Code {
  private readonly lines: string[] = [];

  constructor(
    private depth = 1,
    private readonly names = { used: 0 },
  ) {}

  /** Code that goes into this one later (`add`), `deeper` steps further in; names are fresh in both. */
  part(deeper: number): Code {
    return new Code(this.depth + deeper, this.names);
  }

  add(part: Code): void {
    this.lines.push(...part.lines);
  }

  line(text: string): void {
    this.lines.push(text === '' ? '' : `${'  '.repeat(this.depth)}${text}`);
  }

  /** `head {`, the body one step further in, `tail`. */
  block(head: string, body: () => void, tail = '}'): void {
    this.line(`${head} {`);
    this.depth++;
    body();
    this.depth--;
    this.line(tail);
  }

  /** A name that no other call gives. */
  fresh(stem: string): string {
    return `${stem}${this.names.used++}`;
  }

  toString(): string {
    return this.lines.join('\n');
  }
}
