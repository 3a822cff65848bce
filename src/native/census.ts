/** How many of something there may be at once. */
export interface CensusLimits {
  /** Those who showed a certificate that holds. */
  readonly certifiedMax: number;
  /** Those who wait for their handshake to begin, and cost next to nothing. */
  readonly waitingMax: number;
  /** Everybody else, those that still shake hands among them. */
  readonly anonymousMax: number;
  /** Both of these, of one address: one stranger must not take the places of all the others. */
  readonly anonymousPerAddressMax: number;
}

/**
 * Who is connected, counted apart: strangers, however many come, take no place from those who showed
 * who they are. Connections are named by whoever counts them.
 */
export class Census {
  readonly #limits: CensusLimits;
  /** Address of each connection without a certificate, those that wait among them. */
  readonly #anonymous = new Map<string, string>();
  readonly #waiting = new Set<string>();
  readonly #byAddress = new Map<string, number>();
  readonly #certified = new Set<string>();

  constructor(limits: CensusLimits) {
    this.#limits = limits;
  }

  /** A connection came, as anybody's, and waits. False: there is no place for it, and it is not counted. */
  enter(connection: string, address: string): boolean {
    const { waitingMax, anonymousPerAddressMax } = this.#limits;
    const here = this.#byAddress.get(address) ?? 0;
    if (this.#waiting.size >= waitingMax || here >= anonymousPerAddressMax) return false;
    this.#anonymous.set(connection, address);
    this.#byAddress.set(address, here + 1);
    this.#waiting.add(connection);
    return true;
  }

  /** Whether one of those that wait may begin. */
  get hasPlace(): boolean {
    return this.#anonymous.size - this.#waiting.size < this.#limits.anonymousMax;
  }

  /** It waits no longer. */
  begin(connection: string): void {
    this.#waiting.delete(connection);
  }

  /** It showed a certificate. False: there is no place for it among those; it must end. */
  certify(connection: string): boolean {
    if (this.#certified.size >= this.#limits.certifiedMax) return false;
    this.#forget(connection);
    this.#certified.add(connection);
    return true;
  }

  leave(connection: string): void {
    this.#certified.delete(connection);
    this.#forget(connection);
  }

  #forget(connection: string): void {
    const address = this.#anonymous.get(connection);
    if (address === undefined) return;
    this.#waiting.delete(connection);
    this.#anonymous.delete(connection);
    const left = (this.#byAddress.get(address) ?? 1) - 1;
    if (left === 0) this.#byAddress.delete(address);
    else this.#byAddress.set(address, left);
  }
}
