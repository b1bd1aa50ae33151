/** A module as an ONNX file: one entry, opset 21, loadable by ONNX Runtime. */
import { basename, dirname, join } from 'node:path';
import type { onnx } from 'onnx-proto';
import { mapFunctions, rewriteFunc } from '../../../ir/builder.js';
import { fail } from '../../../ir/diagnostics.js';
import { printDim, tryEvalDim } from '../../../ir/dim.js';
import { materialiseChunks, type TensorSource } from '../../../ir/materialise.js';
import {
  entriesOf,
  type Func,
  type Module,
  modelDims,
  type Op,
  type Param,
  type Value,
} from '../../../ir/module.js';
import type { OpDecl } from '../../../ir/op.js';
import { opTable } from '../../../ir/ops/table.js';
import { elementCount, evalShape, storedBytes } from '../../../ir/type.js';
import { parsePipeline, runPipeline } from '../../../passes/pipeline.js';
import { writeFileAtomically } from '../../atomic-write.js';
import { version } from '../../version.js';
import { codeOf } from '../dtypes.js';
import { flattenEntry, type StateNames } from './flatten.js';
import { GraphWriter } from './graph.js';
import { exportTable, isDecomposed } from './operators.js';
import { externalChunks, type ModelParts, modelChunks, type Weight } from './write.js';

/** The opset that is written. */
export const exportOpset = 21;

/** Weights above this go into a file beside the model: a protobuf message must stay below 2 GiB. */
const defaultInlineBytes = 2 ** 30;

export interface OnnxExportOptions {
  /** The .onnx file. */
  readonly output: string;
  /** Entry to write; may be left out when there is one. */
  readonly entry?: string | undefined;
  /** Most bytes of weights inside the file. */
  readonly inlineBytes?: number | undefined;
}

export interface OnnxExportReport {
  /** Names of the files in the folder of the output. */
  readonly files: readonly string[];
  readonly entry: string;
  readonly nodes: number;
  readonly weightBytes: number;
  readonly states: readonly StateNames[];
}

/** Writes the model; nothing is left behind when it fails. Fails with HEW3114 when several entries could be meant. */
export async function exportOnnx(
  model: { readonly module: Module; readonly source: TensorSource | undefined },
  { output, entry, inlineBytes }: OnnxExportOptions,
): Promise<OnnxExportReport> {
  const name = entry ?? onlyEntry(model.module);
  const { module, states } = flattenEntry(model.module, name);
  const parts = modelParts(module, name, model.source);
  const weightBytes = parts.weights.reduce((sum, weight) => sum + weight.size, 0);
  const isExternal = weightBytes > (inlineBytes ?? defaultInlineBytes);
  const external = isExternal ? `${basename(output)}.data` : undefined;
  // The data first: a model that names a file is only there with the file.
  if (external !== undefined)
    await writeFileAtomically(join(dirname(output), external), externalChunks(parts.weights));
  await writeFileAtomically(output, modelChunks(parts, external));
  const files = [basename(output), ...(external === undefined ? [] : [external])];
  return { files, entry: name, nodes: parts.graph.node?.length ?? 0, weightBytes, states };
}

/** The model as one message in memory. */
export function onnxBytes(
  model: { readonly module: Module; readonly source: TensorSource | undefined },
  entry = onlyEntry(model.module),
): Uint8Array {
  const { module } = flattenEntry(model.module, entry);
  return Buffer.concat([...modelChunks(modelParts(module, entry, model.source), undefined)]);
}

function onlyEntry(module: Module): string {
  const [only, ...others] = entriesOf(module);
  if (only !== undefined && others.length === 0) return only.name;
  const names = entriesOf(module).map(({ name }) => name);
  return fail('HEW3114', `the model has the entries ${names.join(', ')}, and an ONNX file holds one`, {
    help: `say which one: --entry ${names[0] ?? 'name'}`,
  });
}

/** The graph of a flat module, and its weights. */
function modelParts(flat: Module, entry: string, source: TensorSource | undefined): ModelParts {
  const module = decomposed(flat);
  const func = module.functions.get(entry) as Func;
  const writer = new GraphWriter(module, func);
  for (const op of func.body) writeOp(writer, op);
  // A result may be an argument, a weight, or two results one value; outputs need names of their own.
  func.results.forEach((result, i) => {
    writer.nodes.push({
      opType: 'Identity',
      name: `output ${i}`,
      input: [writer.nameOf(result)],
      output: [(func.outputs ?? [])[i] as string],
    });
  });
  return {
    opset: exportOpset,
    producerVersion: version,
    graph: {
      name: module.name,
      node: writer.nodes,
      input: func.args.map((arg) => valueInfo(module, arg.name as string, arg)),
      output: func.results.map((result, i) => valueInfo(module, (func.outputs ?? [])[i] as string, result)),
      initializer: [...writer.constants.values()],
    },
    weights: weightsOf(module, func, source),
  };
}

function decomposed(module: Module): Module {
  const next = mapFunctions(module, (func, scope) => {
    if (!func.body.some(({ name }) => isDecomposed(name))) return func;
    return rewriteFunc(func, scope, (op, operands, builder) => {
      const decl: OpDecl = opTable[op.name];
      return isDecomposed(op.name) ? decl.decompose?.(builder, operands, op.attrs) : undefined;
    });
  });
  if (next !== module) return decomposed(next);
  return runPipeline(module, parsePipeline('cse,dce')).module;
}

function writeOp(writer: GraphWriter, op: Op): void {
  const entry = exportTable[op.name];
  if (op.name === 'param') {
    writer.bind(op.results[0] as Value, op.attrs.name);
    return;
  }
  if (typeof entry === 'string') throw new Error(`${op.name} in a flat module`);
  const names = entry(
    writer,
    op as never,
    op.operands.map((operand) => writer.nameOf(operand)),
  );
  const list = typeof names === 'string' ? [names] : names;
  op.results.forEach((result, i) => {
    writer.bind(result, list[i] as string);
  });
}

/** Model dimensions are numbers outside, run-time symbols keep their names. */
function valueInfo(module: Module, name: string, { type }: Value): onnx.IValueInfoProto {
  const dims = modelDims(module);
  const dim = type.shape.map((size) => {
    const known = tryEvalDim(size, dims);
    return known === undefined ? { dimParam: printDim(size) } : { dimValue: known };
  });
  return { name, type: { tensorType: { elemType: codeOf[type.dtype] as number, shape: { dim } } } };
}

/** Parameters that the function reads, in the order of their first use. */
function weightsOf(module: Module, func: Func, source: TensorSource | undefined): Weight[] {
  const dims = modelDims(module);
  const used = new Set(func.body.flatMap((op) => (op.name === 'param' ? [op.attrs.name] : [])));
  return [...used].map((name) => {
    const { type } = module.params.get(name) as Param;
    const shape = evalShape(type.shape, dims);
    const dtype = codeOf[type.dtype];
    if (dtype === undefined)
      return fail('HEW3114', `weight '${name}' is ${type.dtype}, which ONNX has no type for`);
    return {
      name,
      dtype,
      shape,
      size: storedBytes(type.dtype, elementCount(shape)),
      data: () => materialiseChunks(module, name, undefined, source),
    };
  });
}
