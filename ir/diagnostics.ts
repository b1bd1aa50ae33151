/**
 * Diagnostics are data: a code, a severity, labelled source spans, notes and a remedy.
 * Every code is declared in `diagnosticCodes`; docs/errors.md is generated from that table.
 * Rendering (source line, caret, colour) is the business of compiler/render.ts.
 */

/** A half-open range of character offsets in a source file. */
export interface Span {
  readonly file: string;
  readonly start: number;
  readonly end: number;
}

export interface Label {
  readonly span: Span;
  readonly text?: string;
}

export interface Diagnostic {
  readonly code: DiagnosticCode;
  readonly severity: 'error' | 'warning';
  readonly message: string;
  readonly labels: readonly Label[];
  readonly notes: readonly string[];
  /** What the user can do about it. */
  readonly help?: string;
}

/** Exit codes of the command line, one meaning each. */
export const exitCodes = {
  ok: 0,
  badInput: 1,
  usage: 2,
  gateFailed: 3,
  unsupported: 4,
  internal: 70,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

interface CodeInfo {
  readonly title: string;
  /** What it means, in one or two sentences for docs/errors.md. */
  readonly doc: string;
  readonly exit?: ExitCode;
}

/**
 * HEW1xxx syntax · 2xxx names, types and shapes in specs · 3xxx configuration and files · 4xxx checkpoints ·
 * 5xxx IR text and verifier · 6xxx passes and backends · 7xxx bundles and running · 8xxx command line and gates.
 */
export const diagnosticCodes = {
  HEW1001: {
    title: 'unexpected character',
    doc: 'A character that no token of the language begins with, such as a stray quote or a letter outside ASCII.',
  },
  HEW1002: {
    title: 'syntax error',
    doc: 'The text does not follow the grammar of docs/language.md. Parsing goes on after the error, so one run reports several.',
  },
  HEW1003: { title: 'unterminated string', doc: 'A string must end on the line it begins on.' },
  HEW1004: {
    title: 'the file is nested too deeply',
    doc: 'Brackets, blocks or chains of operators stand inside one another more often than any model needs, or calls multiply without end.',
  },
  HEW2001: {
    title: 'unknown name',
    doc: 'A name is used that nothing declares. Names are declared before their use; modules and fns may stand anywhere in the file.',
  },
  HEW2002: {
    title: 'name defined twice',
    doc: 'A name has one meaning: a declaration cannot hide another one.',
  },
  HEW2003: {
    title: 'wrong number or kind of arguments',
    doc: 'A call does not fit what it calls: too many or too few arguments, an unknown argument name, or a value of another kind.',
  },
  HEW2004: {
    title: 'shapes do not agree',
    doc: 'Tensors do not fit each other or their declaration. Dimensions agree by name or are 1; two names with the same value do not agree.',
  },
  HEW2005: {
    title: 'data types do not agree',
    doc: 'An operation got a data type it does not take. Types are converted only where cast(...) says so.',
  },
  HEW2006: {
    title: 'not a compile-time constant',
    doc: 'A value that is known only at run time stands where the compiler needs one, such as in a condition or a size.',
  },
  HEW2007: {
    title: 'bad dimension',
    doc: 'A dimension is not a positive integer, a division is not exact, or a run-time symbol stands where a size must be fixed.',
  },
  HEW2008: {
    title: 'bad return or output list',
    doc: 'Modules return once, at their end; entry points return exactly the outputs they declare.',
  },
  HEW2009: {
    title: 'bad state update',
    doc: "State is written once per call and read before it is written; writes must fit the state's type.",
  },
  HEW2010: {
    title: 'one weight requested with two types',
    doc: 'Two weight statements ask for the same tensor of the checkpoint with different types.',
  },
  HEW2011: {
    title: 'a requirement of the model does not hold',
    doc: 'A require statement of the spec is false for this configuration. Its text says what must hold.',
  },
  HEW2012: {
    title: 'bad rearrangement',
    doc: 'In x : [axes] -> [axes], both sides must have the same axes, grouped by parentheses on either side.',
  },
  HEW2013: {
    title: 'recursive definition',
    doc: 'A module or fn calls itself, directly or through others. Calls are expanded, so this would not end.',
  },
  HEW2014: {
    title: 'bad loop',
    doc: 'A loop runs over a model dimension, and variables it assigns keep their types from turn to turn.',
  },
  HEW2015: {
    title: 'bad operation attribute',
    doc: 'An attribute of an operation is unknown, missing, or of another kind; docs/ops.md lists them.',
  },
  HEW3001: {
    title: 'file not found or not readable',
    doc: 'The file does not exist, is no regular file, or may not be read.',
  },
  HEW3002: {
    title: 'configuration value missing',
    doc: 'The spec declares a configuration value without a default, and neither the JSON file nor --set gives it.',
  },
  HEW3003: {
    title: 'configuration value of the wrong kind',
    doc: 'A configuration value is not of the kind that the spec declares (int, float, bool, string).',
  },
  HEW3004: {
    title: 'configuration file is not a JSON object',
    doc: 'The configuration file cannot be parsed, or holds something other than an object.',
  },
  HEW3005: {
    title: 'a file refers to a path that is not allowed',
    doc: 'Files that a spec or an index names are relative paths of an expected ending; shards stay within the folder of their index.',
  },
  HEW3006: { title: 'file too large', doc: 'The file is far larger than any file of its kind needs to be.' },
  HEW3007: { title: 'import cycle', doc: 'Files extend or import one another in a circle.' },
  HEW3008: { title: 'unknown configuration key', doc: '--set names a value that the spec does not declare.' },
  HEW3009: {
    title: 'not a token file',
    doc: 'A token file is a safetensors file with integers, or raw little-endian .u16 or .u32 with at least two tokens.',
  },
  HEW3101: {
    title: 'no model that can be imported',
    doc: 'The file or directory is of none of the formats that hew import reads.',
  },
  HEW3102: {
    title: 'not an ONNX model',
    doc: 'The file is no protobuf message of an ONNX model, or it ends too early.',
  },
  HEW3103: {
    title: 'the ONNX graph is not sound',
    doc: 'A value is used that nothing defines, defined twice, or needed for its own computation.',
  },
  HEW3104: {
    title: 'ONNX operator without a Hew equivalent',
    doc: 'A node asks for an operator that the import does not know. hew check lists all of them; docs/onnx.md has the table of those it knows.',
    exit: exitCodes.unsupported,
  },
  HEW3105: {
    title: 'bad ONNX tensor',
    doc: 'The shape, data type and data of a tensor do not fit one another, or no tensor can have such a shape.',
  },
  HEW3106: {
    title: 'bad external data of an ONNX model',
    doc: "External data lies in files in the model's folder or below it, in the range that the model names.",
  },
  HEW3107: {
    title: 'ONNX opset that is not supported',
    doc: 'Models may use opsets 1 to 24 of the standard operators, and version 1 of com.microsoft.',
    exit: exitCodes.unsupported,
  },
  HEW3108: {
    title: 'an ONNX input has to be constant',
    doc: 'Shapes, axes, pads and the like decide the shapes of results, so their values must be known when the model is compiled; symbolic dimensions may stand in them.',
    exit: exitCodes.unsupported,
  },
  HEW3109: {
    title: 'ONNX data type without a Hew equivalent',
    doc: 'A tensor has a data type that Hew does not compute with, such as strings, complex numbers or 8-bit floats.',
    exit: exitCodes.unsupported,
  },
  HEW3110: {
    title: 'an ONNX node does not type-check',
    doc: 'The shapes or data types of the inputs of a node do not fit its operator. Two symbolic dimensions that must be equal can be given one value with --set.',
  },
  HEW3111: {
    title: 'an ONNX operator is used in a form that is not supported',
    doc: 'The operator is known, but not with this attribute or input. The message names the nearest form that is.',
    exit: exitCodes.unsupported,
  },
  HEW3112: {
    title: 'an ONNX model is read with a difference',
    doc: 'Something in the model is carried otherwise than it says: 64-bit floats as 32-bit, an input with a default value as a constant.',
  },
  HEW3114: {
    title: 'cannot be written as ONNX',
    doc: 'An ONNX file holds one entry of a model, with weights of types that ONNX has.',
  },
  HEW3115: {
    title: 'an ONNX graph that no spec expresses',
    doc: 'hew import writes a spec only if it elaborates to the graph that was read. The .onnx file itself can be compiled.',
  },
  HEW3113: {
    title: 'bad dimension setting of an ONNX model',
    doc: '--set gives symbolic dimensions of the model a value (batch=1), bounds (sequence=1..512) or a formula (total=past+sequence).',
  },
  HEW3151: {
    title: 'unknown architecture',
    doc: 'config.json names an architecture that hew import has no spec for. Any model can be described in a spec of its own.',
    exit: exitCodes.unsupported,
  },
  HEW3152: {
    title: 'not a model directory',
    doc: 'A Hugging Face directory holds config.json and safetensors, one file or shards with an index.',
  },
  HEW3153: {
    title: 'unsupported rotary positions',
    doc: 'Rotary positions are known in the types default, linear, dynamic, llama3 and yarn, over all channels of a head.',
    exit: exitCodes.unsupported,
  },
  HEW3154: {
    title: 'unsupported variant of an architecture',
    doc: 'config.json asks for an activation, a pattern of layers or another option that the spec of this architecture does not have.',
    exit: exitCodes.unsupported,
  },
  HEW3155: {
    title: 'configuration and tensors disagree',
    doc: 'config.json describes another model than the one whose tensors are there: norms, biases or a head that one has and the other has not.',
  },
  HEW3164: {
    title: 'Hugging Face has no configuration for the model',
    doc: 'config.json has one size for all layers, and an architecture has certain tensors. A model that computes anything else, or a family that transformers does not have, cannot be exported.',
    exit: exitCodes.unsupported,
  },
  HEW3165: {
    title: 'GGUF has no way to say it',
    doc: 'Only some architectures, rotary positions and tokenizers have names in GGUF. The message says what has none.',
    exit: exitCodes.unsupported,
  },
  HEW3161: {
    title: 'not a valid GGUF file',
    doc: 'The file is damaged or hostile: a count, a type, an offset or a name in its head cannot be right.',
  },
  HEW3162: {
    title: 'GGUF content without a Hew equivalent',
    doc: 'The file is sound, but its architecture, a tensor, a quantization or its tokenizer is none that Hew reads; docs/import.md lists them.',
    exit: exitCodes.unsupported,
  },
  HEW4001: {
    title: 'not a valid safetensors file',
    doc: 'The header of the file is damaged, or does not describe exactly the bytes that follow it.',
  },
  HEW4002: {
    title: 'tensor missing from the checkpoint',
    doc: 'The model asks for a tensor that the checkpoint does not have.',
  },
  HEW4003: {
    title: 'tensor has the wrong shape or type',
    doc: 'A tensor of the checkpoint is not of the shape or data type that the model declares.',
  },
  HEW4004: {
    title: 'tensor in the checkpoint is not used',
    doc: 'The checkpoint has tensors that no weight statement reads: a warning, because some checkpoints carry more than the model.',
  },
  HEW4005: {
    title: 'checkpoint index is not valid',
    doc: 'model.safetensors.index.json is not JSON of the usual form, or disagrees with its shards.',
  },
  HEW4006: {
    title: 'weights are not given',
    doc: 'The model has weights, and no checkpoint was found: give one with --weights or name it in the spec.',
  },
  HEW4010: {
    title: 'data type that the file format lacks',
    doc: 'A weight has a data type, such as i4, that safetensors files have no name for.',
  },
  HEW5001: {
    title: 'IR text cannot be parsed',
    doc: 'The text form of the IR is not as the printer writes it.',
  },
  HEW5002: {
    title: 'IR invariant broken',
    doc: 'A module breaks an invariant of ir/verify.ts. After a pass, this is a mistake of the pass.',
  },
  HEW5003: {
    title: 'value cannot be computed by the interpreter',
    doc: 'The reference interpreter lacks an entry point, an input or a value.',
  },
  HEW6001: { title: 'unknown pass', doc: 'A pipeline names a pass that is neither registered nor given.' },
  HEW6002: {
    title: 'bad pipeline or pass option',
    doc: 'A pipeline does not have the form name{option=value},name, or a pass has no such option.',
  },
  HEW6003: {
    title: 'operation not supported by the target',
    doc: 'The target has no kernel for an operation, a data type or a shape of the model.',
    exit: exitCodes.unsupported,
  },
  HEW6004: {
    title: 'model does not fit the memory of the target',
    doc: 'WebAssembly memories end at 4 GiB; weights, states and intermediates together need more.',
    exit: exitCodes.unsupported,
  },
  HEW6005: {
    title: 'unknown target',
    doc: '--target names something that Hew does not compile for.',
    exit: exitCodes.unsupported,
  },
  HEW6006: {
    title: 'pass needs calibration data',
    doc: 'A pass whose decisions rest on statistics of data stands in a pipeline that has no data to run the model on.',
  },
  HEW6007: {
    title: 'dimension cannot be pruned',
    doc: 'A dimension is unknown, of a kind that no score ranks, or some axis that mentions it cannot be cut: the message names the operation and the weight.',
  },
  HEW6008: {
    title: 'bad target of pruning',
    doc: 'The size asked for leaves nothing, is larger than what is there, or breaks up groups that belong together.',
  },
  HEW6009: {
    title: 'passes in an order that is not allowed',
    doc: 'A pass depends on something that an earlier pass of the pipeline has already removed or made stale.',
  },
  HEW6010: {
    title: 'model lacks the structure that a pass works on',
    doc: 'The pass found no place to apply to, or one that it would change the meaning of; the message says what was looked for.',
  },
  HEW6011: {
    title: 'calibration data cannot be used',
    doc: 'The data does not fit the inputs of the model, or the model computes values from it that are not finite.',
  },
  HEW6030: {
    title: 'model cannot be run layer by layer',
    doc: 'The model is too large to be run as a whole, and its calls depend on each other in a way that running them layer by layer would break.',
  },
  HEW6031: {
    title: 'another run works on the same output',
    doc: 'The work directory beside the output belongs to a process that is still running.',
  },
  HEW6032: {
    title: 'work directory changed during a run',
    doc: 'A weight that a pass had solved and put aside is missing from the work directory, or damaged.',
  },
  HEW6040: {
    title: 'budget cannot be met',
    doc: 'Nothing of the model can be cut, or even the least sizes cost more than the budget allows.',
  },
  HEW6110: {
    title: 'four-bit value at the border of a bundle',
    doc: 'An input, output or state is i4 or u4. These types are for weights: JavaScript has no array of four-bit elements.',
    exit: exitCodes.unsupported,
  },
  HEW6120: {
    title: 'the model has no timestep',
    doc: 'A pass makes parameters depend on the timestep of a diffusion model, but the timestep is no input of the entry, or does not reach the layer.',
  },
  HEW6121: {
    title: 'bad setting of quantization',
    doc: 'A number of groups, a number of bits or a group size does not fit the model or the calibration data.',
  },
  HEW6122: {
    title: 'features of real data are missing',
    doc: 'A file that should hold the mean and the covariance of the features of real data has no such tensors, or they do not fit each other.',
  },
  HEW6210: {
    title: 'nvcc cannot compile the code',
    doc: 'The CUDA compiler that is installed refuses the code that the CUDA backend emitted; what it said is in the notes.',
  },
  HEW6211: {
    title: 'option of another target',
    doc: 'An option of compilation was given that the target does not have.',
    exit: exitCodes.usage,
  },
  HEW6212: {
    title: 'unknown chip',
    doc: '--chip names something that is not in the table of Ascend chips.',
    exit: exitCodes.unsupported,
  },
  HEW6213: {
    title: 'the native runtime cannot be built',
    doc: 'Running a bundle on the native runtime needs g++, the sources of the runtime, and koffi; what could not be compiled or loaded is named.',
  },
  HEW6214: {
    title: 'the native runtime fails',
    doc: 'The native runtime reported an error, such as a fault that the model of the chip found in a kernel.',
  },
  HEW6220: {
    title: 'Ascend kernel exceeds a local memory',
    doc: 'Buffers of an emitted AscendC kernel do not fit the unified buffer, L1 or L0 of the chip. A mistake of the backend.',
    exit: exitCodes.internal,
  },
  HEW6221: {
    title: 'Ascend kernel uses an unaligned address',
    doc: 'An operand of an emitted AscendC kernel lies at an address that its unit does not take. A mistake of the backend.',
    exit: exitCodes.internal,
  },
  HEW6222: {
    title: 'Ascend kernel reaches beyond a buffer',
    doc: 'An instruction of an emitted AscendC kernel may touch more than its tensor has. A mistake of the backend.',
    exit: exitCodes.internal,
  },
  HEW6223: {
    title: 'Ascend kernel exceeds the limit of an instruction',
    doc: 'A count, a repeat, an extent, a stride or an id of an emitted AscendC kernel is above what the instruction has room for. A mistake of the backend.',
    exit: exitCodes.internal,
  },
  HEW6224: {
    title: 'Ascend kernel uses a type that the instruction does not take',
    doc: 'An instruction of an emitted AscendC kernel has operands of types that the chip does not combine. A mistake of the backend.',
    exit: exitCodes.internal,
  },
  HEW6225: {
    title: 'Ascend kernel breaks the protocol of queues or flags',
    doc: 'Tensors of an emitted AscendC kernel are not allocated, enqueued, dequeued and freed in pairs, or flags are not set and waited for in pairs. A mistake of the backend.',
    exit: exitCodes.internal,
  },
  HEW6226: {
    title: 'Ascend kernel uses what the chip lacks',
    doc: 'An emitted AscendC kernel uses a type, an instruction or a kind of kernel that the chip does not have. A mistake of the backend.',
    exit: exitCodes.internal,
  },
  HEW6227: {
    title: 'Ascend kernel says what kernel code must not',
    doc: 'An emitted AscendC kernel uses the standard library, dereferences global memory, or is written in a way that its checks do not read. A mistake of the backend.',
    exit: exitCodes.internal,
  },
  HEW6240: {
    title: 'not a tuning file',
    doc: 'What --tuning names is not a file that `hew tune` wrote: its JSON is broken, or a field is missing or of another kind.',
  },
  HEW6241: {
    title: 'tuning file of other kernels',
    doc: 'A tuning file chooses for a kind of kernel, a shape or a parameter that this compiler does not have, as a file of another version may.',
  },
  HEW6242: {
    title: 'tuning file of another GPU',
    doc: 'A tuning file was measured on another architecture than that of the GPU at hand, or on one that bundles have no code for.',
  },
  HEW6243: { title: 'nothing to tune', doc: 'No kernel of the model has parameters that the GPU runs.' },
  HEW7001: { title: 'not a Hew bundle', doc: 'The directory or URL has no manifest.json of a Hew bundle.' },
  HEW7002: {
    title: 'bundle version not supported',
    doc: 'The bundle was made by a version of Hew, or for a target, that this loader does not know.',
    exit: exitCodes.unsupported,
  },
  HEW7003: {
    title: 'bundle file damaged',
    doc: 'A file of the bundle is missing, has another size or hash than the manifest says, or breaks off when it runs.',
  },
  HEW7004: {
    title: 'unknown entry point, input, output or state',
    doc: 'The model has no entry point, input, output or state of that name.',
  },
  HEW7005: {
    title: 'input has the wrong type or shape',
    doc: 'An input has another type, length or shape than the entry point takes.',
  },
  HEW7006: {
    title: 'the context is full',
    doc: 'The prompt and what was generated do not fit the context that the model was compiled for.',
  },
  HEW7007: {
    title: 'index out of range',
    doc: 'A token id or class is not below the size of the table that it selects from.',
  },
  HEW7008: {
    title: 'the bundle lacks what this command needs',
    doc: 'The model is of another kind than the command works on, for example has no tokenizer or no diffusion sampler.',
  },
  HEW7009: {
    title: 'this engine lacks a WebAssembly feature',
    doc: 'The JavaScript engine cannot run the module: a newer browser or Node is needed.',
    exit: exitCodes.unsupported,
  },
  HEW7010: {
    title: 'tokenizer is not valid',
    doc: 'tokenizer.json is damaged, or does something with a text that it should not.',
  },
  HEW7011: {
    title: 'sampler setting is not valid',
    doc: 'A setting of generation or sampling is out of its range.',
  },
  HEW8001: {
    title: 'bad command-line usage',
    doc: 'The command line does not have the form that --help shows.',
    exit: exitCodes.usage,
  },
  HEW8002: {
    title: 'a gate failed',
    doc: 'A measured value is beyond its limit. The exit code is 3, so that continuous integration stops.',
    exit: exitCodes.gateFailed,
  },
  HEW8003: {
    title: 'output cannot be written',
    doc: 'The output exists and is something else, or the file system refuses to write it.',
  },
  HEW8004: {
    title: 'golden outputs of no known kind',
    doc: 'A golden file is recognised by the names of its tensors, and these fit none of the kinds.',
  },
  HEW9001: {
    title: 'internal error',
    doc: 'A mistake in Hew itself. --debug shows where it happened; please report it.',
    exit: exitCodes.internal,
  },
} as const satisfies Record<string, CodeInfo>;

export type DiagnosticCode = keyof typeof diagnosticCodes;

interface DiagnosticParts {
  readonly severity?: 'error' | 'warning';
  readonly span?: Span | undefined;
  readonly label?: string;
  readonly labels?: readonly Label[];
  readonly notes?: readonly string[];
  readonly help?: string | undefined;
}

export function diagnostic(code: DiagnosticCode, message: string, parts: DiagnosticParts = {}): Diagnostic {
  const primary: Label[] = parts.span
    ? [parts.label === undefined ? { span: parts.span } : { span: parts.span, text: parts.label }]
    : [];
  return {
    code,
    severity: parts.severity ?? 'error',
    message,
    labels: [...primary, ...(parts.labels ?? [])],
    notes: parts.notes ?? [],
    ...(parts.help === undefined ? {} : { help: parts.help }),
  };
}

/** The one error type that reaches users; it carries one or more diagnostics. */
export class HewError extends Error {
  readonly diagnostics: readonly Diagnostic[];

  constructor(diagnostics: readonly Diagnostic[]) {
    super(diagnostics.map((d) => `${d.code}: ${d.message}`).join('\n'));
    this.name = 'HewError';
    this.diagnostics = diagnostics;
  }

  get exitCode(): ExitCode {
    const first = this.diagnostics.find((d) => d.severity === 'error') ?? this.diagnostics[0];
    const info: CodeInfo = diagnosticCodes[first?.code ?? 'HEW9001'];
    return info.exit ?? exitCodes.badInput;
  }
}

/** Throws a HewError with one diagnostic. */
export function fail(code: DiagnosticCode, message: string, parts: DiagnosticParts = {}): never {
  throw new HewError([diagnostic(code, message, parts)]);
}

/** The candidate closest to `name` by edit distance, for "did you mean" hints; undefined when none is near. */
export function nearest(name: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - name.length) >= bestDistance) continue;
    const distance = editDistance(name, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitution, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}

/** `; did you mean 'x'?` or undefined, ready for a help field. */
export function didYouMean(name: string, candidates: Iterable<string>): string | undefined {
  const near = nearest(name, candidates);
  return near === undefined ? undefined : `did you mean '${near}'?`;
}
