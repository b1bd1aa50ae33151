/**
 * Measured loss of pruned models: the evaluation NLL of pangu-12m and pangu-2m after each pipeline, in float32, as an
 * independent implementation found it. Tests compare with these figures, and `npm run bench:prune` prints them.
 */
export interface GoldenCase {
  readonly model: 'pangu-12m' | 'pangu-2m';
  readonly what: string;
  /** Figures of `least squares` are to be reached or beaten, the others to be met. */
  readonly column: 'plain' | 'paper' | 'variant' | 'least squares';
  readonly pipeline: string;
  /** Mean NLL of the evaluation windows. */
  readonly nll: number;
  /** Left to `npm run bench:prune -- --slow` and to HEW_SLOW=1: all of pangu-12m together take most of an hour. */
  readonly slow?: true;
}

const rows = (
  model: GoldenCase['model'],
  list: readonly (readonly [string, GoldenCase['column'], string, number, 'slow'?])[],
): GoldenCase[] =>
  list.map(([what, column, pipeline, nll, slow]) => ({
    model,
    what,
    column,
    pipeline,
    nll,
    ...(slow && { slow: true }),
  }));

/** After a cut of channels every layer changes: its gains, what reads the stream, and the head. */
const stream = 'slnp,refit{mode=one-shot,readers=true,gains=true,lm_head=true}';

