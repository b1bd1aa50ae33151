/**
 * How an engine multiplies bytes. `i32x4.relaxed_dot_i8x16_i7x16_add_s` leaves open what bytes of its second factor
 * above 127 are, and whether pairs of products saturate; an engine does the same each time. Where it reads them all as
 * signed or all as unsigned, and sums exactly, integer products can be built on it.
 */

/** (a: i32, b: i32) -> i32: one lane of the dot product of the bytes of a and b. */
const code = Uint8Array.from(
  [
    [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    [0x01, 0x07, 0x01, 0x60, 0x02, 0x7f, 0x7f, 0x01, 0x7f],
    [0x03, 0x02, 0x01, 0x00],
    [0x07, 0x07, 0x01, 0x03, 0x64, 0x6f, 0x74, 0x00, 0x00],
    // local.get 0; i32x4.splat; local.get 1; i32x4.splat; i32.const 0; i32x4.splat; dot; extract_lane 0
    [0x0a, 0x16, 0x01, 0x14, 0x00, 0x20, 0x00, 0xfd, 0x11, 0x20, 0x01, 0xfd, 0x11, 0x41, 0x00, 0xfd, 0x11],
    [0xfd, 0x93, 0x02, 0xfd, 0x1b, 0x00, 0x0b],
  ].flat(),
);

interface WasmApi {
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  readonly Instance: new (module: object) => { readonly exports: Readonly<Record<string, unknown>> };
  validate(bytes: Uint8Array<ArrayBuffer>): boolean;
}

type Dot = (a: number, b: number) => number;

/** What is added to signed bytes to make a second factor: 0 or 128; undefined where products would not be exact. */
export function byteDotOffset(): number | undefined {
  const wasm = (globalThis as { WebAssembly?: WasmApi }).WebAssembly;
  if (wasm === undefined || !wasm.validate(code)) return undefined;
  return offsetOf(new wasm.Instance(new wasm.Module(code)).exports.dot as Dot);
}

const samples = [-128, -127, -65, -1, 0, 1, 64, 127];

/** Judges a dot product of four bytes by all pairs of extreme bytes, alternating with their opposites. */
export function offsetOf(dot: Dot): number | undefined {
  const readings: readonly (readonly [offset: number, read: (byte: number) => number])[] = [
    [0, (byte) => byte],
    [128, (byte) => byte & 0xff],
  ];
  const exact = (read: (byte: number) => number): boolean =>
    samples.every((a) =>
      samples.every((b) => {
        const other = ~b;
        const mixed = 2 * a * (read(b) + read(other));
        return (
          dot(fourOf(a, a), fourOf(b, b)) === 4 * a * read(b) && dot(fourOf(a, a), fourOf(b, other)) === mixed
        );
      }),
    );
  return readings.find(([, read]) => exact(read))?.[0];
}

/** a, b, a, b in the bytes of an integer. */
function fourOf(a: number, b: number): number {
  return Math.imul((a & 0xff) | ((b & 0xff) << 8), 0x10001);
}
