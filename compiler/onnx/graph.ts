/**
 * An ONNX graph as a function of the IR. Nodes are converted one by one in order of their dependencies; functions of
 * the model are expanded where they are called, subgraphs where their node stands. A node that cannot be converted is
 * reported and what depends on it is skipped, so that one import finds everything that is not supported.
 */
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import {
  type Diagnostic,
  type DiagnosticCode,
  diagnostic,
  didYouMean,
  fail,
  HewError,
} from '../../ir/diagnostics.js';
import { constantOf, type Dim, DimError } from '../../ir/dim.js';
import type { TensorSource } from '../../ir/materialise.js';
import { defOf, emptyModule, type Module, type Param, type Value } from '../../ir/module.js';
import { decodeBytes, encodeBytes } from '../../ir/numeric.js';
import { InferError } from '../../ir/op.js';
import { sourceRecipe } from '../../ir/recipe.js';
import type { Tensor } from '../../ir/tensor.js';
import {
  type DType,
  elementCount,
  isFloat,
  storedBytes,
  type TensorType,
  tensorType,
} from '../../ir/type.js';
import { cast, dimSize, full } from './build.js';
import { type Dimensions, Identifiers } from './dimensions.js';
import { carriedAs, dtypeName, onnxDTypes } from './dtypes.js';
import { Evaluator } from './evaluate.js';
import { describeNode, type Item, isSequence, NodeContext, type Surroundings } from './node.js';
import { findOperator, operatorTables } from './operators.js';
import type { TensorStore } from './tensors.js';
import type { OnnxFunction, OnnxGraph, OnnxModel, OnnxNode, OnnxTensor, OnnxValueInfo } from './wire.js';

export interface GraphOptions {
  readonly dimensions: Dimensions;
  /** Values for graph inputs, which then are constants: by name. */
  readonly constants?: ReadonlyMap<string, Tensor> | undefined;
  /** What f32 matrices are stored as. */
  readonly weightsDtype?: DType | undefined;
}

export interface ImportedGraph {
  readonly module: Module;
  readonly warnings: readonly Diagnostic[];
  /** The names of the graph's inputs and outputs in the file, by the names of the entry. */
  readonly names: ReadonlyMap<string, string>;
}

/** Name of the only entry. */
export const entryName = 'main';

/** Integer tensors up to this many elements are part of the module. */
const maxConstant = 1 << 14;

/** Function calls inside function calls. */
const maxCalls = 64;

/** A name without a value, because its node could not be converted. */
const unavailable = Symbol('unavailable');

/** Names to values, one inside the other for subgraphs. */
class Names {
  private readonly own = new Map<string, Item | typeof unavailable>();

  constructor(private readonly outer?: Names) {}

  get(name: string): Item | typeof unavailable | undefined {
    return this.own.get(name) ?? this.outer?.get(name);
  }

  define(name: string, value: Item | typeof unavailable): void {
    if (this.own.has(name)) fail('HEW3103', `'${name}' is defined twice`);
    this.own.set(name, value);
  }
}

interface Frame {
  readonly names: Names;
  readonly opsets: ReadonlyMap<string, number>;
  readonly depth: number;
}

/** Fails with all that is wrong with the graph, as one HewError. */
export function importGraph(
  model: OnnxModel,
  store: TensorStore,
  source: TensorSource,
  options: GraphOptions,
): ImportedGraph {
  return new GraphImporter(model, store, source, options).run();
}

class GraphImporter {
  private readonly params = new Map<string, Param>();
  private readonly module: Module;
  private readonly builder: FuncBuilder;
  private readonly evaluator: Evaluator;
  private readonly diagnostics: Diagnostic[] = [];
  private readonly functions: ReadonlyMap<string, OnnxFunction>;

  constructor(
    private readonly model: OnnxModel,
    private readonly store: TensorStore,
    source: TensorSource,
    private readonly options: GraphOptions,
  ) {
    const name = model.graph.name.replaceAll(/\s+/g, ' ').trim() || 'model';
    this.module = { ...emptyModule(name), dims: options.dimensions.decls, params: this.params };
    this.builder = new FuncBuilder(entryName, moduleScope(this.module));
    this.evaluator = new Evaluator(this.module, source);
    this.functions = new Map(model.functions.map((f) => [functionKey(f.domain, f.name, f.overload), f]));
  }

