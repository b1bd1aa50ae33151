/** Quantized layers as ONNX and back: their ops stay, and compute the same. */
import { describe, expect, test } from 'vitest';
import { onnxBytes } from '../../compiler/onnx/export/export.js';
import { openOnnxBytes } from '../../compiler/onnx/model.js';
import { interpretEntry } from '../../ir/interpret.js';
import type { Func, Module } from '../../ir/module.js';
import { encodeBytes } from '../../ir/numeric.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { caseModule, caseTitle } from '../conformance/case.js';
import { opCases } from '../conformance/cases.js';
import { floats, modelBytes } from './build-model.js';
import { randomTensors } from './run-node.js';

const quantized = ['quantize', 'dequantize', 'dynamic_quantize', 'quantized_linear'];

function countsOf(module: Module): Record<string, number> {
  const names = (module.functions.get('main') as Func).body.map(({ name }) => name);
  const counts = quantized.map((op) => [op, names.filter((name) => name === op).length] as const);
  return Object.fromEntries(counts.filter(([, count]) => count > 0));
}

/** Zero points of a whole range have no operator in ONNX but that of bytes. */
const staysAsItIs = ({ op, attrs }: (typeof opCases)[number]): boolean =>
  op !== 'dynamic_quantize' || attrs?.symmetric !== false;

describe.each(quantized)('%s', (op) => {
  const cases = opCases.filter((each) => each.op === op && staysAsItIs(each));
  test.each(cases.map((each) => [caseTitle(each), each] as const))('stays itself: %s', (_, each) => {
    const { module } = caseModule(each, { weights: 'arguments' });
    const set = Object.fromEntries(
      [...module.dims].flatMap(([name, d]) => ('value' in d ? [] : [[name, `${d.min}..${d.max}`]])),
    );
    const back = openOnnxBytes(onnxBytes({ module, source: undefined }), 'model.onnx', { set });
    back.store.close();
    expect(countsOf(back.module)).toEqual(countsOf(module));
  });
});

describe('a layer between QuantizeLinear and DequantizeLinear, as other tools write it', () => {
  const [rows, inner, outputs] = [3, 20, 6];
  const random = randomTensors(1);
  const x = random(rows, inner);
  const bias = random(outputs);
  const weight = Int8Array.from({ length: inner * outputs }, (_, i) => ((i * 37) % 255) - 127);
  const scales = [...random(outputs).data].map((value) => Math.fround(0.01 + Math.abs(value) / 50));
  const [scale, zero] = [Math.fround(2 / 255), 117];

  const path = modelBytes({
    nodes: [
      { op: 'QuantizeLinear', inputs: ['x', 'scale', 'zero'], outputs: ['q'] },
      { op: 'DequantizeLinear', inputs: ['q', 'scale', 'zero'], outputs: ['x2'] },
      { op: 'DequantizeLinear', inputs: ['w', 'scales'], outputs: ['w2'], attributes: { axis: 1 } },
      { op: 'MatMul', inputs: ['x2', 'w2'], outputs: ['product'] },
      { op: 'Add', inputs: ['product', 'bias'], outputs: ['y'] },
    ],
    inputs: { x: [rows, inner] },
    outputs: ['y'],
    initializers: [
      floats('scale', [], [scale]),
      { name: 'zero', dataType: 2, dims: [], rawData: Uint8Array.of(zero) },
      { name: 'w', dataType: 3, dims: [inner, outputs], rawData: encodeBytes('i8', weight) },
      floats('scales', [outputs], scales),
      floats('bias', [outputs], [...bias.data]),
    ],
  });

  test('is one integer layer with the same results', () => {
    const { module, source, store } = openOnnxBytes(path, 'layer.onnx');
    expect(countsOf(module)).toEqual({ quantize: 1, quantized_linear: 1 });
    const { y } = interpretEntry(module, 'main', { x }, { source });
    store.close();
    const q = [...x.data].map((value) => Math.min(255, Math.max(0, Math.round(value / scale) + zero)));
    const wanted = Array.from({ length: rows * outputs }, (_, at) => {
      const [r, o] = [Math.floor(at / outputs), at % outputs];
      let sum = 0;
      for (let i = 0; i < inner; i++)
        sum += ((q[r * inner + i] as number) - zero) * (weight[i * outputs + o] as number);
      return sum * scale * (scales[o] as number) + (bias.data[o] as number);
    });
    const found = (y as Tensor).data;
    wanted.forEach((value, i) => {
      expect(Math.abs((found[i] as number) - value)).toBeLessThan(1e-5 * (1 + Math.abs(value)));
    });
  });

  test('keeps floats beside integer weights', () => {
    const text = modelBytes({
      nodes: [
        { op: 'DequantizeLinear', inputs: ['w', 'scales'], outputs: ['w2'], attributes: { axis: 1 } },
        { op: 'MatMul', inputs: ['x', 'w2'], outputs: ['y'] },
      ],
      inputs: { x: [rows, inner] },
      outputs: ['y'],
      initializers: [
        { name: 'w', dataType: 3, dims: [inner, outputs], rawData: encodeBytes('i8', weight) },
        floats('scales', [outputs], scales),
      ],
    });
    const { module, store } = openOnnxBytes(text, 'weights.onnx');
    store.close();
    expect(countsOf(module)).toEqual({ dequantize: 1 });
    const names = (module.functions.get('main') as Func).body.map(({ name }) => name);
    expect(names).toContain('linear');
    expect(module.params.get('w.transpose')?.type.dtype).toBe('i8');
  });
});

test('DynamicQuantizeLinear is dynamic_quantize', () => {
  const model = modelBytes({
    nodes: [{ op: 'DynamicQuantizeLinear', inputs: ['x'], outputs: ['q', 'scale', 'zero'] }],
    inputs: { x: [4] },
    outputs: ['q', 'scale', 'zero'],
  });
  const { module, store } = openOnnxBytes(model, 'dynamic.onnx');
  store.close();
  expect(countsOf(module)).toEqual({ dynamic_quantize: 1 });
  const { q, scale, zero } = interpretEntry(module, 'main', { x: tensor('f32', [4], [-1, 0, 1, 4]) });
  expect([q?.data, scale?.data[0], zero?.data[0]]).toEqual([
    Float64Array.of(0, 51, 102, 255),
    Math.fround(5 / 255),
    51,
  ]);
});
