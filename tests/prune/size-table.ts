/**
 * Quality against size, by axis and jointly, on every family: what `npm run bench:prune -- tables` measures. A case is
 * pruned plainly, re-initialised as the paper says where that applies, and refitted.
 */
export interface SizeCase {
  readonly what: string;
  readonly plain: string;
  /** SLNP for channels, CLAP for layers. */
  readonly paper?: string;
  readonly refit?: string;
}

const cut = (what: string, prune: string): SizeCase => ({
  what,
  plain: prune,
  refit: `${prune},refit{mode=one-shot}`,
});
const channels = (what: string, prune: string): SizeCase => ({
  what,
  plain: prune,
  paper: `${prune},slnp`,
  refit: `${prune},slnp,refit{mode=one-shot,readers=true,gains=true,lm_head=true}`,
});
const layers = (what: string, prune: string): SizeCase => ({
  what,
  plain: prune,
  paper: `${prune},clap`,
  refit: `${prune},refit`,
});

const unpruned: SizeCase = { what: 'unpruned', plain: '' };

export const sizeTables: Readonly<Record<string, readonly SizeCase[]>> = {
  'moge-8m': [
    unpruned,
    channels('channels -12.5 %', 'prune{d=-12.5%}'),
    channels('channels -25 %', 'prune{d=-25%}'),
    cut('experts 3 of 4 per group', 'prune{experts=12}'),
    cut('experts 2 of 4 per group', 'prune{experts=8}'),
    cut('neurons of each expert -25 %', 'prune{expert_ffn=-25%}'),
    cut('neurons of each expert -50 %', 'prune{expert_ffn=-50%}'),
    cut('shared expert -25 %', 'prune{shared_ffn=-25%}'),
    cut('shared expert -50 %', 'prune{shared_ffn=-50%}'),
    channels(
      'channels -12.5 %, 3 experts per group, neurons -12.5 %',
      'prune{d=-12.5%,experts=12,expert_ffn=-12.5%,shared_ffn=-12.5%}',
    ),
  ],
  'mole-7m': [
    unpruned,
    channels('channels -12.5 %', 'prune{d=-12.5%}'),
    channels('channels -25 %', 'prune{d=-25%}'),
    cut('lookup experts 3 of 4', 'prune{experts=3}'),
    cut('neurons of each lookup expert -50 %', 'prune{expert_ffn=-50%}'),
    cut('shared expert -25 %', 'prune{shared_ffn=-25%}'),
    cut('shared expert -50 %', 'prune{shared_ffn=-50%}'),
    channels('channels and neurons -12.5 %', 'prune{d=-12.5%,expert_ffn=-12.5%,shared_ffn=-12.5%}'),
  ],
  'dit-10m': [
    unpruned,
    cut('heads 6 of 8', 'prune{heads=6}'),
    cut('heads 4 of 8', 'prune{heads=4}'),
    cut('mlp -12.5 %', 'prune{ffn=-12.5%}'),
    cut('mlp -25 %', 'prune{ffn=-25%}'),
    cut('mlp -50 %', 'prune{ffn=-50%}'),
    layers('one block removed, lowest influence', 'prune{blocks=7}'),
    layers('one block removed, greedy', 'prune{blocks=7,by=greedy}'),
    layers('two blocks removed, greedy', 'prune{blocks=6,by=greedy}'),
    cut('heads 6 of 8, mlp -25 %', 'prune{heads=6,ffn=-25%}'),
  ],
  'pangu-12m': [
    unpruned,
    layers('two layers removed, lowest influence', 'prune{layers=10}'),
    layers('three layers removed, lowest influence', 'prune{layers=9}'),
    { ...channels('channels, ffn -10 %', 'prune{d=-10%,ffn=-10%,multiple=8}') },
    {
      what: 'one layer, channels and ffn -10 %',
      plain: 'prune{layers=11,d=-10%,ffn=-10%,multiple=8}',
      paper: 'prune{layers=11},clap,prune{d=-10%,ffn=-10%,multiple=8},slnp',
      refit: 'prune{layers=11,d=-10%,ffn=-10%,multiple=8},slnp,refit{readers=true,lm_head=true}',
    },
    {
      what: 'channels and ffn -10 %, all post-norms absorbed',
      plain: 'prune{d=-10%,ffn=-10%,multiple=8},absorb-post-norm{constant=none}',
      paper: 'prune{d=-10%,ffn=-10%,multiple=8},slnp,absorb-post-norm',
      refit: 'prune{d=-10%,ffn=-10%,multiple=8},slnp,absorb-post-norm,refit{readers=true,lm_head=true}',
    },
  ],
};
