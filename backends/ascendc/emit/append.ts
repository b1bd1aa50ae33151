/** cache_append: the new rows go to their position; where the result is not the cache itself, the others are copied. */
import { addDims, type Dim, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { elementType, factor } from './size.js';
import { elementBytes, method } from './tile.js';

const copyBytes = 32 * 1024;

export function emitAppend(context: KernelContext): KernelBody {
  const { root, func } = context;
  const [cache, x, position] = root.operands as [Value, Value, Value];
  const [result] = func.results as [Value];
  const [capacity, count] = [cache, x].map((value) => context.size(value.type.shape[0] as Dim)) as [
    string,
    string,
  ];
  const row = context.size(productOfDims(cache.type.shape.slice(1)));
  const type = elementType[cache.type.dtype];
  const [from, added, out] = [cache, x, result].map((value) => `${context.pointer(value)}Gm_`) as [
    string,
    string,
    string,
  ];
  // What MTE2 brings MTE3 takes, without the vector unit between; two buffers, so that both have work.
  const copy = [
    `LocalTensor<${type}> block = buffer_.GetWithOffset<${type}>(kTile, side * kTile * sizeof(${type}));`,
    'const int32_t event = static_cast<int32_t>(side);',
    'WaitFlag<HardEvent::MTE3_MTE2>(event);',
    'Load(block, from, count);',
    'SetFlag<HardEvent::MTE2_MTE3>(event);',
    'WaitFlag<HardEvent::MTE2_MTE3>(event);',
    'Store(to, block, count);',
    'SetFlag<HardEvent::MTE3_MTE2>(event);',
  ];
  return {
    type: 'AIV_ONLY',
    about: ['Blocks of the rows go round the cores, from memory through the unified buffer to memory.'],
    constants: [
      `constexpr uint32_t kTile = ${copyBytes / elementBytes(cache.type.dtype)};  // elements of one copy`,
    ],
    init: [`pipe_->InitBuffer(buffer_, 2 * kTile * sizeof(${type}));`],
    members: ['TBuf<TPosition::VECCALC> buffer_;'],
    occupancy: { UB: 2 * copyBytes },
    blocks: addDims(productOfDims(cache.type.shape), productOfDims(x.type.shape)),
    methods: [
      method('Process()', [
        `const int64_t start = ${context.pointer(position)}Gm_.GetValue(0);`,
        `const bool fits = start >= 0 && start + ${count} <= ${capacity};`,
        `const uint64_t first = fits ? start * ${factor(row)} : 0;`,
        `const uint64_t added = fits ? static_cast<uint64_t>(${count}) * ${factor(row)} : 0;`,
        `Copy(${out}[first], ${added}, added);`,
        `if (${out}.GetPhyAddr() == ${from}.GetPhyAddr()) return;`,
        `const uint64_t behind = first + added;`,
        `Copy(${out}, ${from}, first);`,
        `Copy(${out}[behind], ${from}[behind], static_cast<uint64_t>(${capacity}) * ${factor(row)} - behind);`,
      ]),
      'private:',
      method(`Copy(const GlobalTensor<${type}>& to, const GlobalTensor<${type}>& from, uint64_t elements)`, [
        'for (int32_t side = 0; side < 2; ++side) SetFlag<HardEvent::MTE3_MTE2>(side);',
        'uint32_t side = 0;',
        'for (uint64_t at = GetBlockIdx() * kTile; at < elements; at += GetBlockNum() * kTile) {',
        '    CopyBlock(to[at], from[at], Minimum(kTile, elements - at), side);',
        '    side = 1 - side;',
        '}',
        'for (int32_t side = 0; side < 2; ++side) WaitFlag<HardEvent::MTE3_MTE2>(side);',
      ]),
      method(
        `CopyBlock(const GlobalTensor<${type}>& to, const GlobalTensor<${type}>& from, uint32_t count, uint32_t side)`,
        copy,
      ),
    ],
  };
}
