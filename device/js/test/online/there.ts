// The mentor's real service, as tests/device/js/asking.py started it.

interface There {
  readonly address: string;
  /** Tokens of three devices, each with its own rate. */
  readonly token: string;
  readonly tablet: string;
  readonly watch: string;
  /** Folder of certificates that were valid long ago (`late`) or not yet (`early`), or that nobody knows (`unknown`). */
  readonly certificates: string;
  /** The origin whose pages may ask. */
  readonly page: string;
}

/** null where these tests run without Python. */
export const THERE: There | null = JSON.parse(process.env["MENTEE_SERVICE"] ?? "null");

/** PEM file of its certificate, and of others after it. */
export const TRUSTED = process.env["NODE_EXTRA_CA_CERTS"] ?? "";

/** Waits until it answers. */
export async function up(): Promise<void> {
  const is = (): Promise<boolean> =>
    fetch(`${THERE!.address}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
  while (!(await is())) await new Promise((resolve) => setTimeout(resolve, 100));
}
