/** A steady flow of raw records, as the ingress would append them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { rawHeader } from '../../schemas/raw-record.ts';
import { seededRandom } from '../../streams/index.ts';
import { keyPartition, type Producer } from '../../kafka/client.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';
import { messagesByTopic, type Appended, type Cluster } from '../streams/broker/cluster.ts';
import type { TopicNames } from '../../schemas/topics.ts';

export interface TrafficOptions {
  readonly names: TopicNames<VendorName>;
  readonly partitions: number;
  readonly seed: number;
  /** Records per second. Default 300. */
  readonly rate?: number;
  /** Records that are sent at once at the beginning, in addition. Default 0. */
  readonly ahead?: number;
  /**
   * Milliseconds between two sends. Default 20. A topology that is not busy has a transaction for each, so that longer ones cost
   * less of a machine.
   */
  readonly everyMs?: number;
  /** Default 200. */
  readonly users?: number;
  /** The share of bodies with an HRV that leads to an event of high priority. Default 0.05. */
  readonly critical?: number;
}

/** What was sent, by kind. `failed_sends` may have reached the log nevertheless. */
export interface Sent {
  reading: number;
  retry: number;
  correction: number;
  malformed: number;
  failed_sends: number;
}

interface SentReading {
  readonly device: VendorName;
  readonly user: string;
  readonly timestamp: number;
  body: Buffer;
}

/** How many of the last readings are retried and corrected. */
const remembered = 500;
/** Days that the readings come from. */
const days = 40;
const maxRecordsPerSend = 1_000;

/** Bodies that lead to a dead letter. */
const malformed: readonly ((user: string) => string | Buffer)[] = [
  (user) => `{"user_id":"${user}","timestamp":`,
  () => '',
  () => Buffer.from([0xff, 0xfe, 0x00, 0x7b]),
  () => '[[[[1]]]]',
  () => '{"timestamp":"2026-01-05T08:00:00Z","hrv_data":{"rmssd":40}}',
  (user) => `{"user_id":"${user}","timestamp":"yesterday","hrv_data":{"rmssd":40}}`,
  (user) => `{"user_id":"${user}","timestamp":"2026-01-05T08:00:00Z","hrv_data":{"rmssd":"40"}}`,
];

/**
 * Mostly new readings of the simple format; some are exact retries, corrections of an earlier reading (its timestamp,
 * other values), malformed bodies, and readings that raise alerts. What is sent follows from the seed, except when.
 */
export class Traffic {
  readonly sent: Sent = { reading: 0, retry: 0, correction: 0, malformed: 0, failed_sends: 0 };
  readonly #cluster: Cluster;
  readonly #options: TrafficOptions;
  readonly #random: () => number;
  readonly #past: SentReading[] = [];
  readonly #users: number;
  readonly #startedAt = Date.now();
  readonly #rate: number;
  #made = 0;
  #producer: Producer | undefined;
  #flowing = true;
  readonly #running: Promise<void>;

  private constructor(cluster: Cluster, options: TrafficOptions) {
    this.#cluster = cluster;
    this.#options = options;
    this.#rate = options.rate ?? 300;
    this.#random = seededRandom(options.seed);
    this.#users = options.users ?? 200;
    this.#running = this.#run();
    // A failure is reported when it is stopped.
    this.#running.catch(() => undefined);
  }

  static start(cluster: Cluster, options: TrafficOptions): Traffic {
    const traffic = new Traffic(cluster, options);
    cluster.after(() => traffic.stop());
    return traffic;
  }

  /** Ends it once everything was acknowledged, or given up; answers what was sent. */
  async stop(): Promise<Sent> {
    this.#flowing = false;
    await this.#running;
    return this.sent;
  }

