/** The models whose weights lie beside the repository, in ../shared/models; skipped where they are absent. */
import { goldenTests } from '../golden/golden.js';

for (const name of ['pangu-12m', 'moge-8m', 'mole-7m', 'dit-10m', 'glyphnet']) {
  goldenTests(name, `../shared/models/${name}/golden.safetensors`);
}
