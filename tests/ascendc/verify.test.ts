/** Each rule of the verifier: an emitted kernel is changed in one place, and the change is reported by its code. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { type Chip, chips } from '../../backends/ascendc/chips.js';
import { verifyKernel } from '../../backends/ascendc/verify/verify.js';
import type { DiagnosticCode } from '../../ir/diagnostics.js';

interface Mistake {
  readonly what: string;
  readonly kernel: string;
  readonly replace: string;
  readonly by: string;
  readonly code: DiagnosticCode;
  readonly message: RegExp;
}

const mistakes: readonly Mistake[] = [
  {
    what: 'buffers larger than UB',
    kernel: 'pointwise_flat',
    replace: 'InitBuffer(outQueue_, 2, kTile',
    by: 'InitBuffer(outQueue_, 2, 100 * kTile',
    code: 'HEW6220',
    message: /do not fit the 188160 of UB/,
  },
  {
    what: 'tiles larger than L1',
    kernel: 'linear',
    replace: 'kTileK = 256',
    by: 'kTileK = 8192',
    code: 'HEW6220',
    message: /of L1/,
  },
  {
    what: 'tiles larger than L0A',
    kernel: 'linear',
    replace: 'kStepK = 64',
    by: 'kStepK = 2048',
    code: 'HEW6220',
    message: /of L0A/,
  },
  {
    what: 'tiles larger than L0C',
    kernel: 'linear_many_rows',
    replace: 'kTileM * kTileN * sizeof(float)',
    by: '8 * kTileM * kTileN * sizeof(float)',
    code: 'HEW6220',
    message: /of L0C/,
  },
  {
    what: 'more than 64 buffers',
    kernel: 'cache_append',
    replace: 'InitBuffer(buffer_, 2 * kTile * sizeof(half));',
    by: `InitBuffer(buffer_, 32);${Array.from({ length: 64 }, (_, i) => ` pipe_->InitBuffer(b${i}_, 32);`).join('')}`,
    code: 'HEW6220',
    message: /has at most 64/,
  },
  {
    what: 'a part of UB at an odd place',
    kernel: 'pointwise_masks',
    replace: '1 * kTile * sizeof(float))',
    by: '1 * kTile * sizeof(float) + 2)',
    code: 'HEW6221',
    message: /no multiple of 32/,
  },
  {
    what: 'an operand at an odd place',
    kernel: 'pointwise_masks',
    replace: 'Adds(work0, tile0, 0.0f, count)',
    by: 'Adds(work0[4], tile0, 0.0f, count)',
    code: 'HEW6221',
    message: /multiples of 32/,
  },
  {
    what: 'a fractal of L0A at no multiple of 512',
    kernel: 'linear',
    replace: 'LoadData(a[i * fractals * fractal]',
    by: 'LoadData(a[i * fractals * fractal + 16]',
    code: 'HEW6221',
    message: /multiples of 512/,
  },
  {
    what: 'a count that is no whole block',
    kernel: 'cache_append',
    replace: 'Load(block, from, count)',
    by: 'DataCopy(block, from, count)',
    code: 'HEW6221',
    message: /whole blocks of 32 bytes/,
  },
  {
    what: 'a count above the tensor',
    kernel: 'rms_norm_residual',
    replace: 'Load(tile1, in1Gm_[column], count)',
    by: 'Load(tile1, in1Gm_[column], 2 * count)',
    code: 'HEW6222',
    message: /may touch 812 bytes of a tensor of 512/,
  },
  {
    what: 'half of a buffer',
    kernel: 'softmax',
    replace: 'InitBuffer(outQueue_, 2, kTile * sizeof(float))',
    by: 'InitBuffer(outQueue_, 2, kTile * sizeof(float) / 2)',
    code: 'HEW6222',
    message: /may touch/,
  },
  {
    what: 'half of a buffer that is used repeat by repeat',
    kernel: 'attention_cache',
    replace: 'InitBuffer(maskBuffer_, kRows * 64 * sizeof(float))',
    by: 'InitBuffer(maskBuffer_, kRows * 64 * sizeof(float) / 2)',
    code: 'HEW6222',
    message: /Sub may touch/,
  },
  {
    what: 'rows of a result that are not there',
    kernel: 'attention_full',
    replace: 'StoreRows(out0Gm_[row * kValues], result, rows,',
    by: 'StoreRows(out0Gm_[row * kValues], result, 4 * rows,',
    code: 'HEW6222',
    message: /StoreRows may touch/,
  },
  {
    what: 'more than 255 repeats',
    kernel: 'attention_one',
    replace: 'kKeys = 64',
    by: 'kKeys = 256',
    code: 'HEW6223',
    message: /number of repeats may be 256, more than 255/,
  },
  {
    what: 'a mask of more lanes than a repeat has',
    kernel: 'attention_one',
    replace: 'WholeReduceSum(scores, wide, 40,',
    by: 'WholeReduceSum(scores, wide, 80,',
    code: 'HEW6223',
    message: /mask may be 80, more than 64/,
  },
  {
    what: 'more blocks than a copy takes',
    kernel: 'attention_one',
    replace: 'LoadRows(keys, in1Gm_[(key * 2 + kvHead) * 40], count,',
    by: 'LoadRows(keys, in1Gm_[(key * 2 + kvHead) * 40], 64 * count,',
    code: 'HEW6223',
    message: /number of blocks may be 4096, more than 4095/,
  },
  {
    what: 'a product that is too deep',
    kernel: 'linear',
    replace: 'product.k = depth',
    by: 'product.k = 64 * depth',
    code: 'HEW6223',
    message: /k may be 4096, more than 4095/,
  },
  {
    what: 'a product of one row',
    kernel: 'grouped_linear',
    replace: 'product.m = m == 1 ? 2 : m',
    by: 'product.m = m',
    code: 'HEW6223',
    message: /m is 2 or more/,
  },
  {
    what: 'a comparison of broken repeats',
    kernel: 'pointwise_masks',
    replace: 'CMPMODE::LT, WholeRepeats(count)',
    by: 'CMPMODE::LT, count',
    code: 'HEW6223',
    message: /multiple of 256 bytes/,
  },
  {
    what: 'an event id above 7',
    kernel: 'cache_append',
    replace: 'static_cast<int32_t>(side)',
    by: '8',
    code: 'HEW6223',
    message: /event id 8/,
  },
  {
    what: 'a cross-core flag of SyncAll',
    kernel: 'linear_bias_silu',
    replace: 'kDone = 1',
    by: 'kDone = 11',
    code: 'HEW6223',
    message: /cross-core flag 11/,
  },
  {
    what: 'arithmetic on bfloat16',
    kernel: 'pointwise_rows',
    replace: 'Cast(work0, tile0, RoundMode::CAST_NONE, count)',
    by: 'Add(tile0, tile0, tile0, count)',
    code: 'HEW6224',
    message: /Add does not take bf16/,
  },
  {
    what: 'a cast that the chip does not have',
    kernel: 'pointwise_rows',
    replace: 'RoundMode::CAST_RINT, count)',
    by: 'RoundMode::CAST_ODD, count)',
    code: 'HEW6224',
    message: /does not cast f32 to bf16 with CAST_ODD/,
  },
  {
    what: 'a mode of Fixpipe that does not fit',
    kernel: 'linear',
    replace: 'F322F16',
    by: 'F322BF16',
    code: 'HEW6224',
    message: /Fixpipe from f32 to f16 does not take F322BF16/,
  },
  {
    what: 'no EnQue',
    kernel: 'gather_rows',
    replace: 'tile0Queue_.EnQue(tile0);',
    by: '',
    code: 'HEW6225',
    message: /DeQue without EnQue/,
  },
  {
    what: 'no DeQue',
    kernel: 'gather_rows',
    replace: 'LocalTensor<half> result = outQueue_.DeQue<half>();',
    by: 'LocalTensor<half> result = outQueue_.AllocTensor<half>();',
    code: 'HEW6225',
    message: /outQueue_: FreeTensor without DeQue/,
  },
  {
    what: 'no FreeTensor',
    kernel: 'gather_rows',
    replace: 'tile0Queue_.FreeTensor(tile0);',
    by: '',
    code: 'HEW6225',
    message: /a turn of a loop does not leave the queue as it was/,
  },
  {
    what: 'a flag that nothing waits for',
    kernel: 'cache_append',
    replace: 'WaitFlag<HardEvent::MTE2_MTE3>(event);',
    by: '',
    code: 'HEW6225',
    message: /MTE2_MTE3: a turn of a loop does not set as many flags/,
  },
  {
    what: 'a wait for a flag that nothing sets',
    kernel: 'cache_append',
    replace: 'SetFlag<HardEvent::MTE2_MTE3>(event);',
    by: '',
    code: 'HEW6225',
    message: /WaitFlag without SetFlag/,
  },
  {
    what: 'a cross-core flag that nothing waits for',
    kernel: 'linear_bias_silu',
    replace: 'CrossCoreWaitFlag<2>(kReady);',
    by: '',
    code: 'HEW6225',
    message: /cross-core flag 0 is set and never waited for/,
  },
  {
    what: 'SyncAll in a kernel type that cannot',
    kernel: 'softmax',
    replace: 'Compute(row, 0, kWidth);',
    by: 'Compute(row, 0, kWidth); SyncAll();',
    code: 'HEW6225',
    message: /SyncAll needs a kernel type/,
  },
  {
    what: 'the standard library',
    kernel: 'softmax',
    replace: 'const float part =',
    by: 'const float other = std::sqrt(2.0f); const float part =',
    code: 'HEW6227',
    message: /standard library/,
  },
  {
    what: 'a raw pointer to global memory',
    kernel: 'softmax',
    replace: 'greatest_ = -kInfinity;',
    by: 'greatest_ = *pointer;',
    code: 'HEW6227',
    message: /pointer is dereferenced/,
  },
  {
    what: 'a loop that is not checked',
    kernel: 'softmax',
    replace: 'greatest_ = -kInfinity;',
    by: 'while (true) {}',
    code: 'HEW6227',
    message: /'while' has no place/,
  },
];

const golden = (chip: string, kernel: string): string =>
  readFileSync(`tests/ascendc/golden/${chip}/${kernel}.cpp`, 'utf8');

const verified = (code: string, chip: Chip) => verifyKernel({ name: 'k', code }, chip);

test.each(mistakes)('$code: $what', ({ kernel, replace, by, code, message }) => {
  const right = golden('910b3', kernel);
  expect(right).toContain(replace);
  expect(verified(right, chips['910b3'])).toEqual([]);
  const found = verified(right.replace(replace, by), chips['910b3']);
  expect(found.map((d) => d.code)).toContain(code);
  expect(found.some((d) => d.code === code && message.test(d.message))).toBe(true);
});

describe('HEW6226: what 310p3 lacks', () => {
  const chip = chips['310p3'];

  test.each([
    ['bfloat16', 'pointwise_rows', /no bfloat16/],
    ['Fixpipe', 'linear', /no Fixpipe/],
    ['kernels of vector cores', 'softmax', /no kernels of the type AIV_ONLY/],
  ])('%s', (_, kernel, message) => {
    const code = golden('910b3', kernel).replace('KERNEL_TYPE_AIC_ONLY', 'KERNEL_TYPE_AICORE');
    const found = verified(code, chip);
    expect(found.some((d) => d.code === 'HEW6226' && message.test(d.message))).toBe(true);
  });

  test('DataCopyPad', () => {
    const code = golden('910b3', 'softmax').replace('Load(tile0, ', 'DataCopyPad(tile0, ');
    expect(verified(code, chip).some((d) => /no DataCopyPad/.test(d.message))).toBe(true);
  });
});
