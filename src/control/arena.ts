/** Memory that pieces are cut from. The kernel gives of it what is written to. */
const PAGE_BYTES = 256 * 1024;
/** Pieces have room for a multiple of so many bytes: what grows by a little stays where it lies, and so does what shrinks. */
const STEP_BYTES = 64;
/** More than the pieces of any page. */
const SLOTS = PAGE_BYTES / STEP_BYTES;

interface Page {
  readonly bytes: Uint8Array;
  /** Bytes of one piece of it. */
  readonly room: number;
  /** By slot, how long what lies there is. */
  readonly lengths: Uint32Array;
}

/**
 * Bytes that are kept of each of ten thousand organisms and written anew at every beat. They are written over
 * in place: an object for each of them would grow old within the ten seconds until the next, and V8 looks
 * for garbage by how much grows old.
 */
export class Arena {
  readonly #pages: Page[] = [];
  /** By room, the pieces that nobody has. */
  readonly #free = new Map<number, number[]>();

  cell(): Cell {
    return new Cell(this);
  }

  /**
   * For `Cell`: puts a copy in the place of what `piece` held, and tells where it lies by now.
   * @param piece as this told before; 0: it held nothing. Nobody may go by it any more.
   */
  put(piece: number, bytes: Uint8Array): number {
    let at = piece;
    if (at === 0 || this.#page(at).room < bytes.length) {
      if (at > 0) this.#freeOf(this.#page(at).room).push(at);
      const room = Math.max(1, Math.ceil(bytes.length / STEP_BYTES)) * STEP_BYTES;
      at = this.#freeOf(room).pop() ?? this.#open(room);
    }
    const { bytes: memory, room, lengths } = this.#page(at);
    const slot = at % SLOTS;
    memory.set(bytes, slot * room);
    lengths[slot] = bytes.length;
    return at;
  }

  /** For `Cell`: a copy of what `piece` holds. */
  get(piece: number): Uint8Array {
    const { bytes, room, lengths } = this.#page(piece);
    const slot = piece % SLOTS;
    return bytes.slice(slot * room, slot * room + (lengths[slot] as number));
  }

  /** Numbered from `SLOTS` on, page by page: no piece is 0. */
  #page(piece: number): Page {
    return this.#pages[Math.floor(piece / SLOTS) - 1] as Page;
  }

  #freeOf(room: number): number[] {
    const known = this.#free.get(room) ?? [];
    this.#free.set(room, known);
    return known;
  }

  /** Another page for pieces of this room; returns one of them. */
  #open(room: number): number {
    const slots = Math.max(1, Math.floor(PAGE_BYTES / room));
    const bytes = new Uint8Array(slots * room);
    const first = this.#pages.push({ bytes, room, lengths: new Uint32Array(slots) }) * SLOTS;
    const free = this.#freeOf(room);
    for (let slot = slots - 1; slot > 0; slot--) free.push(first + slot);
    return first;
  }
}

/** Holds some bytes, or none, in the memory of an arena. */
export class Cell {
  readonly #arena: Arena;
  #piece = 0;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  /** Keeps a copy of these, and nothing of what it held. */
  set(bytes: Uint8Array): void {
    this.#piece = this.#arena.put(this.#piece, bytes);
  }

  /** In memory of their own: they stay as they are, whatever is put in next. null: it holds none. */
  get(): Uint8Array | null {
    return this.#piece === 0 ? null : this.#arena.get(this.#piece);
  }
}
