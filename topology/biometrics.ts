import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { alertsStore, markFirst } from './alerts.ts';
import { baselinesStore, withBaseline } from './baseline.ts';
import { dailyTotals } from './daily-totals.ts';
import { firstGeneration, generationStore, shadowOf, type Generation } from './generation.ts';
import { eventHeaders } from './headers.ts';
import { normalize } from './normalize.ts';
import { rawPayload } from './raw-payload.ts';
import { newestRevision, revisionsStore } from './revisions.ts';
import { serdes, StreamsBuilder, type Serde, type Topology } from '../streams/index.ts';
import { pointsStore } from './stored-day.ts';
import type { TopicNames } from '../schemas/topics.ts';
import { analyze, type TriggerRule } from './triggers.ts';
import type { VendorName } from '../vendors/index.ts';

/**
 * The work that one record may take, in the units of streams/work.ts: at most two seconds of one processor for the most
 * expensive record (docs/performance.md). A record that takes more is dead-lettered as TOO_MUCH_WORK. It is a constant,
 * because the same log must give the same bytes everywhere.
 */
export const maxRecordWork = 1_800_000;

/** The inputs of the topology. */
export interface BiometricsOptions {
  readonly topics: TopicNames<VendorName>;
  readonly rules: readonly TriggerRule[];
  /** Encodes events as the contract requires. */
  readonly biometricEvent: Serde<BiometricEvent>;
  /** Identifies code, rules and schema in each output's headers. */
  readonly build: string;
  /** Which recomputation of history this is. Default: the first, which is none. */
  readonly generation?: Generation;
}

/** Builds the topology, from raw webhooks to prioritized events. */
export function biometrics(options: BiometricsOptions): Topology {
  const { topics, rules, biometricEvent, build, generation = firstGeneration } = options;
  const builder = new StreamsBuilder()
    .addStateStore('points', pointsStore)
    .addStateStore('revisions', revisionsStore)
    .addStateStore('baselines', baselinesStore)
    .addStateStore('alerts', alertsStore);
  if (generation.shadow !== undefined) builder.addStateStore('generation', generationStore);
  builder
    .stream('raw', Object.values(topics.raw), { key: serdes.utf8, value: rawPayload })
    .flatMapValues('normalize', normalize(topics))
    .processValues('daily-totals', dailyTotals, { stores: ['points'] })
    .processValues('newest-revision', newestRevision(topics, generation), { stores: ['revisions'] })
    .processValues('baseline', withBaseline, { stores: ['baselines'] })
    .mapValues('triggers', analyze(rules))
    .processValues('alerts', markFirst, { stores: ['alerts', 'revisions'] })
    .to('route', (_, event) => shadowOf(generation, event.raw) ?? topics.priority[event.priority], {
      value: biometricEvent,
      headers: eventHeaders(build),
      topics: [
        ...Object.values(topics.priority),
        ...(generation.shadow === undefined ? [] : [generation.shadow]),
      ],
    });
  return builder.build({ maxWork: maxRecordWork });
}