  run(): ImportedGraph {
    const { graph } = this.model;
    const top: Frame = { names: new Names(), opsets: this.model.opsets, depth: 0 };
    this.initializers(graph, top.names);
    const inputNames = new Identifiers();
    const names = new Map<string, string>();
    for (const input of graph.inputs) {
      const own = this.attempt(() => this.graphInput(input, top.names, inputNames));
      if (own !== undefined) names.set(own, input.name);
    }
    this.nodes(graph.nodes, top);
    const outputNames = new Identifiers();
    const outputs = graph.outputs.map(({ name }) => {
      const own = outputNames.of(name);
      names.set(own, name);
      return own;
    });
    const results = graph.outputs.map(({ name }) => this.attempt(() => this.graphOutput(name, top.names)));
    const errors = this.diagnostics.filter(({ severity }) => severity === 'error');
    if (errors.length > 0) throw new HewError(errors);
    const func = { ...this.builder.finish(results as Value[]), outputs };
    return {
      module: { ...this.module, functions: new Map([[entryName, func]]) },
      warnings: [...this.diagnostics, ...this.narrowed(), ...this.options.dimensions.finish()],
      names,
    };
  }

  // ---- inputs, outputs, weights

  private initializers(graph: OnnxGraph, names: Names): void {
    if (graph.sparseInitializers > 0) {
      this.report('HEW3111', 'the model has sparse initializers', 'store them densely');
    }
    for (const tensor of graph.initializers) {
      const value = this.attempt(() => this.tensor(tensor));
      this.attempt(() => names.define(tensor.name, value ?? unavailable));
    }
  }

  /** A tensor of the model as a parameter of its name. */
  private tensor(tensor: OnnxTensor): Value {
    const dtype = carriedAs(tensor.dtype);
    if (dtype === undefined) {
      return fail(
        'HEW3109',
        `tensor '${tensor.name}' is ${dtypeName(tensor.dtype)}, which Hew does not compute with`,
      );
    }
    const name = this.freeName(tensor.name === '' ? 'constant' : tensor.name);
    const [only] = tensor.shape.every((size) => size === 1)
      ? decodeBytes(dtype, this.store.valueBytes(tensor, dtype), 1)
      : [];
    if (only !== undefined) return full(this.builder, only, dtype, tensor.shape);
    // Integers are indices, masks and shapes, which decide things while compiling; matrices of bytes are weights.
    const isBytes = (dtype === 'i8' || dtype === 'u8') && tensor.shape.length >= 2;
    const decides = !isFloat(dtype) && !isBytes && storedBytes(dtype, 8) >= 8;
    if (decides && elementCount(tensor.shape) <= maxConstant) {
      const bytes = this.store.valueBytes(tensor, dtype);
      return this.constant({ dtype, shape: tensor.shape, data: decodeBytes(dtype, bytes) }, tensor.name);
    }
    const isMatrix = dtype === 'f32' && tensor.shape.length >= 2;
    const type = tensorType(isMatrix ? (this.options.weightsDtype ?? dtype) : dtype, tensor.shape);
    this.store.add(name, tensor);
    this.params.set(name, { type, recipe: sourceRecipe(name, type) });
    return cast(this.builder, this.builder.one('param', [], { name }), dtype);
  }

  private constant({ dtype, shape, data }: Tensor, hint: string): Value {
    const [first] = data;
    if (first !== undefined && data.every((value) => Object.is(value, first)))
      return full(this.builder, first, dtype, shape);
    const name = this.freeName(`constant.${hint}`);
    const type = tensorType(dtype, shape);
    this.params.set(name, { type, recipe: { kind: 'constant', type, bytes: encodeBytes(dtype, data) } });
    return this.builder.one('param', [], { name });
  }

  private freeName(hint: string): string {
    // Braces would be placeholders of a loop.
    const plain = hint.replaceAll(/[{}]/g, '_');
    let name = plain;
    for (let i = 2; this.params.has(name); i++) name = `${plain}.${i}`;
    return name;
  }

  /** The name of the input in the entry, undefined when it is a constant. */
  private graphInput(info: OnnxValueInfo, names: Names, identifiers: Identifiers): string | undefined {
    const { name } = info;
    if (names.get(name) !== undefined) {
      this.diagnostics.push(
        diagnostic('HEW3112', `input '${name}' has a default value, which is built in`, {
          severity: 'warning',
        }),
      );
      return undefined;
    }
    const given = this.options.constants?.get(name);
    if (given !== undefined) {
      names.define(name, this.constant(given, name));
      return undefined;
    }
    const own = identifiers.of(name);
    const value = this.attempt(() => this.builder.arg(this.inputType(info, own), own));
    names.define(name, value ?? unavailable);
    return own;
  }

  private inputType({ name, kind, dtype, shape }: OnnxValueInfo, own: string): TensorType {
    if (kind !== 'tensor') return fail('HEW3111', `input '${name}' is a ${kind}, not a tensor`);
    const type = carriedAs(dtype);
    if (type === undefined)
      return fail('HEW3109', `input '${name}' is ${dtypeName(dtype)}, which Hew does not compute with`);
    if (shape === undefined) {
      return fail('HEW3111', `input '${name}' has no rank`, {
        help: 'run shape inference on the model, or declare the shape',
      });
    }
    return tensorType(
      type,
      shape.map((size, axis) => this.options.dimensions.axis(size, `${own}_${axis}`)),
    );
  }

