/** All passes. A new pass is one file and one line here; --help, pipelines and docs/passes.md read this table. */
import { absorbPostNorm } from './absorb/absorb-post-norm.js';
import { budget } from './budget/budget.js';
import { canonicalize } from './canonicalize.js';
import { clap } from './clap.js';
import { cse } from './cse.js';
import { dce } from './dce.js';
import { fold } from './fold.js';
import { fuse } from './fuse.js';
import { joinExperts } from './join-experts.js';
import { lift } from './lift/lift.js';
import type { Pass } from './pass.js';
import { prune } from './prune/prune.js';
import { htg } from './quantize/htg.js';
import { ptq4dit } from './quantize/ptq4dit.js';
import { quantize } from './quantize/quantize.js';
import { quantizeKv } from './quantize-kv.js';
import { refit } from './refit/refit.js';
import { shard } from './shard/shard.js';
import { slnp } from './slnp.js';
import { smooth } from './smooth/smooth.js';
import { splitLoops } from './split-loop.js';

export const passes: readonly Pass[] = [
  canonicalize,
  fold,
  cse,
  dce,
  fuse,
  lift,
  prune,
  budget,
  clap,
  slnp,
  absorbPostNorm,
  splitLoops,
  refit,
  htg,
  joinExperts,
  ptq4dit,
  smooth,
  quantize,
  quantizeKv,
  shard,
];

/** The exact passes a compilation runs before the backend legalises and fuses. */
export const standardPipeline = 'canonicalize,fold,canonicalize,cse,dce';
