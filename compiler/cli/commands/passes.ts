/** `hew passes`: the passes a pipeline may name, and their options. */
import type { Command } from 'commander';
import { type Pass, passes, standardPipeline } from '../../api.js';
import type { Session } from '../program.js';

export function passesCommand(program: Command, { output }: Session): void {
  program
    .command('passes')
    .description('list the passes that --pipeline may name')
    .addHelpText('after', example)
    .action(() => {
      const value = passes.map(({ name, kind, summary, options }) => ({ name, kind, summary, options }));
      output.result({ standardPipeline, passes: value }, `${passes.map(describe).join('\n')}\n${standard}`);
    });
}

const example = `
Example:
  hew compile examples/pangu-2m/model.hew --pipeline "canonicalize,cse,fuse{epilogues=false}"`;

const standard = `The standard pipeline: ${standardPipeline}\n`;

function describe({ name, kind, summary, options, dimensionOption }: Pass): string {
  const own = Object.entries(options).map(([key, spec]) => [`${key}=${spec.default}`, spec] as const);
  const named = dimensionOption === undefined ? [] : [['<dimension>=<size>', dimensionOption] as const];
  const lines = [...named, ...own].map(([text, { kind: type, doc }]) => `    ${text}  (${type}) ${doc}\n`);
  return `${name} (${kind})\n    ${summary}\n${lines.join('')}`;
}
