/** Decompresses a file with a codec, and tells what came of it and by how much the memory of the process grew at most. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { decompress } from '../../kafka/compression.ts';

const onLinux = existsSync('/proc/self/clear_refs');

/** The most memory that the process has had: on Linux since this was reset, elsewhere since it began. */
function peakBytes(): number {
  if (!onLinux) return process.resourceUsage().maxRSS * 1024;
  const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))!;
  return Number(kibibytes) * 1024;
}

const [codec, file] = process.argv.slice(2);
const bytes = readFileSync(file!);
if (onLinux) writeFileSync('/proc/self/clear_refs', '5');
const before = process.memoryUsage().rss;
const result = decompress(Number(codec), bytes);
const grownBytes = peakBytes() - before;
console.log(JSON.stringify({ result: Buffer.isBuffer(result) ? result.length : result.code, grownBytes }));
