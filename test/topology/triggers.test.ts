import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { priorityOf } from '../../topology/priority.ts';
import { analyze, defaultRules, readRules, TriggerRulesError } from '../../topology/triggers.ts';
import { anEvent } from '../schemas/events.ts';

const untriggered = anEvent({ triggers: [], priority: 'NORMAL', hrv: null, sleep_score: null });

for (const [hrv, types, priority] of [
  [1, ['URGENT_INTERVENTION'], 'HIGH'],
  [24.999, ['URGENT_INTERVENTION'], 'HIGH'],
  [25, ['STRESS_INTERVENTION'], 'MEDIUM'],
  [39.999, ['STRESS_INTERVENTION'], 'MEDIUM'],
  [40, [], 'NORMAL'],
  [null, [], 'NORMAL'],
] as const) {
  test(`an HRV of ${hrv} raises ${types.join() || 'nothing'} and is ${priority}`, () => {
    const event = analyze(defaultRules)({ ...untriggered, hrv });
    assert.deepEqual(
      event.triggers.map(({ type }) => type),
      types,
    );
    assert.equal(event.priority, priority);
  });
}

for (const [score, raised] of [
  [0, true],
  [69.999, true],
  [70, false],
  [null, false],
] as const) {
  test(`a sleep score of ${score} ${raised ? 'raises a recovery intervention' : 'raises nothing'}, at normal priority`, () => {
    const event = analyze(defaultRules)({ ...untriggered, sleep_score: score });
    assert.deepEqual(
      event.triggers.map(({ type, severity, threshold, recommendation }) => [
        type,
        severity,
        threshold,
        recommendation,
      ]),
      raised ? [['RECOVERY_INTERVENTION', 'MEDIUM', 70, 'sleep_optimization']] : [],
    );
    assert.equal(event.priority, 'NORMAL');
  });
}

test('a trigger tells metric, value, threshold and what to do', () => {
  const [trigger] = analyze(defaultRules)({ ...untriggered, hrv: 20 }).triggers;
  const { alert_id, ...rest } = trigger!;
  assert.match(alert_id, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual(rest, {
    type: 'URGENT_INTERVENTION',
    severity: 'CRITICAL',
    metric: 'hrv',
    value: 20,
    threshold: 25,
    recommendation: 'immediate_stress_protocol',
    first: true,
  });
});

test('one night has one alert id, whatever is sent about it; other nights, users and devices have others', () => {
  const id = (changes: Parameters<typeof anEvent>[0]): string =>
    analyze(defaultRules)({ ...untriggered, hrv: 20, ...changes }).triggers[0]!.alert_id;
  const night = { kind: 'sleep', local_date: '2025-07-30', resource_id: 'sleep:1' } as const;
  assert.equal(id(night), id({ ...night, resource_id: 'sleep:2' }));
  assert.notEqual(id(night), id({ ...night, local_date: '2025-07-31' }));
  assert.notEqual(id(night), id({ ...night, user_id: 'another' }));
  assert.notEqual(id(night), id({ ...night, device_type: 'whoop' }));
  assert.notEqual(id({ kind: 'reading', resource_id: 'a' }), id({ kind: 'reading', resource_id: 'b' }));
});

test('any CRITICAL is HIGH, else any HIGH is MEDIUM, else NORMAL', () => {
  const of = (...severities: string[]): string => priorityOf(severities.map((severity) => ({ severity })));
  assert.equal(of('MEDIUM', 'HIGH', 'CRITICAL'), 'HIGH');
  assert.equal(of('MEDIUM', 'HIGH'), 'MEDIUM');
  assert.equal(of('MEDIUM', 'LOW'), 'NORMAL');
  assert.equal(of(), 'NORMAL');
});

test('a rules file replaces the built-in rules', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rules-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'rules.json');
  writeFileSync(file, JSON.stringify([{ ...defaultRules[2], below: 90 }]));
  const event = analyze(readRules(file))({ ...untriggered, hrv: 1, sleep_score: 89 });
  assert.deepEqual(
    event.triggers.map(({ type }) => type),
    ['RECOVERY_INTERVENTION'],
  );
});

for (const [what, text] of [
  ['no JSON', '[{'],
  ['no list', '{}'],
  ['an unknown severity', JSON.stringify([{ ...defaultRules[0], severity: 'PANIC' }])],
  ['an unknown metric', JSON.stringify([{ ...defaultRules[0], metric: 'mood' }])],
  ['an unknown field', JSON.stringify([{ ...defaultRules[0], above: 1 }])],
] as const) {
  test(`a rules file with ${what} is refused by name`, (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'rules-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'rules.json');
    writeFileSync(file, text);
    assert.throws(
      () => readRules(file),
      (error) => error instanceof TriggerRulesError && error.message.includes(file),
    );
  });
}

test('a rules file that is not there is refused by name', () => {
  assert.throws(
    () => readRules('/nowhere/rules.json'),
    /TRIGGER_RULES_FILE \/nowhere\/rules.json cannot be read: ENOENT/,
  );
});
