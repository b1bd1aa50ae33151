/**
 * Mathematical functions, emitted once per module when used.
 *
 * The f32x4 functions (`exp`, `tanh`, `erf`, `sigmoid`) are accurate to a few units in the last place; `log`, `sin`,
 * `cos` and `pow` are evaluated per lane in f64 and rounded once, because they are rare and their arguments (positions,
 * timesteps) can be large.
 */
import type binaryen from 'binaryen';
import { Asm, type AsmOptions, type Expr, f32, f64, i32, i64, type Local, v128 } from './asm.js';

export type VectorFunction = 'exp' | 'tanh' | 'erf' | 'sigmoid' | 'log' | 'sin' | 'cos';
type ScalarFunction = 'exp64' | 'log64' | 'sin64' | 'cos64' | 'pow';

/** Creates functions on first use. */
export class MathLibrary {
  private readonly defined = new Set<string>();

  constructor(
    private readonly m: binaryen.Module,
    private readonly options: AsmOptions,
  ) {}

  /** f32x4 -> f32x4 */
  vector(name: VectorFunction, x: Expr): Expr {
    this.define(name);
    return this.m.call(`math.${name}`, [x], v128);
  }

  /** f32 -> f32, through the vector function. */
  scalar(name: VectorFunction, x: Expr): Expr {
    return this.m.f32x4.extract_lane(this.vector(name, this.m.f32x4.splat(x)), 0);
  }

  /** f32 x f32 -> f32 */
  pow(a: Expr, b: Expr): Expr {
    this.define('pow');
    return this.m.call('math.pow', [a, b], f32);
  }

  private call64(name: ScalarFunction, x: Expr): Expr {
    this.define(name);
    return this.m.call(`math.${name}`, [x], f64);
  }

  private define(name: VectorFunction | ScalarFunction): void {
    if (this.defined.has(name)) return;
    this.defined.add(name);
    this.definitions[name]();
  }

  private readonly definitions: Readonly<Record<VectorFunction | ScalarFunction, () => void>> = {
    exp: () => this.defineVector('exp', (asm, x) => this.exp(asm, x)),
    tanh: () => this.defineVector('tanh', (asm, x) => this.tanh(asm, x)),
    erf: () => this.defineVector('erf', (asm, x) => this.erf(asm, x)),
    sigmoid: () => this.defineVector('sigmoid', (asm, x) => this.sigmoid(asm, x)),
    log: () => this.definePerLane('log', 'log64'),
    sin: () => this.definePerLane('sin', 'sin64'),
    cos: () => this.definePerLane('cos', 'cos64'),
    exp64: () => this.defineExp64(),
    log64: () => this.defineLog64(),
    sin64: () => this.defineSine('sin64', 0),
    cos64: () => this.defineSine('cos64', 1),
    pow: () => this.definePow(),
  };

  private defineVector(name: string, body: (asm: Asm, x: Local) => readonly Expr[]): void {
    const asm = new Asm(this.m, this.options, [v128]);
    asm.define(`math.${name}`, v128, body(asm, asm.params[0] as Local));
  }

  private definePerLane(name: string, scalar: ScalarFunction): void {
    const { m } = this;
    this.defineVector(name, (_asm, x) => {
      const lane = (i: number): Expr =>
        m.f32.demote(this.call64(scalar, m.f64.promote(m.f32x4.extract_lane(x.get(), i))));
      return [
        [1, 2, 3].reduce<Expr>(
          (vector, i) => m.f32x4.replace_lane(vector, i, lane(i)),
          m.f32x4.splat(lane(0)),
        ),
      ];
    });
  }

  /** Polynomial by Horner's rule, highest coefficient first. */
  private horner(asm: Asm, x: Local, coefficients: readonly number[]): Expr {
    const [first = 0, ...rest] = coefficients;
    return rest.reduce<Expr>((sum, c) => asm.multiplyAdd(sum, x.get(), asm.splat(c)), asm.splat(first));
  }

