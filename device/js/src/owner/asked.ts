// Which of the owner's samples the mentor's service is to be asked about, and what has left the device for it: numbers and times,
// nothing of a sample's content. The Python program has the same (state/asked.py), and a state file carries it.

/** `waiting`: numbers of samples, oldest choice first. `left`: when each sample that is still stored last left the device.
 * `sent`: how often any sample left it, `sentBytes` in how many bytes. `refused`: samples that the service does not take, and
 * why. `tries`: failures since the last answer; `notBefore`: seconds since 1970 until which the service is left alone, for the
 * reason `why`. */
export interface Asked {
  readonly waiting: readonly number[];
  readonly left: Readonly<Record<string, string>>;
  readonly refused: Readonly<Record<string, string>>;
  readonly sent: number;
  readonly sentBytes: number;
  readonly answered: number;
  readonly last: string;
  readonly service: string;
  readonly tries: number;
  readonly notBefore: number;
  readonly why: string;
}

export const NOTHING_ASKED: Asked = {
  waiting: [],
  left: {},
  refused: {},
  sent: 0,
  sentBytes: 0,
  answered: 0,
  last: "",
  service: "",
  tries: 0,
  notBefore: 0,
  why: "",
};

/** What is said of samples that are `there`; `left` of all that are `stored`, set aside ones as well. Counts stay. */
export function only(asked: Asked, there: ReadonlySet<number>, stored: ReadonlySet<number>): Asked {
  return {
    ...asked,
    waiting: asked.waiting.filter((number) => there.has(number)),
    left: rows(asked.left, stored),
    refused: rows(asked.refused, there),
  };
}

/** Nobody waits any more: a choice holds for the mentor it was made for. */
export function forgotten(asked: Asked): Asked {
  return { ...asked, waiting: [], refused: {}, tries: 0, notBefore: 0, why: "" };
}

function rows(of: Readonly<Record<string, string>>, numbers: ReadonlySet<number>): Record<string, string> {
  return Object.fromEntries(Object.entries(of).filter(([number]) => numbers.has(Number(number))));
}