  private graphOutput(name: string, names: Names): Value | undefined {
    const item = names.get(name);
    if (item === undefined) return fail('HEW3103', `nothing defines the output '${name}'`);
    if (item === unavailable) return undefined;
    return isSequence(item) ? fail('HEW3111', `output '${name}' is a sequence, not a tensor`) : item;
  }

  private narrowed(): Diagnostic[] {
    const { graph } = this.model;
    const all = [...graph.initializers, ...graph.inputs].filter(
      ({ dtype }) => onnxDTypes[dtype]?.narrowedTo !== undefined,
    );
    if (all.length === 0) return [];
    const names = all.slice(0, 3).map(({ name }) => `'${name}'`);
    const more = all.length > names.length ? ` and ${all.length - names.length} more` : '';
    return [
      diagnostic('HEW3112', `64-bit floats are computed as f32: ${names.join(', ')}${more}`, {
        severity: 'warning',
      }),
    ];
  }

  // ---- nodes

  private nodes(nodes: readonly OnnxNode[], frame: Frame): void {
    for (const node of this.ordered(nodes)) {
      const outputs = this.attempt(() => this.node(node, frame));
      node.outputs.forEach((name, i) => {
        if (name === '') return;
        this.attempt(() => frame.names.define(name, outputs?.[i] ?? unavailable));
      });
    }
  }

  /** The nodes so that each stands after what it reads. ONNX asks for this order; files that lack it are sorted. */
  private ordered(nodes: readonly OnnxNode[]): readonly OnnxNode[] {
    const makers = new Map<string, number>();
    nodes.forEach((node, i) => {
      for (const output of node.outputs) if (output !== '' && !makers.has(output)) makers.set(output, i);
    });
    const state = new Uint8Array(nodes.length);
    const order: OnnxNode[] = [];
    for (let root = 0; root < nodes.length; root++) {
      // An explicit stack: a chain of nodes may be longer than the call stack.
      const stack = [root];
      while (stack.length > 0) {
        const at = stack.at(-1) as number;
        if (state[at] === done) {
          stack.pop();
          continue;
        }
        const needed = readsOf(nodes[at] as OnnxNode)
          .map((name) => makers.get(name))
          .filter((i) => i !== undefined && state[i] !== done && i !== at) as number[];
        const next = state[at] === waiting ? undefined : needed;
        state[at] = waiting;
        const cyclic = needed.find((i) => state[i] === waiting);
        if (cyclic !== undefined) {
          this.report(
            'HEW3103',
            `${describeNode(nodes[at] as OnnxNode)} needs its own result: the graph has a cycle`,
          );
        } else if (next !== undefined && next.length > 0) {
          stack.push(...next);
          continue;
        }
        state[at] = done;
        order.push(nodes[at] as OnnxNode);
        stack.pop();
      }
    }
    return order;
  }

  /** Undefined when something it reads is not available. */
  private node(node: OnnxNode, frame: Frame): readonly (Item | undefined)[] | undefined {
    const items = node.inputs.map((name) => this.read(node, name, frame.names));
    const known = items.filter((item) => item !== unavailable);
    const isComplete = known.length === items.length;
    const key = functionKey(node.domain, node.op, node.overload);
    const called = this.functions.get(key);
    const opset = frame.opsets.get(node.domain);
    const operator = findOperator(node.domain, node.op, opset ?? 1);
    if (called !== undefined && operator === undefined) {
      return isComplete ? this.call(called, node, known, frame) : undefined;
    }
    if (operator === undefined) return unknownOperator(node, opset);
    if (!isComplete) return undefined;
    const context = new NodeContext(node, opset ?? 1, known, this.surroundings(frame));
    const result = typed(node, () => operator.convert(context));
    const outputs = 'type' in result ? [result] : result;
    return outputs.map((item) =>
      item === undefined || isSequence(item) ? item : this.simplest(item, context),
    );
  }

  /** Shape arithmetic ends in the dimensions themselves, so that it leaves no nodes behind. */
  private simplest(value: Value, context: NodeContext): Value {
    const { dtype, shape } = value.type;
    if (dtype !== 'i64' || shape.length > 1 || defOf(value)?.name === 'param') return value;
    const known = this.evaluator.formulas(value)?.elements;
    if (known === undefined || known.every((size) => constantOf(size) !== undefined)) return value;
    return shape.length === 1 ? context.dimVector(known) : dimSize(this.builder, known[0] as Dim, 'i64');
  }

  private read(node: OnnxNode, name: string, names: Names): Item | typeof unavailable | undefined {
    if (name === '') return undefined;
    return names.get(name) ?? fail('HEW3103', `${describeNode(node)} reads '${name}', which nothing defines`);
  }

