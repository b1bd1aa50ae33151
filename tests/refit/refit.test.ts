/** refit on a tiny model: what it must leave alone, what it must recover exactly, and what it must make better. */
import { parsePipeline } from 'hew';
import { describe, expect, test } from 'vitest';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { interpretEntry } from '../../ir/interpret.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import type { PassReport } from '../../passes/pass.js';
import {
  randomSource,
  type TinyModel,
  tinyData,
  tinyModel,
  tinyMoge,
  tinyMole,
} from '../prune/tiny-model.js';

const tiny = tinyModel();

async function apply(
  text: string,
  model: TinyModel = tiny,
): Promise<TinyModel & { readonly report: PassReport }> {
  const data = tinyData(model.module, 24, 16);
  const { module, reports } = await runDataPipeline(model.module, parsePipeline(text), {
    source: model.source,
    data,
  });
  return { module, source: model.source, report: reports.at(-1) as PassReport };
}

/** Logits of some of the calibration windows: what the fit is about. */
function logitsOf({ module, source }: TinyModel): Float64Array {
  const windows = tinyData(module, 24, 16).windows ?? [];
  const logits = windows.slice(0, 6).map((ids) => {
    const outputs = interpretEntry(module, 'prefill', { ids: tensor('i32', [ids.length], ids) }, { source });
    return [...(outputs.logits as Tensor).data];
  });
  return Float64Array.from(logits.flat());
}

/** How far the logits of a pipeline's result are from those of the model: the root mean square. */
async function error(text: string, model: TinyModel = tiny): Promise<number> {
  const [found, wanted] = [logitsOf(await apply(text, model)), logitsOf(model)];
  const squares = found.reduce((sum, value, i) => sum + (value - (wanted[i] as number)) ** 2, 0);
  return Math.sqrt(squares / found.length);
}

