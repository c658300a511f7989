// JSON (RFC 8259) as a bundle's manifest has it: no key twice in one object, no half characters, whole numbers told from others.
//
// JSON.parse takes the last of two equal keys, and makes 1 of 1.0 and of 1e400 infinity.

/** `bigint` is a number written without a point or an exponent. */
export type Json = null | boolean | string | number | bigint | Json[] | JsonObject;
export type JsonObject = Map<string, Json>;

/** A text that is no JSON, or none that a manifest may be; one line. */
export class NotJson extends Error {}

const DEEPEST = 990; // lists and objects within each other; Python's reader ends near 1,000
const MOST_DIGITS = 4300; // of a whole number
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const HEX = /[0-9a-fA-F]{4}/y;
const ESCAPES: Record<string, string> = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };
const WORDS: readonly [string, Json][] = [
  ["null", null],
  ["true", true],
  ["false", false],
];

/** The value that `text` is. Throws NotJson. */
export function parseJson(text: string): Json {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

class Reader {
  private at = 0;

  constructor(private readonly text: string) {}

  value(depth: number): Json {
    this.space();
    const first = this.text[this.at];
    if (first === "{" || first === "[") {
      if (depth > DEEPEST) this.fail(`more than ${DEEPEST} lists and objects within each other`);
      return first === "{" ? this.object(depth) : this.list(depth);
    }
    if (first === '"') return this.string();
    for (const [word, value] of WORDS) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    return this.number();
  }

  end(): void {
    this.space();
    if (this.at < this.text.length) this.fail("more after its end");
  }

  private object(depth: number): JsonObject {
    const found: JsonObject = new Map();
    this.at++;
    if (this.taken("}")) return found;
    do {
      this.space();
      if (this.text[this.at] !== '"') this.fail("expected a key");
      const key = this.string();
      if (found.has(key)) this.fail(`the key ${JSON.stringify(key.slice(0, 70))} twice in one object`);
      this.expect(":");
      found.set(key, this.value(depth + 1));
    } while (this.taken(","));
    this.expect("}");
    return found;
  }

  private list(depth: number): Json[] {
    const found: Json[] = [];
    this.at++;
    if (this.taken("]")) return found;
    do found.push(this.value(depth + 1));
    while (this.taken(","));
    this.expect("]");
    return found;
  }

  private number(): number | bigint {
    NUMBER.lastIndex = this.at;
    const match = NUMBER.exec(this.text);
    if (match === null) this.fail("expected a value");
    this.at = NUMBER.lastIndex;
    if (match[1] !== undefined || match[2] !== undefined) return Number(match[0]);
    if (match[0].length > MOST_DIGITS) this.fail(`a number of ${match[0].length} digits`);
    return BigInt(match[0]);
  }

  private string(): string {
    const parts: string[] = [];
    this.at++;
    for (;;) {
      PLAIN.lastIndex = this.at;
      const plain = PLAIN.exec(this.text)?.[0] ?? "";
      parts.push(plain);
      this.at += plain.length;
      const next = this.text[this.at];
      if (next === '"') break;
      if (next !== "\\") this.fail("a text that does not end");
      parts.push(this.escaped());
    }
    this.at++;
    const whole = parts.join("");
    if (/\p{Surrogate}/u.test(whole)) this.fail("half a character (a lone surrogate)");
    return whole;
  }

  private escaped(): string {
    const letter = this.text[this.at + 1] ?? "";
    this.at += 2;
    if (letter !== "u") return ESCAPES[letter] ?? this.fail("an unknown escape");
    HEX.lastIndex = this.at;
    const digits = HEX.exec(this.text)?.[0] ?? this.fail("an unknown escape");
    this.at += 4;
    return String.fromCharCode(Number.parseInt(digits, 16));
  }

  private space(): void {
    while (" \t\n\r".includes(this.text[this.at] ?? "?")) this.at++;
  }

  private taken(mark: string): boolean {
    this.space();
    if (this.text[this.at] !== mark) return false;
    this.at++;
    return true;
  }

  private expect(mark: string): void {
    if (!this.taken(mark)) this.fail(`expected '${mark}'`);
  }

  private fail(what: string): never {
    throw new NotJson(`${what} at character ${this.at}`);
  }
}
