/**
 * The public entry of the package `hew`: everything the command line does, and what passes are written with. Types
 * and functions are documented where they are defined. Programs that only run compiled models import `hew/loader`,
 * which has no dependencies and works in browsers.
 */

export type { AscendReport } from '../backends/ascendc/report.js';
export { type ComputeDType, computeDTypes } from '../backends/narrow.js';
export {
  createTextStream,
  type EndEvent,
  encodePrompt,
  type GenerateEvent,
  type GenerateOptions,
  generate,
  LoadError,
  type LoadErrorCode,
  type LoadOptions,
  type Manifest,
  type Model,
  type SampleOptions,
  type Samples,
  sample,
  score,
  type TokenEvent,
  type Tokenizer,
} from '../backends/wasm/runtime/load.js';
export { FuncBuilder, mapFunctions, rewriteFunc, type Scope } from '../ir/builder.js';
// Errors
export {
  type Diagnostic,
  type DiagnosticCode,
  diagnostic,
  diagnosticCodes,
  didYouMean,
  type ExitCode,
  exitCodes,
  fail,
  HewError,
} from '../ir/diagnostics.js';
export { type InterpretOptions, interpretEntry, type StateStore } from '../ir/interpret.js';
// The IR
export { defOf, entriesOf, type Func, type Module, type Op, type Value } from '../ir/module.js';
export { type OpName, opTable } from '../ir/ops/table.js';
export { parseModule } from '../ir/parse.js';
export { printModule } from '../ir/print.js';
export { type Tensor, tensor } from '../ir/tensor.js';
export { verifyModule } from '../ir/verify.js';
// Passes
export {
  definePass,
  type OptionSpec,
  option,
  type Pass,
  type PassDefinition,
  type PassReport,
  type PassResult,
  Tally,
} from '../passes/pass.js';
export {
  type PipelineOptions,
  type PipelineStep,
  parsePipeline,
  runPipeline,
  type StepReport,
} from '../passes/pipeline.js';
export { passes, standardPipeline } from '../passes/registry.js';
// Running compiled models
export { type ReportOptions, reportModel } from './ascend-report.js';
export { writeFileAtomically } from './atomic-write.js';
export {
  type CachedBundle,
  type CachedCompileOptions,
  cacheDirectory,
  compileCached,
  dropCached,
} from './cache.js';
export { type CalibrationData, fromTokens, readCalibration } from './calibration.js';
export { type CalibrationSourceOptions, openCalibration } from './calibration-sources.js';
export { type CheckOptions, checkModel as check } from './check.js';
export { type Checkpoint, openCheckpoint, type TensorInfo } from './checkpoint/checkpoint.js';
export { tensorSource } from './checkpoint/dtypes.js';
export {
  type CompileOptions,
  type CompileReport,
  cacheKey,
  compile,
  type ModelOptions,
  type OpenedModel,
  openModel,
  targets,
} from './compile.js';
export { type DataPipelineOptions, runDataPipeline } from './data-pipeline.js';
export { asHewError } from './errors.js';
export {
  type ActivationRanges,
  activationRanges,
} from './evaluate/activation-ranges.js';
export {
  type DiffusionEvalOptions,
  type DiffusionEvaluation,
  type DiffusionReport,
  evaluateDiffusion,
} from './evaluate/diffusion.js';
export { diffusionPage, figureRows } from './evaluate/diffusion-page.js';
export { readGaussian } from './evaluate/frechet.js';
export {
  checkNames,
  evaluateGolden,
  type GoldenCheck,
  type GoldenKind,
  type GoldenOptions,
  type GoldenReport,
} from './evaluate/golden.js';
export {
  evaluateTokens,
  readTokenFile,
  type TokenFileOptions,
  type TokenReport,
  type TokenWindows,
} from './evaluate/tokens.js';
export { type ExportOptions, type ExportReport, exportFormats, exportModel } from './export.js';
export { type FormatFileOptions, formatFile } from './format-file.js';
export { formatSource as format } from './frontend/format.js';
// Specs and models
export { type ParseResult, parseSpec as parse } from './frontend/parse.js';
export { writeImages } from './images.js';
export { type ImportOptions, type ImportReport, importModel } from './import.js';
export { loadModule } from './in-memory.js';
export {
  type BundleSummary,
  type DimSummary,
  type EntrySummary,
  entryFlops,
  type Flops,
  inspectManifest,
  inspectModule,
  type ModelSummary,
  type TensorSummary,
} from './inspect.js';
export { loadBundle as load, readManifest } from './load.js';
export { type NativeModel, type NativeOptions, openNative } from './native/open.js';
export { type GpuOptions, openGpu } from './native/tuning-device.js';
export { ObservationCache } from './observation-cache.js';
export { observe } from './observe.js';
export { isOnnxPath, type OpenOnnxOptions, openOnnx } from './onnx/model.js';
export { readPipeline } from './pipeline-file.js';
export {
  type Figures,
  figures,
  type LayerFigures,
  type PassFigures,
  type PruneOptions,
  type PruneReport,
  pruneModel,
} from './prune.js';
export { type QuantizeOptions, type QuantizeReport, quantizeModel } from './quantize.js';
export { renderDiagnostics, type SourceLookup } from './render.js';
export { createTokenizer } from './tokenizer.js';
export type { CompiledKernels, KernelCall, OpenedKernels, TuningDevice } from './tuning/device.js';
export { checkArchitecture, type Gpu, readTuning, type TuningEntry, type TuningFile } from './tuning/file.js';
export { tunedTimes } from './tuning/measure.js';
export {
  type TuneModuleOptions,
  type TuneOptions,
  type TuneReport,
  tune,
  tuneModule,
} from './tuning/tune.js';
export { version } from './version.js';
