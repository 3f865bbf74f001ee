import { randomBytes } from 'node:crypto';
import { StreamsError } from './errors.ts';

/*
 * Entries lie in pages of memory outside of the engine's heap, one behind the other, and two arrays of numbers find them. As
 * objects, millions of entries would take 100 bytes more each, and the collector would look at all of them again and again.
 *
 * An entry begins at a unit of 8 bytes:
 *   word 0  its length in units
 *   word 1  bytes of its key + 1, or 0 when it is dead
 *   word 2  bytes of its value
 *   word 3  its timestamp, the upper 32 bits
 *   word 4  and the lower ones
 *   then key and value
 *
 * What is deleted, or replaced by something of another length, is dead. A page that is more than half dead, and not the one
 * that is being filled, gives its living entries to others and goes: so the dead never take more than the living, and
 * moving an entry has been paid for by one that died.
 */
const unitBytes = 8;
const headerBytes = 20;
const minPageUnits = 512;
const maxPageUnits = 2 ** 17;
/** A place is page * maxPageUnits + unit, and one more than it has to fit into 32 bits. */
const maxPages = 2 ** 15 - 1;
/** Strangers choose ids that become keys; they must not be able to choose such that fall together. */
const seed = randomBytes(4).readUInt32LE();

interface Page {
  readonly bytes: Buffer;
  /** The same memory. */
  readonly words: Uint32Array;
  readonly units: number;
  used: number;
  living: number;
}

/** A map of byte strings to byte strings with a timestamp: entries of the state of a task. Iterates in no particular order. */
export class ByteMap {
  readonly #pages: (Page | undefined)[] = [];
  readonly #freeNumbers: number[] = [];
  /** The number of the page that is being filled. */
  #open = -1;
  /** By slot: the hash of a key, and 1 + the place of its entry or 0. A key lies in the first free slot from its hash on. */
  #hashes = new Uint32Array(16);
  #places = new Uint32Array(16);
  #size = 0;
  #bytes = 0;
  #livingUnits = 0;

  get size(): number {
    return this.#size;
  }

  /** Bytes of keys and values. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes of memory for all this. */
  get allocatedBytes(): number {
    const units = this.#pages.reduce((sum, page) => sum + (page?.units ?? 0), 0);
    return units * unitBytes + this.#hashes.byteLength + this.#places.byteLength;
  }

