import { randomBytes } from 'node:crypto';
import { StreamsError } from './errors.ts';

/*
 * Entries lie one after the other in pages of memory outside of the engine's heap; two arrays of numbers index them. As
 * objects, millions of entries would take 100 bytes more each, and the garbage collector would visit all of them again
 * and again.
 *
 * An entry begins at a unit of 8 bytes:
 *   word 0  its length in units
 *   word 1  bytes of its key + 1, or 0 when it is dead
 *   word 2  bytes of its value
 *   word 3  the upper 32 bits of its timestamp
 *   word 4  the lower ones
 *   then key and value
 *
 * A deleted entry is dead, and so is one that was replaced by an entry of another length. When more than half of a page
 * is dead and it is not the one being filled, its living entries move to another page and it is freed. So the dead
 * never take more memory than the living, and each move was paid for by an entry that died.
 */
const unitBytes = 8;
const headerBytes = 20;
const minPageUnits = 512;
const maxPageUnits = 2 ** 17;
/** A place is page * maxPageUnits + unit, and place + 1 must fit into 32 bits. */
const maxPages = 2 ** 15 - 1;
/** Secret, because callers choose ids that become keys and must not be able to make their hashes collide. */
const seed = randomBytes(4).readUInt32LE();

interface Page {
  readonly bytes: Buffer;
  /** The same memory as `bytes`. */
  readonly words: Uint32Array;
  readonly units: number;
  used: number;
  living: number;
}

/** A map of byte strings to byte strings with a timestamp: the entries of a store. Its order is unspecified. */
export class ByteMap {
  readonly #pages: (Page | undefined)[] = [];
  readonly #freeNumbers: number[] = [];
  /** The number of the page being filled. */
  #open = -1;
  /** By slot: a key's hash, and the place of its entry + 1, or 0. A key takes the first free slot from its hash on. */
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

  /** Bytes of memory of pages and index. */
  get allocatedBytes(): number {
    const units = this.#pages.reduce((sum, page) => sum + (page?.units ?? 0), 0);
    return units * unitBytes + this.#hashes.byteLength + this.#places.byteLength;
  }

  /** The place of a key's entry, valid until the next change; undefined when there is none. */
  find(key: Buffer): number | undefined {
    const slot = this.#slotOf(key, hashOf(key, 0, key.length));
    return slot < 0 ? undefined : (this.#places[slot] ?? 0) - 1;
  }

  /** A copy of a key's value; undefined when it has none. */
  get(key: Buffer): Buffer | undefined {
    const place = this.find(key);
    return place === undefined ? undefined : this.valueAt(place);
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

  /** Whether an entry has this value. */
  isValueAt(place: number, value: Buffer): boolean {
    const { page, word, start } = this.#at(place);
    const from = start + keyLength(page, word);
    const end = from + (page.words[word + 2] ?? 0);
    return page.bytes.compare(value, 0, value.length, from, end) === 0;
  }

  timestampAt(place: number): number {
    const { page, word } = this.#at(place);
    return (page.words[word + 3] ?? 0) * 2 ** 32 + (page.words[word + 4] ?? 0);
  }

  /** @param timestamp - an integer from 0 to 2^53 - 1. */
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
    // Read again, because making room for the new entry may have moved the old one.
    const old = (this.#places[slot] ?? 0) - 1;
    this.#places[slot] = place + 1;
    this.#bury(old);
  }

  /** Answers whether the key had an entry. */
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
   * Visits the places of `limit` entries from position `from`: 0, or the answer of the previous call. Answers 0 after
   * the last entry. Changes between two calls may make it miss entries.
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

  /** The places of all entries. Do not change the map meanwhile. */
  *places(): Generator<number> {
    for (const place of this.#places) if (place !== 0) yield place - 1;
  }

  /** The slot of a key, or `~` of the slot where it belongs. */
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
      throw new StreamsError('INVARIANT', 'the place of an entry lies outside of the pages');
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

  /** Frees a slot, and moves up the slots behind it that a look-up would no longer find. */
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
      // A large entry gets a page of its own: in a shared one it would leave too much space unused.
      const isLarge = units * 4 > pageUnits;
      number = this.#newPage(isLarge ? units : pageUnits);
      page = this.#pages[number];
      if (!isLarge) [full, this.#open] = [this.#open, number];
    }
    if (page === undefined) throw new StreamsError('INVARIANT', 'a new page does not exist');
    const unit = page.used;
    writeEntry(page, unit * 2, units, key, value, timestamp);
    page.used += units;
    page.living += units;
    this.#livingUnits += units;
    if (full !== -1) this.#tidy(full);
    return number * maxPageUnits + unit;
  }

  /** Small maps get small pages, because hundreds of stores are almost empty. */
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

  /** Moves the living entries out of a page that is mostly dead, and frees the page. */
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

/** FNV-1a from a secret seed, with its upper bits mixed into the lower ones, which choose the slot. */
function hashOf(bytes: Buffer, start: number, end: number): number {
  let hash = seed;
  for (let at = start; at < end; at += 1) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  // 31 bits, which the engine stores without boxing.
  return (hash ^ (hash >>> 13)) & 0x7fffffff;
}
