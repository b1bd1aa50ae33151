/**
 * What a run that takes long has finished: a directory beside its output, `DIR.work`, with weights that passes have
 * solved and how far they have come. Solved weights leave memory this way as well: they become `source` recipes whose
 * names are the hashes of their values. A run that is killed leaves the directory; the same command finds it again,
 * because everything in it lies under the hash of what it was made from; a run that ends well removes it.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fail } from '../ir/diagnostics.js';
import type { TensorSource } from '../ir/materialise.js';
import type { Module, Param } from '../ir/module.js';
import { printModule } from '../ir/print.js';
import type { Recipe } from '../ir/recipe.js';
import type { DType } from '../ir/type.js';
import type { Journal, JournalState } from '../passes/pass.js';
import { mapRecipe, recipeAt, turnsOf } from '../passes/recipes.js';
import { isRunning } from './atomic-write.js';
import { type FileDType, fileDTypes } from './checkpoint/dtypes.js';
import { ContentStore, type StoredTensor, storedFloats } from './content-store.js';

const prefix = 'solved:';
const isSolved = (name: string): boolean => name.startsWith(prefix);

export class WorkDirectory {
  readonly store: ContentStore;
  private readonly owner: string;
  private isWorthKeeping = false;

  /** Fails with HEW6031 when another process works on the same output. */
  constructor(
    readonly path: string,
    /** Tells weights, data and compilers apart. */
    readonly identity: string,
  ) {
    this.store = new ContentStore(path);
    this.owner = join(path, 'owner');
    const pid = existsSync(this.owner) ? Number(readFileSync(this.owner, 'utf8')) : Number.NaN;
    if (Number.isInteger(pid) && isRunning(pid)) {
      fail('HEW6031', `process ${pid} is working on the same output`, {
        help: `choose another output directory, or remove ${path} if that process is no run of hew`,
      });
    }
  }

  /** A checkpoint and, by their names, the weights that were solved since. */
  source(checkpoint: TensorSource | undefined): TensorSource {
    return {
      read: (name) => {
        if (isSolved(name)) return this.readSolved(name);
        return (
          checkpoint?.read(name) ??
          fail('HEW4006', `the value of ${name} is needed, but no weights are given`)
        );
      },
    };
  }

  private readSolved(name: string): { dtype: DType; bytes: Uint8Array } {
    const tensor = this.store.read(name)?.tensors.get('weight');
    if (tensor === undefined)
      return fail('HEW6032', `a solved weight is no longer in ${this.path}`, {
        help: 'leave the directory alone while hew prune runs; start the command again',
      });
    return { dtype: tensor.dtype as DType, bytes: tensor.bytes };
  }

  /** The journal of a pass with these options on these modules. */
  journal(pass: string, options: unknown, modules: readonly Module[]): Journal {
    const hash = createHash('sha256').update(JSON.stringify([this.identity, pass, options]));
    for (const module of modules) hash.update(printModule(module));
    const key = hash.digest('hex');
    return {
      resume: (module) => this.resume(key, module),
      save: (module, state) => this.save(key, module, state),
    };
  }

  private resume(key: string, module: Module): { module: Module; state: JournalState } | undefined {
    const item = this.store.read(key);
    if (item === undefined) return undefined;
    const { facts, solved, arrays } = item.facts as Saved;
    if (!solved.every(({ source }) => this.store.read(source) !== undefined)) return undefined;
    const params = new Map(module.params);
    for (const weight of solved) {
      const param = params.get(weight.param);
      if (param === undefined) return undefined;
      params.set(weight.param, { ...param, recipe: withSolved(module, param, weight) });
    }
    const restored = arrays.map(({ name, count }) => [
      name,
      Array.from({ length: count }, (_, i) => {
        const { bytes } = item.tensors.get(`${name}.${i}`) as StoredTensor;
        return new Float32Array(bytes.buffer);
      }),
    ]);
    return { module: { ...module, params }, state: { facts, arrays: Object.fromEntries(restored) } };
  }

  private async save(key: string, module: Module, { facts, arrays }: JournalState): Promise<Module> {
    await this.claim();
    const kept = await this.keepSolved(module);
    const tensors = Object.entries(arrays).flatMap(([name, values]) =>
      values.map((array, i) => [`${name}.${i}`, storedFloats(array, [array.length])] as const),
    );
    const counts = Object.entries(arrays).map(([name, values]) => ({ name, count: values.length }));
    const saved: Saved = { facts, solved: solvedOf(kept), arrays: counts };
    await this.store.write(key, { tensors: new Map(tensors), facts: saved });
    return kept;
  }

  private async claim(): Promise<void> {
    this.isWorthKeeping = true;
    await mkdir(this.path, { recursive: true });
    writeFileSync(this.owner, String(process.pid));
  }

  /** The module with solved weights on disk instead of in memory. */
  private async keepSolved(module: Module): Promise<Module> {
    const sources = new Map<Recipe, Recipe>();
    for (const node of [...module.params.values()].flatMap(({ recipe }) => solvedConstants(recipe))) {
      const { dtype } = node.type;
      const name = prefix + createHash('sha256').update(dtype).update(node.bytes).digest('hex');
      const bytes = Uint8Array.from(node.bytes);
      const tensors = new Map<string, StoredTensor>([
        [
          'weight',
          { dtype: dtype as FileDType, shape: [bytes.length / fileDTypes[dtype as FileDType]], bytes },
        ],
      ]);
      await this.store.write(name, { tensors, facts: null });
      sources.set(node, { kind: 'source', name, type: node.type, replaces: node.replaces });
    }
    const params = [...module.params].map(([name, param]): [string, Param] => {
      const recipe = mapRecipe(param.recipe, (node) => sources.get(node));
      return [name, recipe === param.recipe ? param : { ...param, recipe }];
    });
    return { ...module, params: new Map(params) };
  }

  /** Runs what works here. Then removes the directory, unless it broke off and what it left saves time in the next run. */
  async during<T>(run: () => Promise<T>): Promise<T> {
    try {
      const result = await run();
      this.isWorthKeeping = false;
      return result;
    } finally {
      await rm(this.isWorthKeeping ? this.owner : this.path, { recursive: true, force: true });
    }
  }
}

