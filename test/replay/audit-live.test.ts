import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { asDelivery } from '../../cli/explain.ts';
import { keyPartition } from '../../kafka/client.ts';
import { deliveries } from '../../local/traffic/deliveries.ts';
import { drop } from '../../streams/index.ts';
import { byVendor, vendorNames } from '../../vendors/index.ts';
import { Application } from '../faults/application.ts';
import type { Appended } from '../streams/broker/cluster.ts';
import { rawRecord, webhookCases } from '../topology/cases.ts';
import { auditOf, endsOf, runAudit, type Printed } from './audit-log.ts';
import { Live } from './live.ts';

const timeout = { timeout: 180_000 };

/** Sample traffic of all vendors as the ingress appends it, and one record of each kind of the topology's table. */
function mixedTraffic({ names, partitions }: Application, count: number): Appended[] {
  const startMs = Date.now();
  const secrets = byVendor((vendor) => vendor);
  const sample = deliveries({ seed: 7, startMs, secrets });
  const records = webhookCases.map((one) => rawRecord(one, (device) => names.raw[device])) as Appended[];
  while (records.length < count) {
    const next = sample.next();
    if (next.done === true) break;
    const delivery = next.value;
    if (delivery.expect.outcome === 'refused') continue;
    const { key, body, headers, receivedAt } = asDelivery(delivery.device, delivery, 'user-1');
    records.push({
      topic: names.raw[delivery.device],
      partition: keyPartition(key, partitions),
      key,
      value: body,
      headers,
      timestamp: receivedAt,
    });
  }
  return records;
}

test(
  'a clean day of all vendors through the real topology has no exceptions, to this audit and to the other',
  timeout,
  async (t) => {
    const application = await Application.create(t);
    const traffic = mixedTraffic(application, 1_500);
    // One send per record of the table: some are too large to share a batch.
    for (const record of traffic.slice(0, webhookCases.length)) await application.cluster.append([record]);
    await application.cluster.append(traffic.slice(webhookCases.length));
    const worker = application.worker('one');
    await application.drained();
    // What is missing is asked of this audit: the other one's rule knows only the simple format.
    const figures = await application.audit({}, ['duplicates', 'unlinked', 'different', 'state_different']);
    // While the topology runs, in a process and threads of its own.
    const { code, output, errors } = await runAudit(application, '--json', '--parallel', '2');
    assert.equal(code, 0, output + errors);
    const printed = JSON.parse(output) as Printed;
    assert.deepEqual(printed.examples, []);
    const { raw, dead_letters } = figures;
    const sums = endsOf(printed);
    const records = Object.values(printed.devices).reduce((sum, one) => sum + one.records + one.outside, 0);
    assert.equal(records, raw);
    assert.equal((sums['dead_letters'] ?? 0) + (sums['partly'] ?? 0), dead_letters);
    const outputs = Object.values(printed.devices).flatMap((one) =>
      ['HIGH', 'MEDIUM', 'NORMAL'].map((priority) => one.outputs[priority] ?? 0),
    );
    assert.equal(
      outputs.reduce((sum, one) => sum + one, 0),
      figures.events,
    );
    assert.deepEqual(
      [sums['unprovable'], sums['exceptions'], sums['pending']],
      [undefined, undefined, undefined],
    );
    await worker.stop();
  },
);

/** The offsets of exceptions of one kind. */
function placesOf(printed: Printed, kind: string): string[] {
  return printed.examples.flatMap((one) => (one.kind === kind ? [one.raw ?? ''] : [])).sort();
}

async function overDropping(t: TestContext): Promise<{ printed: Printed; dropped: string[] }> {
  const live = await Live.create(t, 2);
  const webhooks = Array.from({ length: 200 }, (_, at) => ({
    device: vendorNames[at % vendorNames.length] ?? 'oura',
    user: `u-${at % 20}`,
    body: JSON.stringify({
      user_id: `u-${at % 20}`,
      timestamp: new Date(Date.UTC(2026, 0, 1) + at * 86_400_000).toISOString(),
      sleep: { score: 50 + (at % 50) },
    }),
  }));
  const places = await live.append(webhooks);
  const dropped: string[] = [];
  await live.run({
    plant: (answer, { topic, partition, offset }) => {
      const at = places.indexOf(`${topic}:${partition}:${offset}`);
      if (at % 10 !== 3) return answer;
      dropped.push(places[at] ?? '');
      return drop('no_measurement');
    },
  });
  return { printed: await auditOf(live.application), dropped: dropped.sort() };
}

test(
  'a normalizer that drops too much, under an unchanged build, loses just those records',
  timeout,
  async (t) => {
    const { printed, dropped } = await overDropping(t);
    assert.equal(dropped.length, 20);
    assert.deepEqual(placesOf(printed, 'lost'), dropped);
    assert.equal(printed.exceptions, dropped.length);
  },
);
