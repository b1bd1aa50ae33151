/** The machine's own peak from WebAssembly: multiply-adds that never leave registers, and a plain read of memory. */
import binaryen from 'binaryen';
import { compare } from './measure.js';

export interface Peaks {
  /** GFLOP/s of f32x4 multiply and add, one thread. */
  readonly simd: number;
  /** The same with fused multiply-add of relaxed SIMD. */
  readonly relaxed: number;
  /** GB/s of reading 256 MiB. */
  readonly bandwidth: number;
}

const chains = 10;
const iterations = 2_000_000;
const readBytes = 2 ** 28;

type Raw = { _BinaryenSIMDTernary(m: number, op: number, a: number, b: number, c: number): number };

/** `chains` accumulators x = x * a + b, `iterations` times. */
function computeModule(relaxed: boolean): Uint8Array {
  const m = new binaryen.Module();
  m.setFeatures(binaryen.Features.All);
  const { f32x4, local, i32 } = m;
  const get = (i: number) => local.get(i + 1, binaryen.v128);
  const a = () => f32x4.splat(m.f32.const(0.999));
  const b = () => f32x4.splat(m.f32.const(0.001));
  const step = (i: number) =>
    relaxed
      ? (binaryen as unknown as Raw)._BinaryenSIMDTernary(
          m.ptr,
          binaryen.RelaxedMaddVecF32x4,
          get(i),
          a(),
          b(),
        )
      : f32x4.add(f32x4.mul(get(i), a()), b());
  const all = Array.from({ length: chains }, (_, i) => i);
  const body = [
    ...all.map((i) => local.set(i + 1, step(i))),
    m.br_if('loop', local.tee(0, i32.sub(local.get(0, binaryen.i32), i32.const(1)), binaryen.i32)),
  ];
  const sum = all.map(get).reduce((x, y) => f32x4.add(x, y));
  const main = m.block(null, [m.loop('loop', m.block(null, body)), f32x4.extract_lane(sum, 0)], binaryen.f32);
  m.addFunction('main', binaryen.i32, binaryen.f32, new Array(chains).fill(binaryen.v128), main);
  m.addFunctionExport('main', 'main');
  return finish(m);
}

/** Sums a memory of `readBytes` in four lanes of 64 bytes. */
function readModule(): Uint8Array {
  const m = new binaryen.Module();
  m.setFeatures(binaryen.Features.All);
  const pages = readBytes / 65536;
  m.setMemory(pages, pages, 'memory');
  const { i32x4, local, i32, v128 } = m;
  const at = () => local.get(0, binaryen.i32);
  const lanes = [0, 1, 2, 3];
  const body = [
    ...lanes.map((i) =>
      local.set(i + 1, i32x4.add(local.get(i + 1, binaryen.v128), v128.load(i * 16, 16, at()))),
    ),
    local.set(0, i32.add(at(), i32.const(64))),
    m.br_if('loop', i32.lt_u(at(), i32.const(readBytes))),
  ];
  const sum = lanes.map((i) => local.get(i + 1, binaryen.v128)).reduce((x, y) => i32x4.add(x, y));
  const main = m.block(null, [m.loop('loop', m.block(null, body)), i32x4.extract_lane(sum, 0)], binaryen.i32);
  m.addFunction('main', binaryen.i32, binaryen.i32, new Array(4).fill(binaryen.v128), main);
  m.addFunctionExport('main', 'main');
  return finish(m);
}

function finish(m: binaryen.Module): Uint8Array {
  const bytes = m.emitBinary();
  m.dispose();
  return bytes;
}

function runner(bytes: Uint8Array, argument: number): () => void {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes as BufferSource), {});
  // Pages that were never written are all one page of zeros, and would be read from the first-level cache.
  if (exports.memory instanceof WebAssembly.Memory) new Uint8Array(exports.memory.buffer).fill(1);
  return () => void (exports.main as (x: number) => number)(argument);
}

export function probePeaks(): Peaks {
  const [simd, relaxed, read] = compare([
    { name: 'simd', run: runner(computeModule(false), iterations) },
    { name: 'relaxed', run: runner(computeModule(true), iterations) },
    { name: 'read', run: runner(readModule(), 0) },
  ]);
  const flops = chains * iterations * 8;
  return {
    simd: flops / (simd?.least as number) / 1e6,
    relaxed: flops / (relaxed?.least as number) / 1e6,
    bandwidth: readBytes / (read?.least as number) / 1e6,
  };
}
