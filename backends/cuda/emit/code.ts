/** Lines of CUDA C++ in the making, with indentation and fresh names. */

export class Code {
  private readonly lines: string[] = [];
  private depth = 1;
  private names = 0;

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
    return `${stem}${this.names++}`;
  }

  toString(): string {
    return this.lines.join('\n');
  }
}
