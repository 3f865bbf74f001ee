/** The CRC-32C checksum (Castagnoli), which protects every record batch. */

const polynomial = 0x82f63b78; // reflected
const blockSize = 16;

// Slicing-by-16: `tables[i]` tells what a byte makes of the checksum when i more bytes follow it in its block. About
// 1.5 GB/s, some 3 % of decoding; a native module would be one more thing to install.
const tables = Array.from({ length: blockSize }, () => new Int32Array(256));
const table = (i: number): Int32Array => tables[i] ?? new Int32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
  table(0)[byte] = crc;
}
for (let i = 1; i < blockSize; i++) {
  for (let byte = 0; byte < 256; byte++) {
    const crc = table(i - 1)[byte] ?? 0;
    table(i)[byte] = (table(0)[crc & 0xff] ?? 0) ^ (crc >>> 8);
  }
}
const [t0, t1, t2, t3, t4, t5, t6, t7] = [0, 1, 2, 3, 4, 5, 6, 7].map(table) as Eight;
const [t8, t9, t10, t11, t12, t13, t14, t15] = [8, 9, 10, 11, 12, 13, 14, 15].map(table) as Eight;
type Eight = [Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array];

/** The checksum of `bytes`, unsigned. */
export function crc32c(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const endOfBlocks = bytes.length - (bytes.length % blockSize);
  let crc = -1;
  let at = 0;
  for (; at < endOfBlocks; at += blockSize) {
    const a = crc ^ view.getInt32(at, true);
    const b = view.getInt32(at + 4, true);
    const c = view.getInt32(at + 8, true);
    const d = view.getInt32(at + 12, true);
    crc =
      (t15[a & 0xff] ?? 0) ^
      (t14[(a >>> 8) & 0xff] ?? 0) ^
      (t13[(a >>> 16) & 0xff] ?? 0) ^
      (t12[a >>> 24] ?? 0) ^
      (t11[b & 0xff] ?? 0) ^
      (t10[(b >>> 8) & 0xff] ?? 0) ^
      (t9[(b >>> 16) & 0xff] ?? 0) ^
      (t8[b >>> 24] ?? 0) ^
      (t7[c & 0xff] ?? 0) ^
      (t6[(c >>> 8) & 0xff] ?? 0) ^
      (t5[(c >>> 16) & 0xff] ?? 0) ^
      (t4[c >>> 24] ?? 0) ^
      (t3[d & 0xff] ?? 0) ^
      (t2[(d >>> 8) & 0xff] ?? 0) ^
      (t1[(d >>> 16) & 0xff] ?? 0) ^
      (t0[d >>> 24] ?? 0);
  }
  for (; at < bytes.length; at++) crc = (t0[(crc ^ (bytes[at] ?? 0)) & 0xff] ?? 0) ^ (crc >>> 8);
  return ~crc >>> 0;
}
