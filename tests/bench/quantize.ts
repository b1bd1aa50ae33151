/**
 * The quality of quantized models. `npm run bench:quantize` prints the tables of docs/benchmarks.md: the relative error
 * of the predicted noise of diffusion transformers, and the NLL of language models. Arguments name models;
 * `--samples=720` also draws samples and compares them; `--noises=36` sets the calibration of diffusion models, `--judged=12`
 * what they are judged on, and `--only=REGEX` names cases.
 */
import { existsSync } from 'node:fs';
import { openCalibration } from '../../compiler/calibration-sources.js';
import { openModel } from '../../compiler/compile.js';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { evaluateTokens, readTokenFile } from '../../compiler/evaluate/tokens.js';
import { loadModule } from '../../compiler/in-memory.js';
import { inspectModule } from '../../compiler/inspect.js';
import { ObservationCache } from '../../compiler/observation-cache.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import { printTable } from './measure.js';
import { diffusionTable } from './quantize-diffusion.js';

/** Lookup experts are quantized as linear layers; other models have none to join. */
const languageSchemes = {
  'weights of 8 bits': 'join-experts,quantize{scheme=w8}',
  'weights of 4 bits, groups of 64, GPTQ': 'join-experts,quantize{scheme=w4,group=64,rounding=gptq,every=4}',
  'weights of 4 bits, groups of 64, asymmetric, GPTQ':
    'join-experts,quantize{scheme=w4,group=64,asymmetric,rounding=gptq,every=4}',
  'weights of 4 bits, groups of 64, asymmetric, GPTQ for the output of the model':
    'join-experts,quantize{scheme=w4,group=64,asymmetric,rounding=gptq,every=4,reconstruct=model}',
  'W8A8, one range per tensor': 'join-experts,quantize',
  'W8A8, one range per tensor, smooth': 'join-experts,smooth,quantize',
  'W8A8, dynamic per token': 'join-experts,quantize{activations=token}',
  'W8A8, dynamic per token, smooth': 'join-experts,smooth,quantize{activations=token}',
  'caches of 8 bits': 'quantize-kv',
};

const flag = (name: string): string | undefined =>
  process.argv.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
const number = (name: string): number | undefined => {
  const found = flag(name);
  return found === undefined ? undefined : Number(found);
};
const only = flag('only');
const named = process.argv.slice(2).filter((arg) => !arg.startsWith('--'));
const wanted = (model: string): boolean => {
  const weights = model === 'dit-1m' || model === 'pangu-2m' ? 'examples' : '../shared/models';
  const isThere = existsSync(`${weights}/${model}/model.safetensors`);
  if (!isThere) console.log(`${model}: ${weights}/${model} is absent`);
  return isThere && (named.length === 0 || named.includes(model));
};

for (const model of ['dit-1m', 'dit-10m']) {
  if (wanted(model))
    await diffusionTable(model, simplified(model), {
      noises: number('noises'),
      judged: number('judged'),
      n: number('samples'),
      only: only === undefined ? undefined : new RegExp(only),
    });
}
for (const model of ['pangu-12m', 'moge-8m', 'mole-7m']) if (wanted(model)) await languageTable(model);

function simplified(model: string) {
  const opened = openModel({ spec: `examples/${model}/model.hew` });
  return { ...opened, module: runPipeline(opened.module, parsePipeline(standardPipeline)).module };
}

async function languageTable(model: string): Promise<void> {
  const opened = simplified(model);
  const { module, source } = opened;
  const folder = `../shared/models/${model}`;
  const data = await openCalibration({ ...opened, module }, `../shared/models/calibration.safetensors`, {
    tensor: 'tokens',
  });
  const windows = readTokenFile(`${folder}/golden.safetensors`, { tensor: 'eval_tokens' });
  const cache = new ObservationCache();
  const nllOf = async (judged: typeof module): Promise<number> =>
    evaluateTokens(await loadModule(judged, source), windows).nll;
  const base = await nllOf(module);
  const { parameters, stateBytes } = inspectModule(module).totals;
  const rows = [['unquantized', base.toFixed(4), '', '', '']];
  for (const [what, pipeline] of Object.entries(languageSchemes)) {
    if (only !== undefined && !new RegExp(only).test(what)) continue;
    const changed = (await runDataPipeline(module, parsePipeline(pipeline), { source, data, cache })).module;
    const nll = await nllOf(changed);
    const { totals } = inspectModule(changed);
    rows.push([
      what,
      nll.toFixed(4),
      `${nll < base ? '' : '+'}${(nll - base).toFixed(4)}`,
      (totals.parameterBytes / (4 * parameters)).toFixed(3),
      (totals.stateBytes / stateBytes).toFixed(3),
    ]);
    console.error(`${model}: ${rows.at(-1)?.join(' | ')}`);
  }
  printTable(
    `${model}: NLL of the evaluation windows`,
    ['case', 'NLL', 'difference', 'weights, of f32', 'caches, of f32'],
    rows,
  );
  opened.close();
}
