import { changelogSpecs, type Recomputation } from '../streams/index.ts';
import type { Deployment } from './deployment.ts';
import { recordsOf, type Watch } from './reading.ts';

/** What is taken over of an entry: its value, another one, or nothing. */
export type Taken = (store: string, key: Buffer, value: Buffer) => Buffer | undefined;

/**
 * Fills the stores of a recomputation with what the live group's changelogs now hold of its partition.
 * @param pick - by default takes everything over.
 * @throws Error when a batch of a changelog cannot be decoded.
 */
export async function restoreState(
  deployment: Deployment,
  { recomputation, partition }: { readonly recomputation: Recomputation; readonly partition: number },
  watch: Watch,
  pick: Taken = (_store, _key, value) => value,
): Promise<void> {
  const { topology, applicationId, scanner } = deployment;
  const names = changelogSpecs(topology, applicationId).map(({ name }) => name);
  for (const [at, { name: store }] of topology.stores.entries()) {
    const range = await deployment.range(names[at] ?? '', partition);
    const target = recomputation.store(store);
    for await (const records of recordsOf(scanner, range, watch)) {
      for (const { key, value, timestamp, fault, topic, offset } of records) {
        if (fault !== undefined)
          throw new Error(`${topic}-${partition} offset ${offset} cannot be decoded: ${fault.message}`);
        if (key === null) continue;
        const taken = value === null ? undefined : pick(store, key, value);
        target.restore({ key, value: taken ?? null, timestamp });
      }
    }
  }
}
