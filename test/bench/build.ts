/** Builds what is measured: sources through a loader are not what operators run. */
import { join } from 'node:path';
import { projectRoot } from '../../process/root.ts';
import type { Bench } from './bench.ts';
import type { Processes } from './processes.ts';

/** Builds dist/, and the programs of the bench. */
export async function build(processes: Processes, progress: (line: string) => void): Promise<void> {
  const compiler = join(projectRoot(), 'node_modules', 'typescript', 'bin', 'tsc');
  progress('building dist and the programs of the bench');
  const projects = ['tsconfig.build.json', 'tsconfig.bench.json'];
  await Promise.all(
    projects.map((project) =>
      processes.run('tsc', { command: process.execPath, args: [compiler, '-p', project] }),
    ),
  );
}

/** Lets the peer for the topology build itself, which is not to be counted in its first run. */
export async function buildPeers({ peers, processes, brokers, progress }: Bench): Promise<void> {
  const nothing = { brokers, count: 0, partitions: 1, topics: 'bench-peers-are-built' };
  const launch = peers.kafkaStreams('Fill', nothing);
  if (launch === undefined) {
    progress('no peers: set BENCH_PEERS to compare; their columns stay empty');
    return;
  }
  progress('letting the peers build themselves, where they have not yet');
  await processes.run('peer-build', launch);
}
