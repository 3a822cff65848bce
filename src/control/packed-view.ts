import { OrganismView } from "../domain/organism.ts";

/**
 * The views of the organisms of one tenant: each is kept in one piece of memory, where its fields would be
 * eighty, but for those that were opened last. Of ten thousand that beat every ten seconds few are asked
 * for at once, and what is asked for within a moment is read and written once.
 */
export class PackedViews {
  readonly #open: (PackedView | undefined)[];
  #next = 0;

  /** @param openMax how many are open at once, at least 1. */
  constructor(openMax: number) {
    this.#open = Array.from({ length: openMax });
  }

  add(view: OrganismView): PackedView {
    return new PackedView(view, this);
  }

  /** For `PackedView`: this one lies open, and another does not any more. */
  opened(view: PackedView): void {
    this.#open[this.#next]?.pack();
    this.#open[this.#next] = view;
    this.#next = (this.#next + 1) % this.#open.length;
  }
}

/**
 * The view of one organism. What `get` gave must not be changed, and no part of it kept for long: it lies in
 * one piece.
 */
export class PackedView {
  readonly #views: PackedViews;
  #view: OrganismView | null;
  /** Its encoding; null: it has changed since. */
  #bytes: Uint8Array | null = null;
  /** It is one of those that were opened last. */
  #isListed = true;
  /** The same object for all that are under one grant: what is derived from it is remembered by it. */
  #liveness: OrganismView["liveness"];
  #state: OrganismView["state"];
  /** Whether it is left open, whoever else is asked for: whoever is looked at each second is not read each second. */
  isLeftOpen = false;

  constructor(view: OrganismView, views: PackedViews) {
    this.#views = views;
    this.#view = view;
    this.#liveness = view.liveness;
    this.#state = view.state;
    views.opened(this);
  }

  /** Everybody's is asked for each second. */
  get state(): OrganismView["state"] {
    return this.#state;
  }

  get(): OrganismView {
    if (this.#view === null) {
      this.#view = OrganismView.view(this.bytes());
      this.#view.liveness = this.#liveness;
    }
    this.#list();
    return this.#view;
  }

  set(view: OrganismView): void {
    // What was refused has changed nothing.
    if (view === this.#view) return;
    this.#view = view;
    this.#bytes = null;
    this.#liveness = view.liveness;
    this.#state = view.state;
    this.#list();
  }

  /** OrganismView, encoded, in memory of its own. */
  bytes(): Uint8Array {
    this.#bytes ??= OrganismView.encode(this.#view as OrganismView).slice();
    return this.#bytes;
  }

  /** For `PackedViews`. */
  pack(): void {
    this.#isListed = false;
    if (this.isLeftOpen) return;
    this.bytes();
    this.#view = null;
  }

  #list(): void {
    if (this.#isListed) return;
    this.#isListed = true;
    this.#views.opened(this);
  }
}
