// Checks who made a bundle by its Ed25519 signature (RFC 8032), 64 bytes over manifest.json, which has all files' sha256.

import type { Bytes } from "../bytes.js";
import { BundleError } from "./errors.js";
import { SIGNATURE } from "./paths.js";

const PEM = /-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----/;

/** Throws BundleError unless `signature` is one of `manifest` by the private key to `key`, a public key's PEM text. */
export async function checkSignature(signature: Bytes | undefined, manifest: Bytes, key: string): Promise<void> {
  const public_ = await publicKey(key);
  if (signature === undefined) {
    throw new BundleError(`the bundle holds no ${SIGNATURE}: expected a signed one, refused`);
  }
  if (!(await crypto.subtle.verify({ name: "Ed25519" }, public_, signature, manifest))) {
    throw new BundleError(
      `${SIGNATURE} is not this key's signature of manifest.json: altered, or made by another, refused`,
    );
  }
}

async function publicKey(pem: string): Promise<CryptoKey> {
  try {
    const coded = PEM.exec(pem)?.[1] ?? "";
    const spki = Uint8Array.from(atob(coded.replace(/\s/g, "")), (letter) => letter.charCodeAt(0));
    return await crypto.subtle.importKey("spki", spki, { name: "Ed25519" }, false, ["verify"]);
  } catch (error) {
    throw new BundleError(
      `the key is no Ed25519 public key in PEM (${error instanceof Error ? error.message : error}): expected the one that ` +
        "`mentee-export keygen` made",
    );
  }
}