interface Saved {
  readonly facts: unknown;
  readonly solved: readonly SolvedWeight[];
  readonly arrays: readonly { readonly name: string; readonly count: number }[];
}

/** A parameter that is a solved weight, in one turn of its loop or (null) without one. */
interface SolvedWeight {
  readonly param: string;
  readonly turn: number | null;
  readonly source: string;
}

/** Constants that passes have computed in place of a weight; others, such as indices, are part of the graph. */
function solvedConstants(recipe: Recipe): (Recipe & { kind: 'constant' })[] {
  if (recipe.kind === 'per_index') return recipe.parts.flatMap(solvedConstants);
  return recipe.kind === 'constant' && recipe.replaces !== undefined ? [recipe] : [];
}

function solvedOf(module: Module): SolvedWeight[] {
  return [...module.params].flatMap(([name, param]) => {
    const turns = turnsOf(module, param.loop)?.keys() ?? [null];
    return [...turns].flatMap((turn): SolvedWeight[] => {
      const recipe = partOf(param.recipe, turn);
      const source = recipe.kind === 'source' && isSolved(recipe.name) ? recipe.name : undefined;
      return source === undefined ? [] : [{ param: name, turn, source }];
    });
  });
}

const partOf = (recipe: Recipe, turn: number | null): Recipe =>
  recipe.kind === 'per_index' && turn !== null ? (recipe.parts[turn] as Recipe) : recipe;

function withSolved(module: Module, param: Param, { turn, source }: SolvedWeight): Recipe {
  const fresh = (replaces: Recipe): Recipe => ({ kind: 'source', name: source, type: param.type, replaces });
  const turns = turnsOf(module, param.loop);
  if (turns === undefined) return fresh(param.recipe);
  const parts = turns.map((index, t) => {
    const present = recipeAt(param, t, index);
    return t === turn ? fresh(present) : present;
  });
  return { kind: 'per_index', parts };
}