  /** Where the entry of a key is, for the methods below and until the next change; undefined when there is none. */
  find(key: Buffer): number | undefined {
    const slot = this.#slotOf(key, hashOf(key, 0, key.length));
    return slot < 0 ? undefined : (this.#places[slot] ?? 0) - 1;
  }

  /** A copy. */
  keyAt(place: number): Buffer {
    const { page, word, start } = this.#at(place);
    return copyOf(page.bytes, start, keyLength(page, word));
  }

  /** A copy. */
  valueAt(place: number): Buffer {
    const { page, word, start } = this.#at(place);
    return copyOf(page.bytes, start + keyLength(page, word), page.words[word + 2] ?? 0);
  }

  timestampAt(place: number): number {
    const { page, word } = this.#at(place);
    return (page.words[word + 3] ?? 0) * 2 ** 32 + (page.words[word + 4] ?? 0);
  }

  /** @param timestamp - a whole number from 0 to 2^53 - 1. */
  set(key: Buffer, value: Buffer, timestamp: number): void {
    const hash = hashOf(key, 0, key.length);
    let slot = this.#slotOf(key, hash);
    const units = Math.ceil((headerBytes + key.length + value.length) / unitBytes);
    if (slot < 0) {
      if ((this.#size + 1) * 4 > this.#places.length * 3) {
        this.#grow();
        slot = this.#slotOf(key, hash);
      }
      const place = this.#append(key, value, timestamp, units);
      this.#hashes[~slot] = hash;
      this.#places[~slot] = place + 1;
      this.#size += 1;
      this.#bytes += key.length + value.length;
      return;
    }
    const { page, word } = this.#at((this.#places[slot] ?? 0) - 1);
    this.#bytes += value.length - (page.words[word + 2] ?? 0);
    if (page.words[word] === units) {
      writeEntry(page, word, units, key, value, timestamp);
      return;
    }
    const place = this.#append(key, value, timestamp, units);
    // Only now: room for the new one may have been made by moving the old one.
    const old = (this.#places[slot] ?? 0) - 1;
    this.#places[slot] = place + 1;
    this.#bury(old);
  }

  /** Whether there was one. */
  delete(key: Buffer): boolean {
    const slot = this.#slotOf(key, hashOf(key, 0, key.length));
    if (slot < 0) return false;
    const place = (this.#places[slot] ?? 0) - 1;
    const { page, word } = this.#at(place);
    this.#size -= 1;
    this.#bytes -= keyLength(page, word) + (page.words[word + 2] ?? 0);
    this.#freeSlot(slot);
    this.#bury(place);
    return true;
  }

  /**
   * Shows the places of `limit` entries, from a position on that the call before answered, at first 0. Answers 0 behind the
   * last one. Entries that are set or deleted between two calls may make it miss others.
   */
  scan(from: number, limit: number, visit: (place: number) => void): number {
    let seen = 0;
    for (let slot = from; slot < this.#places.length; slot += 1) {
      const place = (this.#places[slot] ?? 0) - 1;
      if (place === -1) continue;
      if (seen === limit) return slot;
      seen += 1;
      visit(place);
    }
    return 0;
  }

  /** The places of all entries; there may be no change meanwhile. */
  *places(): Generator<number> {
    for (const place of this.#places) if (place !== 0) yield place - 1;
  }

  /** The slot of a key, or `~` of the one where it would be. */
  #slotOf(key: Buffer, hash: number): number {
    const mask = this.#places.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const place = (this.#places[slot] ?? 0) - 1;
      if (place === -1) return ~slot;
      if (this.#hashes[slot] === hash && this.#isKeyAt(place, key)) return slot;
    }
  }

  #isKeyAt(place: number, key: Buffer): boolean {
    const { page, word, start } = this.#at(place);
    if (keyLength(page, word) !== key.length) return false;
    for (let at = 0; at < key.length; at += 1) if (page.bytes[start + at] !== key[at]) return false;
    return true;
  }

  #at(place: number): { page: Page; word: number; start: number } {
    const page = this.#pages[Math.floor(place / maxPageUnits)];
    if (page === undefined)
      throw new StreamsError('INVARIANT', 'a place of an entry lies outside of the pages');
    const unit = place % maxPageUnits;
    return { page, word: unit * 2, start: unit * unitBytes + headerBytes };
  }

  #grow(): void {
    const [hashes, places] = [this.#hashes, this.#places];
    this.#hashes = new Uint32Array(2 * hashes.length);
    this.#places = new Uint32Array(2 * places.length);
    const mask = this.#places.length - 1;
    for (let at = 0; at < places.length; at += 1) {
      const place = places[at] ?? 0;
      if (place === 0) continue;
      const hash = hashes[at] ?? 0;
      let slot = hash & mask;
      while (this.#places[slot] !== 0) slot = (slot + 1) & mask;
      this.#hashes[slot] = hash;
      this.#places[slot] = place;
    }
  }

  /** Frees a slot, and moves those behind it up that a look-up would not find any more. */
  #freeSlot(slot: number): void {
    const mask = this.#places.length - 1;
    let free = slot;
    for (let next = (free + 1) & mask; this.#places[next] !== 0; next = (next + 1) & mask) {
      const hash = this.#hashes[next] ?? 0;
      if (((next - hash) & mask) < ((next - free) & mask)) continue;
      this.#hashes[free] = hash;
      this.#places[free] = this.#places[next] ?? 0;
      free = next;
    }
    this.#places[free] = 0;
  }

  #append(key: Buffer, value: Buffer, timestamp: number, units: number): number {
    let number = this.#open;
    let page = this.#pages[number];
    let full = -1;
    if (page === undefined || page.used + units > page.units) {
      const pageUnits = this.#pageUnits();
      // A large entry has a page of its own: it would leave too much of one that is begun for it empty.
      const isLarge = units * 4 > pageUnits;
      number = this.#newPage(isLarge ? units : pageUnits);
      page = this.#pages[number];
      if (!isLarge) [full, this.#open] = [this.#open, number];
    }
    if (page === undefined) throw new StreamsError('INVARIANT', 'a new page is not there');
    const unit = page.used;
    writeEntry(page, unit * 2, units, key, value, timestamp);
    page.used += units;
    page.living += units;
    this.#livingUnits += units;
    if (full !== -1) this.#tidy(full);
    return number * maxPageUnits + unit;
  }

  /** Small maps have small pages: there are stores by the hundred that hold next to nothing. */
  #pageUnits(): number {
    let units = minPageUnits;
    while (units < maxPageUnits && units * 4 < this.#livingUnits) units *= 2;
    return units;
  }

  #newPage(units: number): number {
    const number = this.#freeNumbers.pop() ?? this.#pages.length;
    if (number >= maxPages)
      throw new StreamsError('INVARIANT', 'a store is larger than 32 GiB in one partition');
    const memory = new ArrayBuffer(units * unitBytes);
    this.#pages[number] = {
      bytes: Buffer.from(memory),
      words: new Uint32Array(memory),
      units,
      used: 0,
      living: 0,
    };
    return number;
  }

  #bury(place: number): void {
    const { page, word } = this.#at(place);
    this.#markDead(page, word);
    this.#tidy(Math.floor(place / maxPageUnits));
  }

