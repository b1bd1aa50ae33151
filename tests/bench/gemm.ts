/** One linear layer through the whole backend, against plain JavaScript and the machine's peak. */
import { emitWasm, lower } from '../../backends/wasm/compile.js';
import { parseModule } from '../../compiler/api.js';
import { baselineRunner, flopsOf, type LinearShape } from './baseline.js';
import { compare, printTable } from './measure.js';
import type { Peaks } from './probe.js';

type Storage = 'f32' | 'bf16' | 'f16';

const bytesPerElement: Record<Storage, number> = { f32: 4, bf16: 2, f16: 2 };

function linearModule({ inner, columns }: LinearShape, storage: Storage): string {
  return `module @bench {
    dim k = ${inner}
    dim n = ${columns}
    dim T in 1..1024
    param @w : ${storage}[n, k] = source("w", ${storage}[n, k])
    entry @main(%x: f32[T, k]) -> (y: f32[T, n]) {
      %w = param(name=@w) : ${storage}[n, k]
      %y = linear(%x, %w) : f32[T, n]
      return %y
    }
  }`;
}

/** The compiled layer on random activations; weights are small exact values in every storage type. */
function wasmRunner(shape: LinearShape, storage: Storage, relaxed: boolean): () => void {
  const wasm = emitWasm(lower(parseModule(linearModule(shape, storage))).module, { relaxed });
  const memory = new WebAssembly.Memory({ initial: wasm.pages, maximum: wasm.pages });
  const fail = (): never => {
    throw new Error('the kernel failed');
  };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(wasm.code as BufferSource), {
    hew: { memory, fail },
  });
  const weight = wasm.schedule.weights.get('w');
  const bytes = shape.columns * shape.inner * bytesPerElement[storage];
  // 0x3c is the high byte of small positive numbers in all three formats.
  new Uint8Array(memory.buffer, weight?.address, bytes).fill(0x3c);
  const x = new Float32Array(memory.buffer, wasm.schedule.inputs.get('main')?.[0], shape.rows * shape.inner);
  x.forEach((_, i) => {
    x[i] = Math.random() - 0.5;
  });
  const main = exports.main as (rows: number, mask: number) => void;
  return () => main(shape.rows, 1);
}

function gemmRow(shape: LinearShape, storage: Storage, relaxed: boolean, peaks: Peaks): string[] {
  const [wasm, js] = compare([
    { name: 'wasm', run: wasmRunner(shape, storage, relaxed) },
    { name: 'js', run: baselineRunner([shape]) },
  ]);
  const [ours, theirs] = [wasm?.median as number, js?.median as number];
  const rate = flopsOf(shape) / ours / 1e6;
  const traffic = (shape.columns * shape.inner * bytesPerElement[storage]) / ours / 1e6;
  const memoryBound = shape.rows < 4;
  const share = memoryBound ? traffic / peaks.bandwidth : rate / (relaxed ? peaks.relaxed : peaks.simd);
  return [
    `[${shape.rows},${shape.inner}] x [${shape.inner},${shape.columns}]`,
    storage + (relaxed ? ' relaxed' : ''),
    ours.toFixed(2),
    rate.toFixed(1),
    traffic.toFixed(1),
    `${(share * 100).toFixed(0)}% of ${memoryBound ? 'bandwidth' : 'compute'}`,
    (flopsOf(shape) / theirs / 1e6).toFixed(1),
    `${(theirs / ours).toFixed(1)}x`,
  ];
}

export function benchGemm(peaks: Peaks): void {
  const shapes: LinearShape[] = [
    { rows: 128, inner: 1024, columns: 4096 },
    { rows: 1, inner: 1024, columns: 4096 },
  ];
  const variants: (readonly [Storage, boolean])[] = [
    ['f32', false],
    ['f32', true],
    ['bf16', false],
    ['bf16', true],
    ['f16', false],
  ];
  const rows = shapes.flatMap((shape) =>
    variants.map(([storage, relaxed]) => gemmRow(shape, storage, relaxed, peaks)),
  );
  printTable(
    'linear layer, one thread',
    ['shape', 'weights', 'ms', 'GFLOP/s', 'weight GB/s', 'of the peak', 'JS GFLOP/s', 'ratio'],
    rows,
  );
}