  async #run(): Promise<void> {
    const { ahead = 0, everyMs = 20 } = this.#options;
    let due = ahead;
    let at = performance.now();
    try {
      while (this.#flowing) {
        await sleep(everyMs);
        const now = performance.now();
        // What could not be sent while the brokers were away is not made up for.
        due = Math.min(due + ((now - at) / 1_000) * this.#rate, maxRecordsPerSend);
        at = now;
        const records = Array.from({ length: Math.floor(due) }, () => this.#record());
        due -= records.length;
        if (records.length > 0) await this.#send(records);
      }
    } finally {
      await this.#producer?.disconnect();
    }
  }

  async #send(records: readonly Appended[]): Promise<void> {
    try {
      if (this.#producer === undefined) {
        this.#producer = this.#cluster.kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
        await this.#producer.connect();
      }
      await this.#producer.sendBatch({ acks: -1, topicMessages: messagesByTopic(records) });
    } catch {
      // An idempotent producer that has given up a batch must not continue; what it sent counts by the log alone.
      this.sent.failed_sends += 1;
      const broken = this.#producer;
      this.#producer = undefined;
      await broken?.disconnect().catch(() => undefined);
    }
  }

  #record(): Appended {
    const kind = this.#random();
    const earlier = this.#past[Math.floor(this.#random() * this.#past.length)];
    if (kind < 0.01) {
      this.sent.malformed += 1;
      const any = Math.floor(this.#random() * this.#users);
      // HealthKit bodies need not name their user, because their token does.
      const at = deviceOf(any) === 'healthkit' ? any - 1 : any;
      const user = `u-${at}`;
      const body = malformed[Math.floor(this.#random() * malformed.length)]?.(user) ?? '';
      return this.#raw(deviceOf(at), user, Buffer.from(body));
    }
    if (kind < 0.06 && earlier !== undefined) {
      this.sent.retry += 1;
      return this.#raw(earlier.device, earlier.user, earlier.body);
    }
    if (kind < 0.09 && earlier !== undefined) {
      this.sent.correction += 1;
      earlier.body = this.#body(earlier.user, earlier.timestamp);
      return this.#raw(earlier.device, earlier.user, earlier.body);
    }
    this.sent.reading += 1;
    // Numbered, so that no two readings have one timestamp, and over so many days that every baseline counts.
    this.#made += 1;
    const timestamp = this.#startedAt - Math.floor(this.#random() * days) * 86_400_000 + this.#made;
    const at = Math.floor(this.#random() * this.#users);
    const user = `u-${at}`;
    const reading = { device: deviceOf(at), user, timestamp, body: this.#body(user, timestamp) };
    this.#past[this.#made % remembered] = reading;
    return this.#raw(reading.device, user, reading.body);
  }

  #body(user: string, timestamp: number): Buffer {
    const alarming = this.#random();
    const { critical = 0.05 } = this.#options;
    const rmssd =
      alarming < critical
        ? this.#between(5, 25)
        : this.#between(alarming < 0.15 ? 25 : 40, alarming < 0.15 ? 40 : 90);
    return Buffer.from(
      JSON.stringify({
        user_id: user,
        timestamp: new Date(timestamp).toISOString(),
        hrv_data: { rmssd },
        sleep: { score: this.#between(60, 100) },
        recovery: { score: this.#between(20, 100) },
      }),
    );
  }

  #raw(device: VendorName, user: string, value: Buffer): Appended {
    const key = Buffer.from(user);
    const receivedAt = Date.now();
    const { names, partitions } = this.#options;
    return {
      topic: names.raw[device],
      partition: keyPartition(key, partitions),
      key,
      value,
      timestamp: receivedAt,
      headers: {
        [rawHeader.receivedAt]: Buffer.from(String(receivedAt)),
        [rawHeader.contentType]: Buffer.from('application/json'),
        [rawHeader.scheme]: Buffer.from('plain'),
        [rawHeader.secret]: Buffer.from('0'),
      },
    };
  }

  #between(low: number, high: number): number {
    return Math.round((low + this.#random() * (high - low)) * 10) / 10;
  }
}

// One device each: a record meets the state that another of its user has left a moment before.
function deviceOf(user: number): VendorName {
  return vendorNames[user % vendorNames.length] ?? 'oura';
}