  #markDead(page: Page, word: number): void {
    const units = page.words[word] ?? 0;
    page.words[word + 1] = 0;
    page.living -= units;
    this.#livingUnits -= units;
  }

  /** Moves the living out of a page that is mostly dead, and gives the page back. */
  #tidy(number: number): void {
    const page = this.#pages[number];
    if (page === undefined || number === this.#open || page.living * 2 >= page.used) return;
    for (let unit = 0; unit < page.used; unit += page.words[unit * 2] ?? 0) {
      const word = unit * 2;
      if (page.words[word + 1] === 0) continue;
      this.#move(number * maxPageUnits + unit, page, word);
    }
    this.#pages[number] = undefined;
    this.#freeNumbers.push(number);
  }

  #move(place: number, page: Page, word: number): void {
    const start = word * 4 + headerBytes;
    const end = start + keyLength(page, word);
    const units = page.words[word] ?? 0;
    const key = page.bytes.subarray(start, end);
    const value = page.bytes.subarray(end, end + (page.words[word + 2] ?? 0));
    const mask = this.#places.length - 1;
    let slot = hashOf(page.bytes, start, end) & mask;
    while (this.#places[slot] !== place + 1) slot = (slot + 1) & mask;
    this.#places[slot] = this.#append(key, value, this.timestampAt(place), units) + 1;
    this.#markDead(page, word);
  }
}

function writeEntry(
  { bytes, words }: Page,
  word: number,
  units: number,
  key: Buffer,
  value: Buffer,
  timestamp: number,
): void {
  words[word] = units;
  words[word + 1] = key.length + 1;
  words[word + 2] = value.length;
  words[word + 3] = Math.floor(timestamp / 2 ** 32);
  words[word + 4] = timestamp % 2 ** 32;
  const start = word * 4 + headerBytes;
  key.copy(bytes, start);
  value.copy(bytes, start + key.length);
}

function keyLength({ words }: Page, word: number): number {
  return (words[word + 1] ?? 0) - 1;
}

function copyOf(bytes: Buffer, start: number, length: number): Buffer {
  const copy = Buffer.allocUnsafe(length);
  bytes.copy(copy, 0, start, start + length);
  return copy;
}

/** FNV-1a from a secret start, with its upper bits mixed into the lower ones, which choose the slot. */
function hashOf(bytes: Buffer, start: number, end: number): number {
  let hash = seed;
  for (let at = start; at < end; at += 1) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  // 31 bits, which the engine keeps as they are.
  return (hash ^ (hash >>> 13)) & 0x7fffffff;
}
