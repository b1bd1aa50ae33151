/** All passes. A new pass is one file and one line here; --help, pipelines and docs/passes.md read this table. */
import { canonicalize } from './canonicalize.js';
import { cse } from './cse.js';
import { dce } from './dce.js';
import { fold } from './fold.js';
import { fuse } from './fuse.js';
import type { Pass } from './pass.js';

export const passes: readonly Pass[] = [canonicalize, fold, cse, dce, fuse];

/** The exact passes a compilation runs before the backend legalises and fuses. */
export const standardPipeline = 'canonicalize,fold,canonicalize,cse,dce';
