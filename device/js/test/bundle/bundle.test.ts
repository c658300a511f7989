import { cp, mkdtemp, rm, symlink, unlink, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { Bundle } from "../../src/bundle/bundle.js";
import { BundleError } from "../../src/bundle/errors.js";
import { fetchBundle } from "../../src/bundle/fetched.js";
import { MemorySource } from "../../src/bundle/source.js";
import { openBundle } from "../../src/node/folder.js";
import type { Bytes } from "../../src/bytes.js";
import { FIXTURES, bytes, filesOf, json, place, refusal, resealed } from "../fixtures.js";

const BASE = "bundle/base";
const SEALED = "sealed/bundle";

describe.skipIf(FIXTURES === null)("a bundle", () => {
  let files: Map<string, Bytes>;
  let scratch: string;

  beforeAll(async () => {
    files = await filesOf(BASE);
    scratch = await mkdtemp(join(tmpdir(), "mentee-js-"));
  });
  afterAll(() => rm(scratch, { recursive: true }));

  const opened = (changed: Record<string, Bytes | undefined>): Promise<Bundle> => {
    const all = new Map(files);
    for (const [name, content] of Object.entries(changed)) {
      if (content === undefined) all.delete(name);
      else all.set(name, content);
    }
    return Bundle.open(new MemorySource("here", all));
  };
  const edited = async (edit: (content: any) => void): Promise<Error> =>
    refusal(opened({ "manifest.json": await resealed(files.get("manifest.json")!, edit) }));

  test("is the same as a folder, as a zip, and in memory", async () => {
    const folder = await openBundle(place(BASE));
    const zipped = await openBundle(place(`${BASE}.zip`));
    const memory = await opened({});
    expect(zipped.manifest).toEqual(folder.manifest);
    expect(memory.manifest).toEqual(folder.manifest);
    expect(await zipped.read("inference.onnx")).toEqual(await bytes(BASE, "inference.onnx"));
    expect(folder.manifest.classes).toHaveLength(10);
    expect([...folder.manifest.probes.keys()]).toEqual(["early", "late"]);
  });

  test("refuses a flipped bit, a truncation and a loss of every file", async () => {
    for (const [name, content] of files) {
      const flipped = content.slice();
      flipped[content.length >> 1]! ^= 1;
      const why = name === "manifest.json" ? /is not JSON|says id|hex digits|lacks|expected|format/ : /has sha256/;
      expect((await refusal(opened({ [name]: flipped }))).message).toMatch(why);
      const cut = await refusal(opened({ [name]: content.slice(0, -1) }));
      expect(cut.message).toMatch(name === "manifest.json" ? /is not JSON|says id/ : /bytes, expected/);
      const lost = await refusal(opened({ [name]: undefined }));
      expect(lost).toBeInstanceOf(BundleError);
      expect(lost.message).toMatch(/is missing|no regular file/);
    }
  });

  test("refuses a file that the manifest does not list", async () => {
    expect((await refusal(opened({ "more.txt": new Uint8Array(1) }))).message).toMatch(/does not list it/);
  });

  test("refuses links, and a link to a folder", async () => {
    const folder = join(scratch, "linked");
    await cp(place(BASE), folder, { recursive: true });
    await unlink(join(folder, "parity.json"));
    await symlink(place(BASE, "parity.json"), join(folder, "parity.json"));
    expect((await refusal(openBundle(folder))).message).toMatch(/is a link/);
    await unlink(join(folder, "parity.json"));
    await cp(place(BASE, "parity.json"), join(folder, "parity.json"));
    await symlink(place(BASE), join(folder, "more"));
    expect((await refusal(openBundle(folder))).message).toMatch(/"more" is in the bundle/);
    await unlink(join(folder, "more"));
    await rm(join(folder, "ort-training"), { recursive: true });
    await symlink(place(BASE, "ort-training"), join(folder, "ort-training"));
    expect((await refusal(openBundle(folder))).message).toMatch(/is a link/);
  });

  test.each([
    ["another format", (m: any) => (m.format = "mentee-bundle/9"), /format "mentee-bundle\/9"/],
    ["a path that leaves", (m: any) => (m.files["../x"] = m.files["README.md"]), /leaves the bundle's folder/],
    ["a drive", (m: any) => (m.files["C:\\x"] = m.files["README.md"]), /leaves the bundle's folder/],
    ["a long path", (m: any) => (m.files["é".repeat(200)] = m.files["README.md"]), /leaves the bundle's folder/],
    ["itself", (m: any) => (m.files["manifest.json"] = m.files["README.md"]), /lists itself/],
    ["a temperature of 0", (m: any) => (m.loss.temperature = 0), /loss.temperature is 0, expected a number from/],
    ["a huge α", (m: any) => (m.loss.alpha = 1e10), /loss.alpha/],
    ["a rate of 0", (m: any) => (m.optimizer.learning_rate = 0), /optimizer.learning_rate/],
    ["a rate's scale of 0", (m: any) => (m.optimizer.rate_scale = 0), /optimizer.rate_scale/],
    ["no accumulation", (m: any) => (m.optimizer.accumulate = 0), /optimizer.accumulate is 0/],
    ["an unknown optimizer", (m: any) => (m.optimizer.name = "lion"), /optimizer.name is "lion"/],
    ["a huge shape", (m: any) => (m.preprocessing.shape = [1, 4096, 4097]), /preprocessing.shape/],
    ["a std of 0", (m: any) => (m.preprocessing.std = [0]), /one std above 0/],
    ["a tiny std", (m: any) => (m.preprocessing.std = [1e-8]), /standard deviations away/],
    ["an accuracy above 1", (m: any) => (m.base.golden.accuracy = 1.5), /base.golden.accuracy/],
    ["one class", (m: any) => (m.classes = ["a"]), /at least two different names/],
    ["a file that is not there", (m: any) => (m.golden.file = "x"), /refers to "x"/],
    ["an input more", (m: any) => m.graphs.training.inputs.push({ name: "x" }), /graphs.training.inputs differ/],
    ["an unknown BatchNorm", (m: any) => (m.batch_norm = "x"), /batch_norm is "x", this program knows/],
    ["spare classes", (m: any) => (m.spare_classes = ["8"]), /spare_classes are .*, the last of several classes/],
    ["bytes as text", (m: any) => (m.files["README.md"].bytes = "9"), /expected a whole number/],
  ])("refuses a manifest of %s", async (_, edit, why) => {
    const error = await edited(edit);
    expect(error).toBeInstanceOf(BundleError);
    expect(error.message).toMatch(why);
    expect(error.message).not.toMatch(/\n/);
  });

  test("is its maker's by its signature", async () => {
    const [key, other] = (await Promise.all([bytes("sealed", "public.pem"), bytes("other.pem")])).map((one) =>
      new TextDecoder().decode(one),
    ) as [string, string];
    expect((await openBundle(place(SEALED), { key })).manifest.ortTraining?.weights).toBe(
      "ort-training/parameters.bin",
    );
    expect((await openBundle(place(`${SEALED}.zip`), { key })).manifest.id).toHaveLength(64);
    expect((await refusal(openBundle(place(SEALED), { key: other }))).message).toMatch(/not this key's signature/);
    expect((await refusal(openBundle(place(BASE), { key }))).message).toMatch(/holds no manifest.sig/);
    expect((await refusal(openBundle(place(SEALED), { key: "no key" }))).message).toMatch(/no Ed25519 public key/);
  });

  test("is accepted and refused as Python does", async () => {
    const mutants = json<{ path: string; kind: string; what: string; refused: string | null }[]>("mutants.json");
    const wrong: unknown[] = [];
    let accepted = 0;
    for (const { path, kind, what, refused } of mutants) {
      const seen = await verdict(place(path));
      if (seen === null) accepted++;
      const narrower = /packed as 1[24]/.test(what) && /stored or deflated/.test(seen ?? ""); // bzip2, lzma
      if ((seen === null) !== (refused === null) && !narrower) wrong.push({ path, kind, what, refused, seen });
    }
    expect(wrong).toEqual([]);
    expect(accepted).toBeGreaterThan(mutants.length / 5);
    expect(accepted).toBeLessThan(mutants.length / 1.25);
  });

  test("has the packs that Python reads", async () => {
    const expected = (await import("../../src/tensors/safetensors.js")).readTensors(
      await bytes("packs.safetensors"),
    ).tensors;
    const { preprocess } = await import("../../src/bundle/preprocess.js");
    const { float16ToFloat32 } = await import("../../src/tensors/float16.js");
    const bundle = await openBundle(place(BASE));
    const [golden, replay] = [await bundle.golden(), await bundle.supervision()];
    const seen = {
      golden_input: preprocess(golden.input, bundle.manifest.preprocessing),
      golden_labels: golden.labels,
      input: preprocess(replay.samples.input, bundle.manifest.preprocessing),
      labels: replay.samples.labels,
      mentor_logits: float16ToFloat32(replay.mentorLogits),
      mentor_early: float16ToFloat32(replay.activations.get("early")!),
      mentor_late: float16ToFloat32(replay.activations.get("late")!),
    };
    expect([...expected.keys()].sort()).toEqual(Object.keys(seen).sort());
    for (const [name, values] of Object.entries(seen)) expect(values, name).toEqual(expected.get(name)!.data);
  });

  describe("on a server", () => {
    let server: Server;
    let url: string;

    beforeAll(async () => {
      server = createServer((request, response) => {
        const path = decodeURIComponent(request.url ?? "").slice(1);
        if (path === "endless.zip") {
          const more = (): void => void (response.destroyed || response.write(Buffer.alloc(2 ** 20), more));
          return more();
        }
        const altered = path.startsWith("altered/");
        void bytes(altered ? path.replace("altered", BASE) : path).then(
          (content) =>
            response.end(altered && path.endsWith("parity.json") ? Buffer.concat([content, content]) : content),
          () => response.writeHead(404).end(),
        );
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    });
    afterAll(() => {
      server.closeAllConnections();
      server.close();
    });

    test.each([`${BASE}/`, `${BASE}/manifest.json`, `${BASE}.zip`])("is fetched from %s", async (path) => {
      const bundle = await fetchBundle(url + path);
      expect(bundle.manifest).toEqual((await openBundle(place(BASE))).manifest);
      expect((await bundle.golden()).labels).toHaveLength(80);
    });

    test("is refused where it is altered, missing or without end", async () => {
      expect((await refusal(fetchBundle(`${url}altered/`))).message).toMatch(/"parity.json" has .* bytes, expected/);
      expect((await refusal(fetchBundle(`${url}nothing.zip`))).message).toMatch(/no bundle at/);
      expect((await refusal(fetchBundle(`${url}nothing/`))).message).toMatch(/no regular file manifest.json/);
      expect((await refusal(fetchBundle("http://127.0.0.1:1/x.zip"))).message).toMatch(/cannot be fetched/);
      const signal = AbortSignal.timeout(200);
      expect((await refusal(fetchBundle(`${url}endless.zip`, { signal }))).name).toBe("TimeoutError");
    });
  });

  test("in a file that is no zip is refused", async () => {
    await writeFile(join(scratch, "x.zip"), "no zip");
    expect((await refusal(openBundle(join(scratch, "x.zip")))).message).toMatch(/is not a complete zip/);
    expect((await refusal(openBundle(join(scratch, "nothing")))).message).toMatch(/no bundle at/);
  });
});

/** Why the bundle is refused, if it is; anything but a line of ours fails the test. */
async function verdict(path: string): Promise<string | null> {
  try {
    const bundle = await openBundle(path);
    await bundle.supervision();
    await bundle.golden();
    return null;
  } catch (error) {
    expect(error).toBeInstanceOf(BundleError);
    const { message } = error as BundleError;
    expect(message).not.toMatch(/\n/);
    return message;
  }
}
