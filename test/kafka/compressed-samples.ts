/**
 * What the reference programs (zstd 1.5, lz4 1.9) wrote: test/golden/compressed. Their names say how: streamed input
 * has no content size, `-ultra -22` claims a window of 128 MiB, and the two frames have one to skip around them.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

const folder = fileURLToPath(new URL('../golden/compressed/', import.meta.url));
const read = (file: string): Buffer => readFileSync(folder + file);

const plain: Record<string, Buffer> = {
  records: gunzipSync(read('records.txt.gz')),
  skewed: gunzipSync(read('skewed.gz')),
  zeros: Buffer.alloc(1024 * 1024),
};

export const compressedSamples = readdirSync(folder)
  .filter((name) => !name.endsWith('.gz'))
  .map((name) => ({
    name,
    codec: name.endsWith('.lz4') ? 3 : 4,
    bytes: read(name),
    plain: plain[name.slice(0, name.indexOf('.'))]!,
  }));