  /**
   * e^x = 2^n * e^r with n = round(x / ln 2) and |r| <= ln 2 / 2; ln 2 in two parts. Clamped to [-104, 89], beyond
   * which the result is 0 or infinity; 2^n is applied in two halves, so that subnormal results are right.
   *
   * Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits. pmin and pmax are one instruction each and
   * keep a NaN in their first operand; then the polynomial is NaN, whatever the powers are.
   */
  private exp(asm: Asm, x: Local): readonly Expr[] {
    const { f32x4, i32x4 } = this.m;
    const [clamped, shifted, n, r] = [asm.local(v128), asm.local(v128), asm.local(v128), asm.local(v128)];
    const half = asm.local(v128);
    const shifter = 1.5 * 2 ** 23;
    const shifterBits = 0x4b400000;
    const powerOfTwo = (exponent: Expr): Expr =>
      i32x4.shl(i32x4.add(exponent, asm.splatInt(127)), asm.const(23));
    const polynomial = this.horner(asm, r, [1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1, 1]);
    return [
      clamped.set(f32x4.pmin(f32x4.pmax(x.get(), asm.splat(-104)), asm.splat(89))),
      shifted.set(f32x4.add(f32x4.mul(clamped.get(), asm.splat(Math.LOG2E)), asm.splat(shifter))),
      n.set(f32x4.sub(shifted.get(), asm.splat(shifter))),
      r.set(f32x4.sub(clamped.get(), f32x4.mul(n.get(), asm.splat(0.693145751953125)))),
      r.set(f32x4.sub(r.get(), f32x4.mul(n.get(), asm.splat(1.4286068203094173e-6)))),
      n.set(i32x4.sub(shifted.get(), asm.splatInt(shifterBits))),
      half.set(i32x4.shr_s(n.get(), asm.const(1))),
      f32x4.mul(f32x4.mul(polynomial, powerOfTwo(half.get())), powerOfTwo(i32x4.sub(n.get(), half.get()))),
    ];
  }

  /** 1 / (1 + e^-x) */
  private sigmoid(asm: Asm, x: Local): readonly Expr[] {
    const { f32x4 } = this.m;
    return [f32x4.div(asm.splat(1), f32x4.add(asm.splat(1), this.vector('exp', f32x4.neg(x.get()))))];
  }

  /** 1 - 2 / (e^2|x| + 1) with the sign of x; below 0.35 the odd Taylor polynomial, which keeps relative accuracy. */
  private tanh(asm: Asm, x: Local): readonly Expr[] {
    const { f32x4, v128: vec } = this.m;
    const [magnitude, large, square] = [asm.local(v128), asm.local(v128), asm.local(v128)];
    const taylor = [-1382 / 155925, 62 / 2835, -17 / 315, 2 / 15, -1 / 3, 1];
    return [
      magnitude.set(f32x4.abs(x.get())),
      large.set(
        f32x4.sub(
          asm.splat(1),
          f32x4.div(
            asm.splat(2),
            f32x4.add(this.vector('exp', f32x4.add(magnitude.get(), magnitude.get())), asm.splat(1)),
          ),
        ),
      ),
      large.set(vec.or(large.get(), vec.and(x.get(), asm.splatInt(-0x80000000)))),
      square.set(f32x4.mul(x.get(), x.get())),
      vec.bitselect(
        f32x4.mul(x.get(), this.horner(asm, square, taylor)),
        large.get(),
        f32x4.lt(magnitude.get(), asm.splat(0.35)),
      ),
    ];
  }

  /** Abramowitz and Stegun 7.1.26 (absolute error 1.5e-7) above 0.5, the Taylor series below. */
  private erf(asm: Asm, x: Local): readonly Expr[] {
    const { f32x4, v128: vec } = this.m;
    const [magnitude, t, large, square] = [
      asm.local(v128),
      asm.local(v128),
      asm.local(v128),
      asm.local(v128),
    ];
    const scale = 2 / Math.sqrt(Math.PI);
    const taylor = [1 / 9360, -1 / 1320, 1 / 216, -1 / 42, 1 / 10, -1 / 3, 1].map((c) => c * scale);
    const rational = this.horner(asm, t, [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592]);
    return [
      magnitude.set(f32x4.abs(x.get())),
      square.set(f32x4.mul(x.get(), x.get())),
      t.set(
        f32x4.div(asm.splat(1), f32x4.add(asm.splat(1), f32x4.mul(asm.splat(0.3275911), magnitude.get()))),
      ),
      large.set(f32x4.mul(f32x4.mul(rational, t.get()), this.vector('exp', f32x4.neg(square.get())))),
      large.set(vec.or(f32x4.sub(asm.splat(1), large.get()), vec.and(x.get(), asm.splatInt(-0x80000000)))),
      vec.bitselect(
        f32x4.mul(x.get(), this.horner(asm, square, taylor)),
        large.get(),
        f32x4.lt(magnitude.get(), asm.splat(0.5)),
      ),
    ];
  }

