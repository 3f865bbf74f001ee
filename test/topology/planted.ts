/** Faults of normalizers, planted into a topology. */
import { Dropped, Partly, Rejected, type RecordContext } from '../../streams/index.ts';
import { Topology, type FlatAnswer } from '../../streams/topology.ts';
import type { DayPoints } from '../../vendors/day-points.ts';
import type { Reading } from '../../vendors/reading.ts';

/** What the normalizer says instead. */
export type Plant = (answer: FlatAnswer, record: RecordContext) => FlatAnswer;

/** The topology with another normalizer. */
export function planted(topology: Topology, plant: Plant | undefined): Topology {
  if (plant === undefined) return topology;
  const nodes = [...topology.nodes.values()].map((node) =>
    node.name === 'normalize' && node.type === 'flatMapValues'
      ? {
          ...node,
          map: (value: unknown, record: RecordContext) => plant(node.map(value, record), record),
        }
      : node,
  );
  return new Topology(nodes, topology.stores, topology.maxWork);
}

/** Changes each reading of an answer. */
export function eachReading(change: (reading: Reading, record: RecordContext) => Reading): Plant {
  return (answer, record) => {
    if (answer instanceof Dropped || answer instanceof Rejected || answer instanceof Partly) return answer;
    return [...answer].map((one) => {
      const value = one as Reading | DayPoints;
      return 'points' in value ? value : change(value, record);
    });
  };
}