describe('refit', () => {
  test.each(['refit', 'refit{mode=one-shot}', 'refit{readers=true,lm_head=true}'])(
    '%s leaves an unpruned model as it is',
    async (text) => {
      expect(await error(text)).toBeLessThan(1e-3);
    },
  );

  test.each(['true', 'false'])(
    'recovers exactly what other neurons explain (sandwich_norm = %s)',
    async (sandwich_norm) => {
      const { module } = tinyModel({ sandwich_norm });
      // The upper half of the neurons are the lower half, scaled down: pruning takes the upper half.
      const source = randomSource(module, (name, values) => {
        const half = values.length / 2;
        if (/gate_proj/.test(name)) return values.map((_, i) => values[i % half] as number);
        return /up_proj/.test(name)
          ? values.map((_, i) => Math.fround((values[i % half] as number) * (i < half ? 1 : 1e-2)))
          : values;
      });
      const model = { module, source };
      const plain = await error('prune{ffn=12}', model);
      // What is left is the ridge's share and, behind a norm, that of the divisor that was held.
      expect(await error('prune{ffn=12},refit{ridge=1e-7}', model)).toBeLessThan(plain / 5);
      expect(await error('prune{ffn=12},refit{ridge=1e-7,mode=one-shot}', model)).toBeLessThan(plain / 5);
    },
  );

  test.each([
    ['prune{ffn=18}', 'refit'],
    ['prune{heads=2}', 'refit{mode=one-shot}'],
    ['prune{layers=3},clap', 'refit'],
    ['prune{d=14},slnp', 'refit{readers=true,lm_head=true}'],
    ['absorb-post-norm', 'refit'],
    ['absorb-post-norm{share=0.5}', 'refit'],
  ])('after %s, %s brings the logits nearer to the original', async (pruning, refit) => {
    expect(await error(`${pruning},${refit}`)).toBeLessThan(await error(pruning));
  });

  test('what a removed layer did is asked of the layers in front of it', async () => {
    const model = tinyModel({ sandwich_norm: 'false' });
    expect(await error('prune{layers=3,drop=2},refit', model)).toBeLessThan(
      await error('prune{layers=3,drop=2}', model),
    );
  });

  test('one-shot: writers that read all they read are right as they are', async () => {
    const { report } = await apply('prune{d=12},slnp,refit{mode=one-shot}');
    expect(report.counts.writers).toBe(0);
    expect(report.notes).toEqual(["8 writers read all that the original's do: they are right as they are"]);
  });

  test('gains of the norms behind the writers bring the stream nearer', async () => {
    const options = 'mode=one-shot,readers=true,lm_head=true';
    const { report } = await apply(`prune{d=12},slnp,refit{${options},gains=true}`);
    expect(report.counts.gains).toBe(8);
    expect(await error(`prune{d=12},slnp,refit{${options},gains=true}`)).toBeLessThan(
      await error(`prune{d=12},slnp,refit{${options}}`),
    );
  });

  test('a second refit solves the same layers again and does no harm', async () => {
    const once = 'prune{d=12,ffn=18},slnp,refit{readers=true,lm_head=true}';
    const again = `${once},refit{readers=true,lm_head=true}`;
    expect((await apply(again)).report.counts).toEqual((await apply(once)).report.counts);
    expect(await error(again)).toBeLessThan(1.02 * (await error(once)));
  });

  test('a cut after a refit is still read off its weights', async () => {
    const { report } = await apply('prune{ffn=18},refit,prune{d=12},refit{readers=true}');
    expect(report.counts.readers).toBe(20);
  });

  test('counts what it solved', async () => {
    const { report } = await apply('prune{d=12},refit{readers=true,lm_head=true}');
    expect(report.counts).toEqual({ writers: 8, readers: 20, gains: 0, head: 1, experts: 0 });
    expect(report.notes).toEqual([]);
  });

  test('unties a head that is also the embedding', async () => {
    const tied = tinyModel({ tie_word_embeddings: 'true' });
    const { module } = await apply('prune{d=12},refit{lm_head=true}', tied);
    expect([...module.params.keys()]).toContain('lm_head.weight');
    expect([...(await apply('prune{d=12},refit', tied)).module.params.keys()]).not.toContain(
      'lm_head.weight',
    );
  });

  test.each([
    ['refit{mode=twice}', /HEW6002: refit has no mode 'twice'/],
    ['refit{ridge=-1}', /HEW6002: refit: ridge=-1/],
    ['refit{ridge=0}', /HEW6011: the calibration data does not determine/],
  ])('%s is refused', async (text, message) => {
    const data = tinyData(tiny.module, 1, 3);
    await expect(
      runDataPipeline(tiny.module, parsePipeline(text), { source: tiny.source, data }),
    ).rejects.toThrow(message);
  });
});

describe('other families', () => {
  test('grouped experts are solved with the shared one', async () => {
    const model = tinyMoge();
    const pruned = 'prune{expert_ffn=6,shared_ffn=10}';
    const { report } = await apply(`${pruned},refit`, model);
    expect(report.counts).toEqual({ writers: 4, experts: 8, readers: 0, gains: 0, head: 0 });
    expect(await error(`${pruned},refit`, model)).toBeLessThan(await error(pruned, model));
  });

  test('an expert that sees fewer tokens than it has inputs stays, and is reported', async () => {
    const model = tinyMoge();
    const data = tinyData(model.module, 1, 8);
    const { module, reports } = await runDataPipeline(model.module, parsePipeline('refit'), {
      source: model.source,
      data,
    });
    expect(reports.at(-1)?.counts.experts).toBeLessThan(8);
    expect(reports.at(-1)?.notes.join()).toMatch(/\d routed experts stay: they see fewer tokens/);
    expect(module).not.toBe(model.module);
  });

  test('of lookup experts the shared one is solved', async () => {
    const model = tinyMole();
    const { report } = await apply('prune{shared_ffn=8},refit', model);
    expect(report.counts.writers).toBe(4);
    expect(await error('prune{shared_ffn=8},refit', model)).toBeLessThan(
      await error('prune{shared_ffn=8}', model),
    );
  });
});
