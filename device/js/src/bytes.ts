// Bytes and what is asked of them everywhere: their text, their sha256, their place in a larger whole.

/** Bytes that nobody else shares the memory of. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** UTF-8 to text; a byte order mark is a character like others. Throws TypeError for what is no UTF-8. */
export function utf8(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
}

/** 64 hex digits. */
export async function sha256(bytes: Bytes): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One array of all parts, in their order. */
export function joined(parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
