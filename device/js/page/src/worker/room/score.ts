// How often base and person's mentee were right on a drawing before anybody had learnt from it: the only honest figure that there is
// while somebody draws. The last drawings only: a mentee that learns is another one later.

import type { Storage } from "../../../../src/index.js";
import type { Score } from "../../shared/messages.js";

const FILE = "score";
const LAST = 50; // drawings

interface Judged {
  readonly base: boolean;
  readonly mine: boolean;
}

export class Scores {
  private constructor(
    private readonly storage: Storage,
    private judged: readonly Judged[],
  ) {}

  static async open(storage: Storage): Promise<Scores> {
    const content = await storage.read(FILE);
    return new Scores(storage, content === undefined ? [] : parsed(new TextDecoder().decode(content)));
  }

  async add(one: Judged): Promise<void> {
    await this.write([...this.judged, one].slice(-LAST));
  }

  async clear(): Promise<void> {
    await this.write([]);
  }

  get now(): Score {
    const right = (who: keyof Judged): number => this.judged.filter((one) => one[who]).length;
    return { drawn: this.judged.length, base: right("base"), mine: right("mine") };
  }

  private async write(judged: readonly Judged[]): Promise<void> {
    await this.storage.write(FILE, new TextEncoder().encode(JSON.stringify(judged)));
    this.judged = judged;
  }
}

/** Nothing where it is not what was written: a figure is no reason to fail. */
function parsed(text: string): Judged[] {
  try {
    const found: unknown = JSON.parse(text);
    if (!Array.isArray(found)) return [];
    return found.slice(-LAST).map((one) => ({ base: one?.base === true, mine: one?.mine === true }));
  } catch {
    return [];
  }
}
