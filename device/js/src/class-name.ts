// What a class may be called. The Python program has the same rule (state/class_names.py): it asks only what every version of Unicode says alike,
// so that a name which one device takes no other refuses.

const LONGEST = 100; // characters
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\p{Zs}]/u;
const JOINING = /[ \u200d\u{e0020}-\u{e007f}]/gu; // a space, and what emoji are put together with

/** In words. */
export const CLASS_NAME = `1 to ${LONGEST} printable characters without space around them`;

/** Whether `name` is one: emoji are, of several code points too. */
export function isClassName(name: unknown): name is string {
  if (typeof name !== "string" || !name || name !== name.trim()) return false;
  return (
    [...name].length <= LONGEST && !UNSEEN.test(name.replace(JOINING, "")) && /[^\u200d\u{e0020}-\u{e007f}]/u.test(name)
  );
}
