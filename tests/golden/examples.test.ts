/** The models whose weights are in examples/: these tests never skip. */
import { test } from 'vitest';
import { goldenTests, opens } from './golden.js';

goldenTests('pangu-2m', 'examples/pangu-2m/golden.safetensors');
goldenTests('dit-1m', 'examples/dit-1m/golden.safetensors');

test.each(['pangu-12m', 'moge-8m', 'mole-7m', 'dit-10m', 'glyphnet'])(
  'the spec of %s is sound, also without weights',
  (name) => opens(name),
);
