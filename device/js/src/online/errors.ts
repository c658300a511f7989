// Failures of asking: those that pass by themselves, and those that somebody must do something about.

/** The service cannot be asked this way; one line. What waits goes on waiting. */
export class AskError extends Error {
  override readonly name: string = "AskError";
}

/** It may be asked later: `after` seconds, where the service said so. */
export class NotNow extends AskError {
  override readonly name = "NotNow";

  constructor(
    why: string,
    readonly after: number | null = null,
  ) {
    super(why);
  }
}

/** The service refuses these samples for what they are, or for how many they are. */
export class NotTaken extends AskError {
  override readonly name = "NotTaken";
}
