/**
 * Quantization as instructions of the vector unit. Every rounding is the one that the op declares: division in f32, ties
 * to even, then the zero point and the range, so that integers are those of the interpreter, bit for bit.
 */
import { type QuantizedDType, quantizedRange } from '../../../ir/ops/quantization.js';
import {
  floatLiteral,
  maskOf,
  mul,
  type Operand,
  round,
  scalar,
  select,
  spread,
  sub,
  vector,
} from './elementwise.js';
import type { VectorProgram } from './vector-program.js';

/** x in steps of the scale, around the zero point, within the range of the type; NaN is 0 steps. */
export function quantized(
  program: VectorProgram,
  x: Operand,
  scale: Operand,
  zeroPoint: Operand | undefined,
  dtype: QuantizedDType,
): Operand {
  const [low, high] = quantizedRange[dtype];
  const divided = program.call('Div', [spread(program, x), spread(program, scale)]);
  const steps = vector(round(program, divided, 'CAST_RINT'));
  const isNumber = maskOf(program, steps, steps, 'EQ');
  const finite = vector(select(program, isNumber, steps, scalar('0.0f')));
  const moved =
    zeroPoint === undefined
      ? spread(program, finite)
      : program.call('Add', [spread(program, finite), spread(program, zeroPoint)]);
  return vector(
    program.call('Mins', [program.call('Maxs', [moved], [floatLiteral(low)])], [floatLiteral(high)]),
  );
}

/** (x - zero point) * scale */
export function dequantized(
  program: VectorProgram,
  x: Operand,
  scale: Operand,
  zeroPoint: Operand | undefined,
): Operand {
  const centred = zeroPoint === undefined ? x : sub(program, [x, zeroPoint]);
  return mul(program, [centred, scale]);
}
