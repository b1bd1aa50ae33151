/**
 * Diagnostics as text:
 *
 *     model.hew:12:9: error[HEW2001]: there is no 'RmsNorm'
 *       12 |   let a = RmsNorm(h, eps) at "input_layernorm"
 *          |           ^^^^^^^
 *       help: did you mean 'RMSNorm'?
 *
 * The text depends on the diagnostics and sources alone. Excerpts never exceed `excerptWidth` columns, whatever the
 * line holds; columns count characters from 1.
 */
import type { Diagnostic, Label, Span } from '../ir/diagnostics.js';

/** Text of a source file by the name its spans carry; undefined when there is none. */
export type SourceLookup = (file: string) => string | undefined;

export interface RenderOptions {
  readonly color?: boolean;
}

const excerptWidth = 100;
const tabWidth = 4;

export function renderDiagnostics(
  diagnostics: readonly Diagnostic[],
  sources: SourceLookup,
  options: RenderOptions = {},
): string {
  return diagnostics.map((d) => renderDiagnostic(d, sources, options)).join('\n');
}

/** One diagnostic, with a line break at the end. */
export function renderDiagnostic(d: Diagnostic, sources: SourceLookup, options: RenderOptions = {}): string {
  const paint = painter(options.color ?? false);
  const [primary, ...others] = d.labels.map((label) => locate(label, sources));
  const accent = d.severity;
  const head = `${paint(accent, `${d.severity}[${d.code}]`)}${paint('bold', `: ${d.message}`)}`;
  const width = String(Math.max(0, ...[primary, ...others].map((p) => p?.excerpt?.line ?? 0))).length;
  const lines = [primary ? `${paint('bold', `${place(primary)}:`)} ${head}` : head];
  if (primary) lines.push(...renderExcerpt(primary, { width, mark: '^', style: accent, paint }));
  let above = primary;
  for (const other of others) {
    lines.push(...renderSecondary(other, above, width, paint));
    above = other;
  }
  for (const note of d.notes) lines.push(`  ${paint('bold', 'note:')} ${hanging(note)}`);
  if (d.help !== undefined) lines.push(`  ${paint('help', 'help:')} ${hanging(d.help)}`);
  return `${lines.join('\n')}\n`;
}

/** `file:line:column` of a span, or the file alone when its text is not at hand. */
export function describeSpan(span: Span, sources: SourceLookup): string {
  return place(locate({ span }, sources));
}

// ---- from offsets to lines

interface Excerpt {
  readonly line: number;
  readonly column: number;
  readonly text: string;
  /** Where the underlined part starts in `text`, and its length. */
  readonly start: number;
  readonly length: number;
}

interface Located {
  readonly label: Label;
  readonly excerpt: Excerpt | undefined;
}

function locate(label: Label, sources: SourceLookup): Located {
  const text = sources(label.span.file);
  return { label, excerpt: text === undefined ? undefined : excerptOf(text, label.span) };
}

function excerptOf(source: string, span: Span): Excerpt {
  const start = Math.max(0, Math.min(span.start, source.length));
  const lineStart = source.lastIndexOf('\n', start - 1) + 1;
  const next = source.indexOf('\n', start);
  const text = source.slice(lineStart, next < 0 ? source.length : next).replace(/\r$/, '');
  const column = Math.min(start - lineStart, text.length);
  const end = Math.min(Math.max(span.end, start) - lineStart, text.length);
  return {
    line: countLines(source, lineStart),
    column: [...text.slice(0, column)].length + 1,
    ...clip(
      expand(text),
      expand(text.slice(0, column)).length,
      expand(text.slice(column, Math.max(column, end))).length,
    ),
  };
}

function countLines(source: string, before: number): number {
  let lines = 1;
  for (let at = source.indexOf('\n'); at >= 0 && at < before; at = source.indexOf('\n', at + 1)) lines += 1;
  return lines;
}

/** Tabs become spaces, and characters that would move the cursor or vanish become visible ones. */
function expand(text: string): string {
  return text.replaceAll('\t', ' '.repeat(tabWidth)).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\u00b7');
}

/** Keeps a window of a long line in which the underlined part begins. */
function clip(text: string, start: number, length: number): Pick<Excerpt, 'text' | 'start' | 'length'> {
  if (text.length <= excerptWidth) return { text, start, length: Math.max(1, length) };
  const from = Math.max(0, Math.min(start - Math.floor(excerptWidth / 4), text.length - excerptWidth));
  const to = Math.min(text.length, from + excerptWidth);
  const [head, tail] = [from > 0 ? '…' : '', to < text.length ? '…' : ''];
  return {
    text: head + text.slice(from, to) + tail,
    start: start - from + head.length,
    length: Math.max(1, Math.min(length, to - start)),
  };
}

// ---- lines of output

interface ExcerptStyle {
  readonly width: number;
  readonly mark: '^' | '-';
  readonly style: Style;
  readonly paint: Paint;
}

function place({ label, excerpt }: Located): string {
  return excerpt ? `${label.span.file}:${excerpt.line}:${excerpt.column}` : label.span.file;
}

function renderExcerpt({ label, excerpt }: Located, { width, mark, style, paint }: ExcerptStyle): string[] {
  const caption = label.text === undefined ? '' : ` ${hanging(label.text)}`;
  if (excerpt === undefined) return caption === '' ? [] : [`  ${paint(style, caption.trim())}`];
  const number = String(excerpt.line).padStart(width);
  const underline = ' '.repeat(excerpt.start) + paint(style, mark.repeat(excerpt.length) + caption);
  const gutter = paint('gutter', `  ${' '.repeat(width)} |`);
  return [`${paint('gutter', `  ${number} |`)} ${excerpt.text}`.trimEnd(), `${gutter} ${underline}`];
}

/** A label on the line shown just above repeats no source; one in another file says where it is. */
function renderSecondary(label: Located, above: Located | undefined, width: number, paint: Paint): string[] {
  const lines = renderExcerpt(label, { width, mark: '-', style: 'gutter', paint });
  const sameFile = above?.label.span.file === label.label.span.file;
  if (!sameFile) return [`  ${place(label)}:`, ...lines];
  return above?.excerpt?.line === label.excerpt?.line && label.excerpt ? lines.slice(1) : lines;
}

function hanging(text: string): string {
  return text.replaceAll('\n', '\n        ');
}

// ---- colour

const escapeCodes = { error: '1;31', warning: '1;33', help: '1;36', gutter: '34', bold: '1' } as const;
type Style = keyof typeof escapeCodes;
type Paint = (style: Style, text: string) => string;

function painter(color: boolean): Paint {
  return (style, text) => (color && text !== '' ? `\u001b[${escapeCodes[style]}m${text}\u001b[0m` : text);
}
