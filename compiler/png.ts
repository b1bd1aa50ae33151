/** PNG images of samples: 8 bits per channel, grey or RGB. */
import { crc32, deflateSync } from 'node:zlib';

export interface Image {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  /** [height, width, channels], row-major. */
  readonly data: Uint8Array;
}

const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const colourTypes = { 1: 0, 3: 2 } as const;

/** The bytes of a PNG file. Throws RangeError when the data does not fill the image. */
export function encodePng(image: Image): Uint8Array {
  const { width, height, channels, data } = image;
  if (data.length !== width * height * channels || data.length === 0) {
    throw new RangeError(`${data.length} bytes do not fill an image of ${width} x ${height} x ${channels}`);
  }
  return Buffer.concat([
    signature,
    chunk('IHDR', headerOf(image)),
    chunk('IDAT', deflateSync(withFilterBytes(image), { level: 9 })),
    chunk('IEND', new Uint8Array()),
  ]);
}

function headerOf({ width, height, channels }: Image): Uint8Array {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  // Bit depth 8; compression, filter and interlace methods 0.
  header.set([8, colourTypes[channels], 0, 0, 0], 8);
  return header;
}

/** Each row starts with its filter: 0, none. */
function withFilterBytes({ width, height, channels, data }: Image): Uint8Array {
  const stride = width * channels;
  const rows = new Uint8Array(height * (stride + 1));
  for (let y = 0; y < height; y++)
    rows.set(data.subarray(y * stride, (y + 1) * stride), y * (stride + 1) + 1);
  return rows;
}

function chunk(type: string, body: Uint8Array): Uint8Array {
  const typed = Buffer.concat([Buffer.from(type, 'latin1'), body]);
  const bytes = Buffer.alloc(typed.length + 8);
  bytes.writeUInt32BE(body.length, 0);
  bytes.set(typed, 4);
  bytes.writeUInt32BE(crc32(typed), typed.length + 4);
  return bytes;
}

export interface GridOptions {
  /** Images per row; about the square root of their number by default. */
  readonly columns?: number;
  /** Pixels between images; 2 by default. */
  readonly gap?: number;
}

/**
 * Images [n, channels, height, width] with values from -1 (black) to 1 (white), laid out row by row on black;
 * values outside are clamped. Throws RangeError for other shapes: channels are 1 or 3.
 */
export function imageGrid(values: Float32Array, shape: readonly number[], options: GridOptions = {}): Image {
  const [count = 0, channels = 0, height = 0, width = 0] = shape;
  const known = channels === 1 || channels === 3;
  if (
    shape.length !== 4 ||
    !known ||
    values.length !== count * channels * height * width ||
    values.length === 0
  ) {
    throw new RangeError(`[${shape.join(', ')}] is not a batch of grey or RGB images`);
  }
  const { columns = Math.ceil(Math.sqrt(count)), gap = 2 } = options;
  const rows = Math.ceil(count / columns);
  const grid: Image = {
    width: columns * width + (columns - 1) * gap,
    height: rows * height + (rows - 1) * gap,
    channels,
    data: new Uint8Array((columns * (width + gap) - gap) * (rows * (height + gap) - gap) * channels),
  };
  for (let index = 0; index < count; index++) {
    const left = (index % columns) * (width + gap);
    const top = Math.floor(index / columns) * (height + gap);
    const size = channels * height * width;
    place(grid, values.subarray(index * size, (index + 1) * size), { left, top, width, height });
  }
  return grid;
}

interface Placement {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** Copies one image [channels, height, width] into the grid [height, width, channels]. */
function place(grid: Image, values: Float32Array, { left, top, width, height }: Placement): void {
  for (let c = 0; c < grid.channels; c++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const value = values[(c * height + y) * width + x] ?? 0;
        grid.data[((top + y) * grid.width + left + x) * grid.channels + c] = toByte(value);
      }
    }
  }
}

function toByte(value: number): number {
  return Math.round(Math.max(0, Math.min(255, (value + 1) * 127.5)));
}
