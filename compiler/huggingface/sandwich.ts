/**
 * `post_attention_layernorm` means two things: the norm before the feed-forward layer in a block with two norms, and
 * the norm behind attention in a block with four. Which one is decided by the presence of the other norms, never by
 * the name alone.
 */
import { fail } from '../../ir/diagnostics.js';
import { type Facts, own } from './facts.js';

/** Whether blocks have four norms. Fails with HEW3155 when tensors and `sandwich_norm` of config.json disagree. */
export function sandwichNorm({ config, tensors }: Facts): boolean {
  const has = (norm: string): boolean => tensors.has(`model.layers.0.${norm}.weight`);
  const [before, behind] = [has('pre_mlp_layernorm'), has('post_mlp_layernorm')];
  const said = own(config, 'sandwich_norm');
  const names = 'pre_mlp_layernorm and post_mlp_layernorm';
  const because =
    'with them, post_attention_layernorm stands behind attention; without, before the feed-forward layer';
  if (before !== behind) {
    fail(
      'HEW3155',
      `layer 0 has ${before ? 'pre' : 'post'}_mlp_layernorm without the other one of ${names}`,
      {
        notes: [because],
        help: 'a sandwich norm has both; a checkpoint whose post-norms were absorbed is opened through its own spec',
      },
    );
  }
  if (typeof said === 'boolean' && said !== before) {
    fail(
      'HEW3155',
      `config.json says sandwich_norm: ${said}, but layer 0 has ${before ? '' : 'no '}${names}`,
      {
        notes: [because],
        help: 'set sandwich_norm to what the tensors are',
      },
    );
  }
  return before;
}
