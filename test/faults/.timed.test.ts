import { test } from 'node:test';
import { Application } from '/work/main/test/faults/application.ts';
const t0 = performance.now();
const at = (s: string) => console.log(((performance.now() - t0) / 1000).toFixed(1), s);
test('timed', { timeout: 300000 }, async (t) => {
  const a = await Application.create(t);
  at('created');
  const traffic = a.traffic();
  const iv = setInterval(() => at('sent ' + JSON.stringify(traffic.sent)), 2000);
  const ws = ['i0', 'i1'].map((id) => a.worker(id));
  await Promise.all(ws.map((w) => w.running()));
  at('running');
  await a.progress();
  at('progress');
  await ws[0]!.kill();
  ws[0] = a.worker('i0');
  at('killed');
  await Promise.all(ws.map((w) => w.running()));
  at('running again');
  await a.progress();
  at('progress');
  await new Promise((r) => setTimeout(r, 5000));
  clearInterval(iv);
  await traffic.stop();
  at('stopped');
  await a.drained();
  at('drained');
  const f = await a.examine();
  at('audited ' + JSON.stringify(f));
  for (const w of ws) {
    await w.stop();
    at('worker stopped');
  }
  for (const w of ws)
    console.log(
      w.log
        .split('\n')
        .map((l) => l.slice(0, 220))
        .slice(0, 40)
        .join('\n'),
    );
});
