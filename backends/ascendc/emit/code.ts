/** Lines of AscendC in the making, with indentation and fresh names. */

export class Code {
  private readonly lines: string[] = [];
  private names = 0;

  constructor(private depth = 0) {}

  line(text = ''): void {
    this.lines.push(text === '' ? '' : `${'    '.repeat(this.depth)}${text}`);
  }

  block(head: string, body: () => void, tail = '}'): void {
    this.line(`${head} {`);
    this.depth++;
    body();
    this.depth--;
    this.line(tail);
  }

  fresh(stem: string): string {
    return `${stem}${this.names++}`;
  }

  toString(): string {
    return this.lines.join('\n');
  }
}
