// Storage in a folder on a disk, in Node: a file a name. What is not whole yet has a hidden name with the number of its process.

import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, readdir, rename, rm } from "node:fs/promises";
import { platform } from "node:os";
import { join } from "node:path";

import type { Bytes } from "../bytes.js";
import { checkName, type Storage } from "../storage/storage.js";

const UNFINISHED = /^\..+\.unfinished-(\d+)-[0-9a-f]{16}$/;

export class FolderStorage implements Storage {
  private constructor(readonly folder: string) {}

  /** Makes `folder`, for its owner alone, where there is none, and removes what killed processes left in it. Throws what
   * `node:fs` throws. */
  static async open(folder: string): Promise<FolderStorage> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const name of await readdir(folder)) {
      const process_ = UNFINISHED.exec(name)?.[1];
      if (process_ !== undefined && !isAlive(Number(process_))) await rm(join(folder, name), { force: true });
    }
    return new FolderStorage(folder);
  }

  async read(name: string): Promise<Bytes | undefined> {
    checkName(name);
    try {
      return Uint8Array.from(await readFile(join(this.folder, name)));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async write(name: string, content: Uint8Array): Promise<void> {
    checkName(name);
    const unfinished = join(this.folder, `.${name}.unfinished-${process.pid}-${randomBytes(8).toString("hex")}`);
    try {
      const file = await open(unfinished, "wx", 0o600);
      try {
        await file.writeFile(content);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(unfinished, join(this.folder, name));
    } catch (error) {
      await rm(unfinished, { force: true });
      throw error;
    }
    await this.syncFolder();
  }

  async names(): Promise<string[]> {
    return (await readdir(this.folder)).filter((name) => !name.startsWith(".")).sort();
  }

  async delete(name: string): Promise<void> {
    checkName(name);
    await rm(join(this.folder, name), { force: true });
    await this.syncFolder();
  }

  /** Makes renames in it last. */
  private async syncFolder(): Promise<void> {
    if (platform() === "win32") return; // there a folder cannot be opened, and a rename is ordered by the file system
    const folder = await open(this.folder, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === "ENOENT";
}

function isAlive(number: number): boolean {
  try {
    process.kill(number, 0); // asks, and sends nothing
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
