/** Alerts that are marked in the transaction in which their handler writes. */
import { randomUUID } from 'node:crypto';
import {
  AlertStoreUnavailable,
  type Alerts,
  type AlertStep,
  type SqlClient,
  type StepOutcome,
} from './alerts.ts';
import { callHandler, type Handler } from './attempt.ts';
import { beginIn, ledgerOwner, type Begun } from './claims.ts';
import { claim, keyOf, settle, type Claim, type Due } from './ledger.ts';
import { ledgerTables, postgresStore, type LedgerTables } from './postgres.ts';
import {
  beginTransaction,
  commit,
  NotTheStore,
  sqlCodeOf,
  statement,
  withConnection,
  type SqlOptions,
  type SqlPool,
} from './sql.ts';

/**
 * Remembers alerts in Postgres, and gives each handler the transaction in which its alert is marked: what it writes through
 * `transaction` happens exactly once. It is committed after the handler, which must neither commit it nor keep it. One connection
 * of the pool is held while a handler runs, and the events of its user wait for it: give the pool more connections than handlers
 * may be at work, and its statements a time-out, since Postgres notices a closed connection only at the end of one.
 */
export function transactional(options: SqlOptions): Alerts {
  const store = postgresStore(options);
  const { pool, schema = 'neuros' } = options;
  const tables = ledgerTables(schema);
  const owner = ledgerOwner();
  return {
    start: async (name) => store.start(owner.set(name)),
    migrate: () => store.migrate(),
    async begin(event, { announce }) {
      const begun = await beginIn(store, owner.get(), event, { announce, firstDecides: false });
      return begun === undefined
        ? []
        : begun.due.map((due) => transactionalStep({ pool, tables }, begun, due));
    },
    erase: (userId) => store.erase(owner.get(), keyOf(userId)),
    close: () => store.close(),
  };
}

interface Call {
  readonly handler: Handler;
  readonly signal: AbortSignal | undefined;
}

interface Database {
  readonly pool: SqlPool;
  readonly tables: LedgerTables;
}

function transactionalStep(database: Database, begun: Begun, due: Due): AlertStep {
  return {
    kind: due.kind,
    alert: due.alert,
    run: (handler, signal) => inTransaction(database, begun, due, { handler, signal }),
    // Nothing was stored that would have to be taken back.
    giveUp: () => Promise.resolve(),
  };
}

/**
 * One attempt. Its steps are the guarantee: 1. lock the user; 2. see that the version still stands and the step is due; 3. the
 * handler; 4. the mark; 5. commit. Whatever fails, the connection is closed, and with it all that was written.
 */
function inTransaction({ pool, tables }: Database, begun: Begun, due: Due, call: Call): Promise<StepOutcome> {
  const { ledger, touched } = begun;
  return withConnection(pool, async (connection) => {
    await beginTransaction(connection);
    const { isLocked, part, now } = await tables.lock(connection, ledger, touched);
    // Only claims() in the same tables, used before, leaves claims.
    const isLive = ({ until }: Claim): boolean => until > now;
    const claimed = isLocked ? claim(part, due, { owner: claimant, until: now, isLive }) : undefined;
    if (claimed === undefined || typeof claimed.answer === 'string') {
      await statement(connection, 'ROLLBACK');
      return claimed?.answer === 'skipped' ? 'skipped' : 'busy';
    }
    const token = randomUUID();
    await statement(connection, setTokenSql, [token]);
    await handle(connection, call, claimed.answer.mayBeRepeat);
    await checkTransaction(connection, token);
    await tables.write(connection, ledger, touched, {
      before: part,
      after: settle(claimed.part, due, claimant),
    });
    await commitHandled(connection);
    return 'done';
  });
}

/** Of the claim that is settled in the same transaction, so that nobody ever reads it. */
const claimant = 'transaction';

async function handle(connection: SqlClient, { handler, signal }: Call, mayBeRepeat: boolean): Promise<void> {
  let hasEnded = false;
  const transaction: SqlClient = {
    query(...args) {
      if (hasEnded) return Promise.reject(new Error('the transaction of this alert has ended'));
      return connection.query(...args);
    },
  };
  try {
    await callHandler(() => handler({ mayBeRepeat, transaction }), signal);
  } catch (error) {
    // The connection may be busy with a statement of the handler, which is not waited for.
    if (signal?.aborted === true) throw new NotTheStore(error);
    // Where the connection is lost, the handler's failure is the database's.
    throw (await isAlive(connection)) ? new NotTheStore(error) : new AlertStoreUnavailable(sqlCodeOf(error));
  } finally {
    hasEnded = true;
  }
}

// A setting of the transaction, which is gone when the handler has ended it.
const setTokenSql = `SELECT set_config('neuros.step', $1, true)`;

async function checkTransaction(connection: SqlClient, token: string): Promise<void> {
  let row: unknown;
  try {
    [row] = await statement(connection, `SELECT current_setting('neuros.step', true) AS token`);
  } catch (error) {
    if (sqlCodeOf(error) !== '25P02') throw error;
    throw new NotTheStore(
      new Error(
        'a statement of the handler failed, and with it its transaction: let the handler throw that error',
      ),
    );
  }
  if ((row as { token: string | null }).token !== token)
    throw new NotTheStore(
      new Error('the handler ended its transaction: leave COMMIT and ROLLBACK to the client'),
    );
}

// A database that refuses to commit, by a deferred constraint for example, and still answers, refuses what the handler wrote.
async function commitHandled(connection: SqlClient): Promise<void> {
  try {
    await commit(connection);
  } catch (error) {
    if (error instanceof AlertStoreUnavailable || !(await isAlive(connection))) throw error;
    throw new NotTheStore(
      new Error(`the database refused to commit what the handler wrote (${sqlCodeOf(error)})`),
    );
  }
}

async function isAlive(connection: SqlClient): Promise<boolean> {
  return statement(connection, 'ROLLBACK').then(
    () => true,
    () => false,
  );
}
