import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { fileURLToPath } from 'node:url';
import { createGzip, gzipSync } from 'node:zlib';
import { compress as compressRaw } from 'snappy';
import { compressSnappy, decompress, maxDecompressedBytes } from '../../kafka/compression.ts';
import { compressedSamples } from './compressed-samples.ts';

const MiB = 1024 * 1024;
const [gzip, snappy, lz4, zstd] = [1, 2, 3, 4];

for (const { name, codec, bytes, plain } of compressedSamples) {
  test(`${name} decompresses to what it was made of`, () => {
    const decompressed = decompress(codec, bytes);
    assert.ok(Buffer.isBuffer(decompressed));
    assert.ok(decompressed.equals(plain));
  });

  test(`${name} is broken when it is cut, wherever`, () => {
    // Behind the last frame begins another, or nothing.
    const step = Math.ceil(bytes.length / 200);
    for (let end = bytes.length - 1; end > 0; end -= step) {
      const result = decompress(codec, bytes.subarray(0, end));
      const isShorter =
        Buffer.isBuffer(result) && name.includes('two-frames') && result.length < plain.length;
      assert.ok(isShorter || (!Buffer.isBuffer(result) && result.code === 'CORRUPT_BATCH'), `${end} bytes`);
    }
  });
}

test('what is not compressed stays as it is, and no codec is known beyond the fourth', () => {
  const bytes = Buffer.from('abc');
  assert.equal(decompress(0, bytes), bytes);
  assert.deepEqual(
    [5, 6, 7].map((codec) => decompress(codec, bytes)),
    [5, 6, 7].map((codec) => ({ code: 'UNKNOWN_CODEC', message: `codec ${codec} is none of Kafka's` })),
  );
});

test('gzip and snappy decompress to what they were made of, snappy in either framing', async () => {
  const { plain } = compressedSamples[0]!;
  const raw = await compressRaw(plain);
  const blocks = [plain.subarray(0, 50_000), plain.subarray(50_000)].map((block) =>
    compressSnappy(block).subarray(16),
  );
  const severalBlocks = Buffer.concat([compressSnappy(plain).subarray(0, 16), ...blocks]);
  for (const [codec, bytes] of [
    [gzip, gzipSync(plain)],
    [snappy, raw],
    [snappy, compressSnappy(plain)],
    [snappy, severalBlocks],
  ] as const) {
    const decompressed = decompress(codec, bytes);
    assert.ok(Buffer.isBuffer(decompressed) && decompressed.equals(plain));
  }
});

test('a block of zstd whose symbols take no bits is broken, and does not go on for ever', () => {
  // Weights of a Huffman tree, of one symbol that is certain: fzstd 0.1.1 never returns from this.
  const weights = [6, 0xf0, 0x03, 0xff, 0xff, 0xff, 0x80];
  const literals = [...weights, 1, 1, 1, 1];
  const header = 2 | (20 << 4) | (literals.length << 14);
  const block = [header & 255, (header >> 8) & 255, header >> 16, ...literals, 0];
  const frame = [
    0x28,
    0xb5,
    0x2f,
    0xfd,
    0x00,
    0x38,
    ((block.length << 3) | 5) & 255,
    block.length >> 5,
    0,
    ...block,
  ];
  assert.deepEqual(decompress(4, Buffer.from(frame)), {
    code: 'CORRUPT_BATCH',
    message: 'its zstd data is broken',
  });
});

/** A MiB of zeros in each codec, as often as asked for. */
const zeros: Record<string, (mebibytes: number) => Promise<Buffer>> = {
  gzip: async (mebibytes) => {
    const stream = createGzip();
    void (async () => {
      for (let i = 0; i < mebibytes; i++) {
        if (!stream.write(Buffer.alloc(MiB))) await new Promise((resolve) => stream.once('drain', resolve));
      }
      stream.end();
    })();
    return Buffer.concat(await stream.toArray());
  },
  snappy: (mebibytes) => {
    const one = compressSnappy(Buffer.alloc(MiB));
    return Promise.resolve(
      Buffer.concat([one.subarray(0, 16), ...new Array<Buffer>(mebibytes).fill(one.subarray(16))]),
    );
  },
  lz4: (mebibytes) => Promise.resolve(frames('zeros.lz4', mebibytes)),
  zstd: (mebibytes) => Promise.resolve(frames('zeros.19.zst', mebibytes)),
};
const codecs = { gzip, snappy, lz4, zstd };

function frames(sample: string, count: number): Buffer {
  const { bytes } = compressedSamples.find(({ name }) => name === sample)!;
  return Buffer.concat(new Array<Buffer>(count).fill(bytes));
}

const folder = mkdtempSync(join(tmpdir(), 'compression-'));
after(() => rmSync(folder, { recursive: true }));

/** Decompresses in a process of its own, which tells what it came to and by how much its memory grew at most. */
async function measure(
  codec: number,
  bytes: Buffer,
): Promise<{ result: string | number; grownBytes: number }> {
  const file = join(folder, 'input');
  writeFileSync(file, bytes);
  const program = fileURLToPath(new URL('decompress-program.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--import',
    'tsx',
    program,
    String(codec),
    file,
  ]);
  return JSON.parse(stdout) as { result: string | number; grownBytes: number };
}

for (const [name, make] of Object.entries(zeros)) {
  const codec = codecs[name as keyof typeof codecs];

  test(`1 GiB of zeros in ${name} is refused, and takes no more memory than the limit`, async () => {
    const { result, grownBytes } = await measure(codec, await make(1_024));
    assert.equal(result, 'BATCH_TOO_LARGE');
    assert.ok(grownBytes < 200 * MiB, `${grownBytes / MiB} MiB`);
  });

  test(`just the limit of zeros in ${name} is decompressed`, async () => {
    const decompressed = decompress(codec, await make(maxDecompressedBytes / MiB));
    assert.equal(Buffer.isBuffer(decompressed) && decompressed.length, maxDecompressedBytes);
  });
}

const claims: readonly (readonly [string, number, number[], string])[] = [
  ['a block of snappy that claims 1 GiB', 2, [0x80, 0x80, 0x80, 0x80, 0x04, 0x00, 0x61], 'BATCH_TOO_LARGE'],
  [
    'a frame of lz4 that claims 64 GiB',
    3,
    [0x04, 0x22, 0x4d, 0x18, 0x68, 0x40, 0, 0, 0, 0, 16, 0, 0, 0, 0, 1, 0, 0, 0x80, 0x61, 0, 0, 0, 0],
    'CORRUPT_BATCH',
  ],
  [
    'a frame of zstd that claims 64 GiB',
    4,
    [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 16, 0, 0, 0, 0x09, 0, 0, 0x61],
    'CORRUPT_BATCH',
  ],
];
for (const [what, codec, bytes, code] of claims) {
  test(`${what} takes none of it`, async () => {
    const { result, grownBytes } = await measure(codec, Buffer.from(bytes));
    assert.equal(result, code);
    assert.ok(grownBytes < 64 * MiB, `${grownBytes / MiB} MiB`);
  });
}

test('a frame of zstd that claims a window of 3.75 TiB is decompressed, and takes none of it', async () => {
  const bytes = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0xff, 0x09, 0, 0, 0x61]);
  assert.deepEqual(decompress(4, bytes), Buffer.from('a'));
  assert.ok((await measure(4, bytes)).grownBytes < 64 * MiB);
});
