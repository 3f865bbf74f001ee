import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { Sockets } from '../../kafka/sockets.ts';

async function listening(): Promise<{ port: number; close: () => void }> {
  const server = createServer((socket) => socket.on('error', () => undefined).resume());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, close: () => server.close() };
}

/** Resolves to the error that ends it, if one does. */
async function closed(socket: Socket): Promise<Error | undefined> {
  let reason: Error | undefined;
  socket.on('error', (error) => {
    reason = error;
  });
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
  return reason;
}

describe('the sockets of a client', () => {
  it('end without an error where kafkajs has ended them', async () => {
    const server = await listening();
    const sockets = new Sockets();
    const onConnect = (): void => undefined;
    const socket = sockets.create({ host: '127.0.0.1', port: server.port, ssl: undefined, onConnect });
    await once(socket, 'connect');
    const ended = closed(socket);
    socket.end();
    sockets.end();
    assert.equal(await ended, undefined);
    server.close();
  });

  it('are opened until end(), which ends those that are open', async () => {
    const server = await listening();
    const sockets = new Sockets();
    let connected: () => void = () => undefined;
    const isConnected = new Promise<void>((resolve) => {
      connected = resolve;
    });
    const asked = { host: '127.0.0.1', port: server.port, ssl: undefined };
    const socket = sockets.create({ ...asked, onConnect: connected });
    await isConnected;
    const ended = closed(socket);
    sockets.end();
    assert.match(String(await ended), /the client was closed/);
    assert.throws(() => sockets.create({ ...asked, onConnect: connected }), /the client was closed/);
    server.close();
  });

  it('gather no listeners while kafkajs disconnects them again and again', async () => {
    const { port, close } = await listening();
    close();
    const sockets = new Sockets();
    const onConnect = (): void => assert.fail('nobody listens');
    const socket = sockets.create({ host: '127.0.0.1', port, ssl: undefined, onConnect });
    await closed(socket);
    const before = socket.listenerCount('connect');
    for (let at = 0; at < 20; at += 1) socket.unref();
    assert.equal(socket.listenerCount('connect'), before);
  });
});
