import { describe, expect, test } from "vitest";

import { NotJson, parseJson, type Json } from "../src/json.js";

function plain(value: Json): unknown {
  if (value instanceof Map) return Object.fromEntries(Array.from(value, ([key, one]) => [key, plain(one)]));
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === "bigint" ? Number(value) : value;
}

describe("parseJson", () => {
  test.each([
    '{"a": [1, -2.5, 1e3, true, false, null], "b": {"c": "\\u00e9\\n\\"\\\\\\/\\ud83d\\ude00 😀"}}',
    " [ ] ",
    "{}",
    '"x"',
    "0",
    "-0.0",
    '[[[["deep"]]], {"": {"": ""}}]',
  ])("reads %s as JSON.parse does", (text) => {
    expect(plain(parseJson(text))).toEqual(JSON.parse(text));
  });

  test("tells whole numbers from others", () => {
    expect(parseJson("[1, 1.0, 1e0, 9007199254740993]")).toEqual([1n, 1, 1, 9007199254740993n]);
  });

  test("takes __proto__ for a key like others", () => {
    expect([...(parseJson('{"__proto__": 1}') as Map<string, Json>)]).toEqual([["__proto__", 1n]]);
  });

  test.each([
    ['{"a": 1, "a": 2}', /key "a" twice/],
    ['"\\ud800"', /half a character/],
    ['"\\ud800\\u0041"', /half a character/],
    ["NaN", /expected a value/],
    ["[1, Infinity]", /expected a value/],
    ["[1,]", /expected a value/],
    ["[1] 2", /more after its end/],
    ["01", /more after its end/],
    ['{"a" 1}', /expected ':'/],
    ["{a: 1}", /expected a key/],
    ['"a\nb"', /does not end/],
    ['"a', /does not end/],
    ['"\\x"', /unknown escape/],
    ["", /expected a value/],
    ["9".repeat(5000), /5000 digits/],
    ["[".repeat(100_000) + "]".repeat(100_000), /within each other/],
  ])("refuses %.30s", (text, why) => {
    expect(() => parseJson(text)).toThrow(NotJson);
    expect(() => parseJson(text)).toThrow(why);
  });
});
