import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
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

test('a trigger names its metric, value, threshold and recommendation', () => {
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

test('a night has one alert id, whatever is sent about it, and other nights, users and devices have different ones', () => {
  const id = (changes: Parameters<typeof anEvent>[0]): string =>
    analyze(defaultRules)({ ...untriggered, hrv: 20, ...changes }).triggers[0]!.alert_id;
  const night = { kind: 'sleep', local_date: '2025-07-30', resource_id: 'sleep:1' } as const;
  assert.equal(id(night), id({ ...night, resource_id: 'sleep:2' }));
  assert.notEqual(id(night), id({ ...night, local_date: '2025-07-31' }));
  assert.notEqual(id(night), id({ ...night, user_id: 'another' }));
  assert.notEqual(id(night), id({ ...night, device_type: 'whoop' }));
  assert.notEqual(id({ kind: 'reading', resource_id: 'a' }), id({ kind: 'reading', resource_id: 'b' }));
});

test('any CRITICAL trigger makes HIGH priority, else any HIGH makes MEDIUM, else it is NORMAL', () => {
  const of = (...severities: string[]): string => priorityOf(severities.map((severity) => ({ severity })));
  assert.equal(of('MEDIUM', 'HIGH', 'CRITICAL'), 'HIGH');
  assert.equal(of('MEDIUM', 'HIGH'), 'MEDIUM');
  assert.equal(of('MEDIUM', 'LOW'), 'NORMAL');
  assert.equal(of(), 'NORMAL');
});

const belowBaseline = {
  type: 'BELOW_OWN_BASELINE',
  severity: 'HIGH',
  metric: 'hrv',
  belowBaselineBy: 2,
  atLeastNights: 7,
  recommendation: 'rest_day',
} as const;
const baseline = { hrv_mean: 60, hrv_sd: 5, nights: 7 };

for (const [hrv, nights, raised] of [
  [49.999, 7, true],
  [50, 7, false],
  [49.999, 6, false],
  [null, 7, false],
] as const) {
  test(`an HRV of ${hrv} with a baseline of ${nights} nights, 60 ± 5, raises ${raised ? 'the opt-in rule' : 'nothing'}`, () => {
    const event = analyze([belowBaseline])({ ...untriggered, hrv, baseline: { ...baseline, nights } });
    assert.deepEqual(
      event.triggers.map(({ type, value, threshold, recommendation }) => [
        type,
        value,
        threshold,
        recommendation,
      ]),
      raised ? [['BELOW_OWN_BASELINE', hrv, 50, 'rest_day']] : [],
    );
    assert.equal(event.priority, raised ? 'MEDIUM' : 'NORMAL');
  });
}

test('without a baseline nothing is below it, and the built-in rules need none', () => {
  assert.deepEqual(analyze([belowBaseline])({ ...untriggered, hrv: 1, baseline: null }).triggers, []);
  assert.deepEqual(analyze(defaultRules)({ ...untriggered, hrv: 41, baseline }).triggers, []);
});

function rulesFile(t: TestContext, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'rules-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'rules.json');
  writeFileSync(file, text);
  return file;
}

test('a rules file replaces the built-in rules', (t) => {
  const file = rulesFile(t, JSON.stringify([{ ...defaultRules[2], below: 90 }]));
  const event = analyze(readRules(file))({ ...untriggered, hrv: 1, sleep_score: 89 });
  assert.deepEqual(
    event.triggers.map(({ type }) => type),
    ['RECOVERY_INTERVENTION'],
  );
});

test("a rules file may compare with the user's baseline, by default of 7 nights", (t) => {
  const file = rulesFile(
    t,
    JSON.stringify([{ ...belowBaseline, atLeastNights: undefined }, defaultRules[0]]),
  );
  assert.deepEqual(readRules(file), [belowBaseline, defaultRules[0]]);
});

for (const [what, text, place] of [
  ['no JSON', '[{', 'not JSON'],
  ['no list', '{}', 'not an array'],
  ['no row', '[null]', '[0] '],
  ['an unknown severity', JSON.stringify([{ ...defaultRules[0], severity: 'PANIC' }]), '[0.severity] '],
  ['an unknown metric', JSON.stringify([{ ...defaultRules[0], metric: 'mood' }]), '[0.metric] '],
  ['an unknown field', JSON.stringify([defaultRules[0], { ...defaultRules[0], above: 1 }]), '[1] '],
  ['a baseline of sleep', JSON.stringify([{ ...belowBaseline, metric: 'sleep_score' }]), '[0.metric] '],
  [
    'a baseline by nothing',
    JSON.stringify([{ ...belowBaseline, belowBaselineBy: 0 }]),
    '[0.belowBaselineBy] ',
  ],
  ['a baseline of 6 nights', JSON.stringify([{ ...belowBaseline, atLeastNights: 6 }]), '[0.atLeastNights] '],
  [
    'more types than an event has room for',
    JSON.stringify(Array.from({ length: 256 }, (_, n) => ({ ...defaultRules[0], type: `T${n}` }))),
    '256 types',
  ],
  ['both kinds in one row', JSON.stringify([defaultRules[0], { ...belowBaseline, below: 9 }]), '[1] '],
] as const) {
  test(`a rules file with ${what} is refused by name and place`, (t) => {
    const file = rulesFile(t, text);
    assert.throws(
      () => readRules(file),
      (error) =>
        error instanceof TriggerRulesError && error.message.includes(file) && error.message.includes(place),
    );
  });
}

test('a rules file error names every faulty row', (t) => {
  const file = rulesFile(t, JSON.stringify([{ ...belowBaseline, type: '' }, {}, defaultRules[0]]));
  assert.throws(() => readRules(file), /\[0\.type\].*\[1\.severity\]/);
});

test('a missing rules file is refused by name', () => {
  assert.throws(
    () => readRules('/nowhere/rules.json'),
    /TRIGGER_RULES_FILE \/nowhere\/rules.json cannot be read: ENOENT/,
  );
});
