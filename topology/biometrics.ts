import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { toEvent } from './events.ts';
import { eventHeaders } from './headers.ts';
import { normalize } from './normalize/index.ts';
import { rawPayload } from './raw-payload.ts';
import { serdes, StreamsBuilder, type Serde, type Topology } from './streams/index.ts';
import type { TopicNames } from './topics.ts';
import { analyze, type TriggerRule } from './triggers.ts';

/** What the topology is made with. */
export interface BiometricsOptions {
  readonly topics: TopicNames;
  readonly rules: readonly TriggerRule[];
  /** Writes the contract's bytes. */
  readonly biometricEvent: Serde<BiometricEvent>;
  /** Names code, rules and schema in each output's headers. */
  readonly build: string;
}

/** From raw webhooks to prioritized events, step by step. */
export function biometrics({ topics, rules, biometricEvent, build }: BiometricsOptions): Topology {
  const builder = new StreamsBuilder();
  builder
    .stream('raw', Object.values(topics.raw), { key: serdes.utf8, value: rawPayload })
    .flatMapValues('normalize', normalize(topics))
    .mapValues('identify', toEvent(topics))
    .mapValues('triggers', analyze(rules))
    .to('route', (_, event) => topics.priority[event.priority], {
      value: biometricEvent,
      headers: eventHeaders(build),
      topics: Object.values(topics.priority),
    });
  return builder.build();
}
