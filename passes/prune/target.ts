/** How much of a dimension to keep, as pipelines write it: `192`, `75%`, `-25%` or `0.75`, rounded to a multiple. */
import { fail } from '../../ir/diagnostics.js';

/** HEW6002 for text that is no target, HEW6008 for one that leaves nothing or more than there is. */
export function keptSize(name: string, text: string, size: number, multiple = 1): number {
  const wanted = parseTarget(name, text, size);
  const rounded =
    multiple === 1 ? Math.round(wanted) : Math.max(multiple, Math.round(wanted / multiple) * multiple);
  const help = `write an exact size below ${size + 1}, or a share such as 75% or -25%`;
  if (rounded < 1) fail('HEW6008', `${name}=${text} leaves nothing of ${name}, which is ${size}`, { help });
  if (rounded > size) fail('HEW6008', `${name}=${text} is ${rounded}, but ${name} is ${size}`, { help });
  return rounded;
}

function parseTarget(name: string, text: string, size: number): number {
  const [, sign = '', digits = '', percent = ''] = /^\s*([-+]?)(\d+(?:\.\d+)?)\s*(%?)\s*$/.exec(text) ?? [];
  if (digits === '' || sign === '+') {
    fail('HEW6002', `prune: '${text}' is no size of ${name}`, { help: 'write it as 192, 75% or -25%' });
  }
  const value = Number(digits);
  const share = percent === '%' ? value / 100 : digits.includes('.') ? value : undefined;
  const amount = share === undefined ? value : share * size;
  return sign === '-' ? size - amount : amount;
}

/** Fails with HEW6008 unless `count` can be spread evenly over groups. */
export function checkGroups(name: string, count: number, groups: number, what: string): void {
  if (count % groups === 0) return;
  const [below, above] = [Math.floor(count / groups) * groups, Math.ceil(count / groups) * groups];
  fail('HEW6008', `${count} ${name} cannot be spread evenly over ${groups} ${what}`, {
    help: `every group keeps as many; ${below > 0 ? `${below} or ` : ''}${above} would do`,
  });
}

/** `0-3, 7, 9-11` */
export function describeIndices(indices: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const index of indices) {
    const run = runs.at(-1);
    if (run !== undefined && run[1] === index - 1) run[1] = index;
    else runs.push([index, index]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(', ');
}
