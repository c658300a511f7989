// Reads safetensors: 8 bytes say how long the header is, the header is JSON, and the rest is numbers, little-endian.

// Read tensors
const kinds = { F32: Float32Array, F16: Uint16Array, I64: BigInt64Array, U8: Uint8Array };

/** bytes -> { name: { data, dims, row } }, `row`: numbers of one row; float16 and uint8 become float32. */
export function tensors(bytes) {
  const { buffer } = Uint8Array.from(bytes);
  const start = 8 + new DataView(buffer).getUint32(0, true);
  const { __metadata__, ...parts } = JSON.parse(new TextDecoder().decode(buffer.slice(8, start)));
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(parts)) {
    const raw = new kinds[dtype](buffer.slice(start + data_offsets[0], start + data_offsets[1]));
    const data = dtype === "I64" ? raw : Float32Array.from(raw, dtype === "F16" ? half : Number);
    parts[name] = { data, dims: shape, row: data.length / shape[0] };
  }
  return parts;
}

/** The number whose float16 has these bits. */
function half(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) + (exponent ? 1024 : 0);
  return (bits & 0x8000 ? -1 : 1) * fraction * 2 ** (Math.max(exponent, 1) - 25);
}