export const goldenCases: readonly GoldenCase[] = [
  ...rows('pangu-2m', [
    ['unpruned', 'plain', '', 2.6124],
    ['one layer, lowest influence', 'plain', 'prune{layers=5}', 3.9692],
    ['one layer, lowest influence', 'paper', 'prune{layers=5},clap', 3.8828],
    ['two layers, lowest influence', 'plain', 'prune{layers=4}', 4.6496],
    ['two layers, lowest influence', 'paper', 'prune{layers=4},clap', 4.6003],
    ['hidden -12.5 %, ffn -12.5 %, two layers', 'plain', 'prune{d=112,ffn=336,layers=4}', 5.4101],
    ['hidden -12.5 %, ffn -12.5 %, two layers', 'paper', 'prune{layers=4},clap,prune{d=112,ffn=336}', 5.2128],
    ['one layer, lowest influence', 'least squares', 'prune{layers=5},refit', 2.9479],
    ['two layers, lowest influence', 'least squares', 'prune{layers=4},refit', 3.5947],
    [
      'hidden -12.5 %, ffn -12.5 %, two layers',
      'least squares',
      'prune{layers=4,d=112,ffn=336},slnp,refit{readers=true,lm_head=true}',
      3.9125,
    ],
    ['the same with SLNP', 'paper', 'prune{layers=4},clap,prune{d=112,ffn=336},slnp', 5.3163],
  ]),
  ...rows('pangu-12m', [
    ['unpruned', 'plain', '', 2.2856],
    ['hidden -6.25 %', 'plain', 'prune{d=240}', 2.4312, 'slow'],
    ['hidden -6.25 %', 'paper', 'prune{d=240},slnp', 2.4246, 'slow'],
    ['hidden -6.25 %', 'least squares', `prune{d=240},${stream}`, 2.3484, 'slow'],
    ['hidden -12.5 %', 'plain', 'prune{d=224}', 2.6667, 'slow'],
    ['hidden -12.5 %', 'paper', 'prune{d=224},slnp', 2.6216, 'slow'],
    ['hidden -12.5 %', 'least squares', `prune{d=224},${stream}`, 2.4744, 'slow'],
    ['hidden -25 %', 'plain', 'prune{d=192}', 3.6019],
    ['hidden -25 %', 'paper', 'prune{d=192},slnp', 3.3152],
    ['hidden -25 %', 'least squares', `prune{d=192},${stream}`, 2.8621, 'slow'],
    ['hidden -37.5 %', 'plain', 'prune{d=160}', 4.9874, 'slow'],
    ['hidden -37.5 %', 'paper', 'prune{d=160},slnp', 4.336, 'slow'],
    ['hidden -37.5 %', 'least squares', `prune{d=160},${stream}`, 3.4797, 'slow'],
    ['ffn -25 %', 'plain', 'prune{ffn=75%}', 2.417],
    ['ffn -25 %', 'least squares', 'prune{ffn=75%},refit{mode=one-shot}', 2.3923, 'slow'],
    [
      'ffn -25 %, least-squares cost',
      'least squares',
      'prune{ffn=75%,score=obs},refit{mode=one-shot}',
      2.3654,
      'slow',
    ],
    ['ffn -37.5 %', 'plain', 'prune{ffn=62.5%}', 2.5266, 'slow'],
    ['ffn -37.5 %', 'least squares', 'prune{ffn=62.5%},refit{mode=one-shot}', 2.4826, 'slow'],
    [
      'ffn -37.5 %, least-squares cost',
      'least squares',
      'prune{ffn=62.5%,score=obs},refit{mode=one-shot}',
      2.4348,
      'slow',
    ],
    ['heads, 1 of 2 kept per group', 'plain', 'prune{heads=4}', 2.8061],
    ['heads, 1 of 2 kept per group', 'least squares', 'prune{heads=4},refit{mode=one-shot}', 2.4969, 'slow'],
    ['KV groups -25 %', 'plain', 'prune{kv=3}', 2.4633, 'slow'],
    ['KV groups -25 %', 'least squares', 'prune{kv=3},refit{mode=one-shot}', 2.3847, 'slow'],
    ['KV groups -50 %', 'plain', 'prune{kv=2}', 2.9728, 'slow'],
    ['KV groups -50 %', 'least squares', 'prune{kv=2},refit{mode=one-shot}', 2.7109, 'slow'],
    ['one layer, lowest influence', 'plain', 'prune{layers=11}', 2.5444, 'slow'],
    ['one layer, lowest influence', 'paper', 'prune{layers=11},clap', 2.5995],
    ['one layer, lowest influence', 'least squares', 'prune{layers=11},refit', 2.3776, 'slow'],
    [
      'scores through o_proj, gains corrected',
      'variant',
      'prune{layers=11},clap{score=projected,gamma=true}',
      2.5266,
      'slow',
    ],
    ['one layer, greedy', 'plain', 'prune{layers=11,by=greedy,windows=8}', 2.5165, 'slow'],
    ['one layer, greedy', 'paper', 'prune{layers=11,by=greedy,windows=8},clap', 2.4827, 'slow'],
    ['one layer, greedy', 'least squares', 'prune{layers=11,by=greedy,windows=8},refit', 2.3805, 'slow'],
    ['four layers, lowest influence', 'plain', 'prune{layers=8}', 3.6525, 'slow'],
    ['four layers, lowest influence', 'paper', 'prune{layers=8},clap', 3.4452, 'slow'],
    ['four layers, lowest influence', 'least squares', 'prune{layers=8},refit', 2.8395, 'slow'],
    ['scores normalised per layer', 'variant', 'prune{layers=8},clap{normalise=true}', 3.3847, 'slow'],
    ['three layers, greedy', 'plain', 'prune{layers=9,by=greedy,windows=8}', 3.2808, 'slow'],
    ['three layers, greedy', 'paper', 'prune{layers=9,by=greedy,windows=8},clap', 3.1267, 'slow'],
    ['three layers, greedy', 'least squares', 'prune{layers=9,by=greedy,windows=8},refit', 2.6277, 'slow'],
    ['three layers, spaced', 'least squares', 'prune{layers=9,apart=2},refit', 2.5726, 'slow'],
    ['post-norms removed', 'plain', 'absorb-post-norm{constant=none}', 6.7957, 'slow'],
    ['absorb all, mean of reciprocals', 'paper', 'absorb-post-norm', 3.2451],
    ['absorb all, 1/RMS of the mean square', 'variant', 'absorb-post-norm{constant=rms}', 3.05, 'slow'],
    [
      'absorb all, least-squares scalar',
      'variant',
      'absorb-post-norm{constant=least-squares}',
      3.0217,
      'slow',
    ],
    [
      'absorb all, least squares per channel',
      'variant',
      'absorb-post-norm{constant=channel}',
      2.9507,
      'slow',
    ],
    ['absorb all, writers refitted', 'least squares', 'absorb-post-norm,refit', 2.5481, 'slow'],
    ['absorb attention only', 'paper', 'absorb-post-norm{sites=attention}', 2.6552, 'slow'],
    ['absorb attention only', 'least squares', 'absorb-post-norm{sites=attention},refit', 2.3932, 'slow'],
    ['absorb MLP only', 'paper', 'absorb-post-norm{sites=mlp}', 2.9048, 'slow'],
    ['absorb MLP only', 'least squares', 'absorb-post-norm{sites=mlp},refit', 2.4173, 'slow'],
    ['absorb the quarter that costs least', 'paper', 'absorb-post-norm{share=0.25}', 2.3262, 'slow'],
    [
      'absorb the quarter that costs least',
      'least squares',
      'absorb-post-norm{share=0.25},refit',
      2.3048,
      'slow',
    ],
    ['absorb the half that costs least', 'paper', 'absorb-post-norm{share=0.5}', 2.4366, 'slow'],
  ]),
];
