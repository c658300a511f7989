// IEEE 754 half precision, which no typed array of older engines has: its bits as uint16 to float32.

const UNIT = new Float32Array(1);
const BITS = new Uint32Array(UNIT.buffer);

/** All 65,536 values, made on first use: 256 KB. */
let table: Float32Array | undefined;

/** `halves` as float32, exactly. */
export function float16ToFloat32(halves: Uint16Array): Float32Array<ArrayBuffer> {
  table ??= Float32Array.from({ length: 65536 }, (_, half) => valueOf(half));
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) values[i] = table[halves[i] ?? 0] ?? 0;
  return values;
}

/** Whether all are finite: no exponent is full. */
export function float16Finite(halves: Uint16Array): boolean {
  return halves.every((half) => (half & 0x7c00) !== 0x7c00);
}

function valueOf(half: number): number {
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  const sign = half & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  BITS[0] = ((exponent + 112) << 23) | (fraction << 13);
  return sign * (UNIT[0] ?? 0);
}

/** The nearest half, the even one of two. */
export function float32ToFloat16(values: Float32Array): Uint16Array {
  return Uint16Array.from(values, (value) => {
    UNIT[0] = value;
    const bits = BITS[0] ?? 0;
    const sign = (bits >>> 16) & 0x8000;
    const size = Math.abs(value);
    if (Number.isNaN(value)) return sign | 0x7e00;
    if (size >= 65520) return sign | 0x7c00; // rounds to infinity
    if (size < 2 ** -14) return sign | halfEven(size * 2 ** 24);
    const rest = bits & 0x1fff;
    const half = ((bits & 0x7fffffff) >>> 13) - (112 << 10);
    const up = rest > 0x1000 || (rest === 0x1000 && half & 1);
    return sign | (half + (up ? 1 : 0));
  });
}

function halfEven(value: number): number {
  const down = Math.floor(value);
  return value - down === 0.5 ? down + (down % 2) : Math.round(value);
}