  private surroundings(frame: Frame): Surroundings {
    return {
      builder: this.builder,
      evaluator: this.evaluator,
      constant: (value, hint) => this.constant(value, hint),
      tensor: (tensor) => this.tensor(tensor),
      subgraph: (graph, inputs) => this.subgraph(graph, inputs, frame),
    };
  }

  private subgraph(graph: OnnxGraph, inputs: readonly Item[], frame: Frame): readonly Item[] {
    const inner: Frame = { ...frame, names: new Names(frame.names) };
    graph.inputs.forEach(({ name }, i) => {
      const item = inputs[i];
      if (item !== undefined) inner.names.define(name, item);
    });
    this.initializers(graph, inner.names);
    return this.results(
      graph.nodes,
      graph.outputs.map(({ name }) => name),
      inner,
      `a subgraph`,
    );
  }

  private call(
    called: OnnxFunction,
    node: OnnxNode,
    items: readonly (Item | undefined)[],
    frame: Frame,
  ): readonly Item[] {
    if (frame.depth >= maxCalls)
      return fail(
        'HEW3103',
        `functions call one another more than ${maxCalls} deep at ${describeNode(node)}`,
      );
    const inner: Frame = { names: new Names(), opsets: called.opsets, depth: frame.depth + 1 };
    called.inputs.forEach((name, i) => {
      const item = items[i];
      if (item !== undefined) inner.names.define(name, item);
    });
    const attributes = new Map([...called.defaults.map((a) => [a.name, a] as const), ...node.attributes]);
    const nodes = called.nodes.map((each) => withAttributes(each, attributes));
    return this.results(nodes, called.outputs, inner, `the function ${called.name}`);
  }

  private results(
    nodes: readonly OnnxNode[],
    outputs: readonly string[],
    frame: Frame,
    what: string,
  ): readonly Item[] {
    this.nodes(nodes, frame);
    return outputs.map((name) => {
      const item = frame.names.get(name);
      if (item === undefined) return fail('HEW3103', `nothing defines the output '${name}' of ${what}`);
      // Whatever made it unavailable is reported already.
      if (item === unavailable) throw new HewError([]);
      return item;
    });
  }

  // ---- problems

  private report(code: DiagnosticCode, message: string, help?: string): void {
    this.diagnostics.push(diagnostic(code, message, help === undefined ? {} : { help }));
  }

  /** What `work` returns; undefined when it fails, with the reasons kept. */
  private attempt<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof HewError)) throw error;
      this.diagnostics.push(...error.diagnostics);
      return undefined;
    }
  }
}

const waiting = 1;
const done = 2;

/** Everything a node reads by name, its subgraphs included. */
function readsOf(node: OnnxNode): string[] {
  const inner = [...node.attributes.values()].flatMap(({ graph }) => graph?.nodes.flatMap(readsOf) ?? []);
  const results = [...node.attributes.values()].flatMap(
    ({ graph }) => graph?.outputs.map(({ name }) => name) ?? [],
  );
  return [...node.inputs, ...inner, ...results];
}

/** A node of a function with the attributes of the call. */
function withAttributes(node: OnnxNode, given: OnnxNode['attributes']): OnnxNode {
  const attributes = [...node.attributes].flatMap(([name, attribute]) => {
    if (attribute.graph !== undefined) {
      const nodes = attribute.graph.nodes.map((inner) => withAttributes(inner, given));
      return [[name, { ...attribute, graph: { ...attribute.graph, nodes } }] as const];
    }
    if (attribute.reference === undefined) return [[name, attribute] as const];
    const value = given.get(attribute.reference);
    return value === undefined ? [] : [[name, { ...value, name }] as const];
  });
  return { ...node, attributes: new Map(attributes) };
}

function functionKey(domain: string, name: string, overload: string): string {
  return `${domain}:${name}:${overload}`;
}

/** Type errors of the ops that a node becomes are errors of the node. */
function typed<T>(node: OnnxNode, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof InferError || error instanceof DimError)) throw error;
    const help = error instanceof InferError ? error.parts.help : undefined;
    return fail('HEW3110', `${describeNode(node)}: ${error.message}`, help === undefined ? {} : { help });
  }
}

function unknownOperator(node: OnnxNode, opset: number | undefined): never {
  const domain = node.domain === '' ? 'the standard operators' : `the domain ${node.domain}`;
  const version = opset === undefined ? '' : ` (opset ${opset})`;
  const near = didYouMean(node.op, Object.keys(operatorTables[node.domain] ?? {}));
  const remedy =
    'docs/onnx.md lists the operators that are read; export the model with that one decomposed, or as a model-local function';
  return fail('HEW3104', `${describeNode(node)}: ${domain}${version} have no ${node.op} that Hew knows`, {
    help: near === undefined ? remedy : `${near} ${remedy}`,
  });
}