  private horner64(x: Local, coefficients: readonly number[]): Expr {
    const { f64: d } = this.m;
    const [first = 0, ...rest] = coefficients;
    return rest.reduce<Expr>((sum, c) => d.add(d.mul(sum, x.get()), d.const(c)), d.const(first));
  }

  /** 2^n * Taylor(r), |r| <= ln 2 / 2, to about 1e-15 relative. */
  private defineExp64(): void {
    const { m } = this;
    const asm = new Asm(m, this.options, [f64]);
    const x = asm.params[0] as Local;
    const [n, r] = [asm.local(f64), asm.local(f64)];
    const factorials = Array.from(
      { length: 14 },
      (_, i) => 1 / Array.from({ length: 13 - i }, (_unused, k) => k + 1).reduce((p, k) => p * k, 1),
    );
    const bits = m.i64.shl(m.i64.add(m.i64.trunc_s_sat.f64(n.get()), this.int64(1023)), this.int64(52));
    asm.define('math.exp64', f64, [
      x.set(m.f64.min(m.f64.max(x.get(), m.f64.const(-700)), m.f64.const(700))),
      n.set(m.f64.nearest(m.f64.mul(x.get(), m.f64.const(Math.LOG2E)))),
      r.set(
        m.f64.sub(
          m.f64.sub(x.get(), m.f64.mul(n.get(), m.f64.const(0.6931471803691238))),
          m.f64.mul(n.get(), m.f64.const(1.9082149292705877e-10)),
        ),
      ),
      m.f64.mul(this.horner64(r, factorials), m.f64.reinterpret(bits)),
    ]);
  }

  private int64(value: number): Expr {
    return this.m.i64.const(BigInt(value));
  }

  /** ln x = e ln 2 + 2 atanh((f - 1)/(f + 1)) with x = 2^e f, sqrt(1/2) <= f < sqrt 2; normal positive x only. */
  private defineLog64(): void {
    const { m } = this;
    const asm = new Asm(m, this.options, [f64]);
    const x = asm.params[0] as Local;
    const [bits, exponent, f, s, square] = [
      asm.local(i64),
      asm.local(f64),
      asm.local(f64),
      asm.local(f64),
      asm.local(f64),
    ];
    const series = Array.from({ length: 12 }, (_, i) => 2 / (2 * (11 - i) + 1));
    const special = m.if(
      m.f64.gt(x.get(), m.f64.const(0)),
      m.if(m.f64.eq(x.get(), m.f64.const(Number.POSITIVE_INFINITY)), m.return(x.get())),
      m.return(
        m.select(
          m.f64.eq(x.get(), m.f64.const(0)),
          m.f64.const(Number.NEGATIVE_INFINITY),
          m.f64.const(Number.NaN),
        ),
      ),
    );
    asm.define('math.log64', f64, [
      special,
      bits.set(m.i64.reinterpret(x.get())),
      exponent.set(m.f64.convert_s.i64(m.i64.sub(m.i64.shr_u(bits.get(), this.int64(52)), this.int64(1023)))),
      f.set(
        m.f64.reinterpret(
          m.i64.or(m.i64.and(bits.get(), m.i64.const(0xfffffffffffffn)), m.i64.const(0x3ff0000000000000n)),
        ),
      ),
      asm.if(m.f64.gt(f.get(), m.f64.const(Math.SQRT2)), [
        f.set(m.f64.mul(f.get(), m.f64.const(0.5))),
        exponent.set(m.f64.add(exponent.get(), m.f64.const(1))),
      ]),
      s.set(m.f64.div(m.f64.sub(f.get(), m.f64.const(1)), m.f64.add(f.get(), m.f64.const(1)))),
      square.set(m.f64.mul(s.get(), s.get())),
      m.f64.add(
        m.f64.mul(exponent.get(), m.f64.const(Math.LN2)),
        m.f64.mul(s.get(), this.horner64(square, series)),
      ),
    ]);
  }

