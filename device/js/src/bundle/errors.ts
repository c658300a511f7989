// The error that says why a bundle is refused.

/** A bundle that must not be used; one line saying what, where, what was expected and what to do. */
export class BundleError extends Error {
  override readonly name = "BundleError";
}

/** A value for a message, on one line and at most `most` characters. */
export function shown(value: unknown, most = 70): string {
  const text = JSON.stringify(value, (_, one: unknown) =>
    typeof one === "bigint"
      ? one < 2n ** 53n
        ? Number(one)
        : `${one}`
      : one instanceof Map
        ? Object.fromEntries(one)
        : one,
  );
  return (text ?? "nothing").slice(0, most);
}
