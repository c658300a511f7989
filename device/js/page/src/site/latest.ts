// Asks for the newest only: while an answer is awaited, what comes in between is dropped.

export class Latest<Given, Gives> {
  private running = false;
  private next: { readonly given: Given } | null = null;
  private generation = 0;

  constructor(
    private readonly ask: (given: Given) => Promise<Gives>,
    private readonly hear: (gives: Gives, given: Given) => void,
    private readonly fail: (error: unknown) => void,
  ) {}

  put(given: Given): void {
    this.next = { given };
    if (!this.running) void this.run();
  }

  /** What is under way is not heard any more. */
  drop(): void {
    this.next = null;
    this.generation++;
  }

  private async run(): Promise<void> {
    this.running = true;
    while (this.next !== null) {
      const { given } = this.next;
      const { generation } = this;
      this.next = null;
      try {
        const gives = await this.ask(given);
        if (generation === this.generation) this.hear(gives, given);
      } catch (error) {
        if (generation === this.generation) this.fail(error);
      }
    }
    this.running = false;
  }
}