  /** sin(x + quadrant * pi/2): reduced by pi/2 in two parts, good to |x| of about 1e8 (1e-8 absolute there); Taylor to 1e-14. */
  private defineSine(name: 'sin64' | 'cos64', quadrantOffset: number): void {
    const { m } = this;
    const asm = new Asm(m, this.options, [f64]);
    const x = asm.params[0] as Local;
    const [n, r, square, quadrant, result] = [
      asm.local(f64),
      asm.local(f64),
      asm.local(f64),
      asm.local(i32),
      asm.local(f64),
    ];
    const factorial = (k: number): number =>
      Array.from({ length: k }, (_, i) => i + 1).reduce((p, i) => p * i, 1);
    const sine = [15, 13, 11, 9, 7, 5, 3, 1].map((k, i) => (i % 2 === 0 ? -1 : 1) / factorial(k));
    const cosine = [16, 14, 12, 10, 8, 6, 4, 2, 0].map((k, i) => (i % 2 === 0 ? 1 : -1) / factorial(k));
    asm.define(`math.${name}`, f64, [
      n.set(m.f64.nearest(m.f64.mul(x.get(), m.f64.const(2 / Math.PI)))),
      r.set(
        m.f64.sub(
          m.f64.sub(x.get(), m.f64.mul(n.get(), m.f64.const(1.5707963267341256))),
          m.f64.mul(n.get(), m.f64.const(6.077100506506192e-11)),
        ),
      ),
      square.set(m.f64.mul(r.get(), r.get())),
      quadrant.set(
        m.i32.and(
          m.i32.add(m.i32.wrap(m.i64.trunc_s_sat.f64(n.get())), asm.const(quadrantOffset)),
          asm.const(3),
        ),
      ),
      m.if(
        m.i32.and(quadrant.get(), asm.const(1)),
        result.set(this.horner64(square, cosine)),
        result.set(m.f64.mul(r.get(), this.horner64(square, sine))),
      ),
      m.select(m.i32.and(quadrant.get(), asm.const(2)), m.f64.neg(result.get()), result.get()),
    ]);
  }

  /** exp(b ln|a|), with the sign of a where b is odd; NaN for a finite negative base and a fractional power. */
  private definePow(): void {
    const { m } = this;
    const asm = new Asm(m, this.options, [f32, f32]);
    const [a, b] = asm.params as [Local, Local];
    const result = asm.local(f32);
    const magnitude = this.call64(
      'exp64',
      m.f64.mul(m.f64.promote(b.get()), this.call64('log64', m.f64.promote(m.f32.abs(a.get())))),
    );
    const half = (): Expr => m.f32.mul(b.get(), m.f32.const(0.5));
    const isInteger = (): Expr => m.f32.eq(b.get(), m.f32.trunc(b.get()));
    const isOdd = m.i32.and(isInteger(), m.f32.ne(half(), m.f32.trunc(half())));
    const finiteNegative = m.i32.and(
      m.f32.lt(a.get(), m.f32.const(0)),
      m.f32.gt(a.get(), m.f32.const(Number.NEGATIVE_INFINITY)),
    );
    asm.define('math.pow', f32, [
      m.if(m.f32.eq(b.get(), m.f32.const(0)), m.return(m.f32.const(1))),
      result.set(m.f32.demote(magnitude)),
      m.if(isOdd, m.return(m.f32.copysign(result.get(), a.get()))),
      m.if(m.i32.and(finiteNegative, m.i32.eqz(isInteger())), m.return(m.f32.const(Number.NaN))),
      result.get(),
    ]);
  }
}
