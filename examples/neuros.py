"""
Says something for each alert, and takes it back when the measurement behind it was corrected, as examples/neuros.ts does. In
a clone, next to `npm start -- --no-reader`:

    pip install confluent-kafka==2.16.0 fastavro==1.13.1
    python3 examples/neuros.py

What it remembers is lost with the process. docs/neuros.md has the rules that it follows.
"""

import functools
import io
import itertools
import json
import os
import pathlib
import signal
import struct
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import confluent_kafka
import fastavro

BROKERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:19092")
REGISTRY = os.environ.get("SCHEMA_REGISTRY_URL", "http://localhost:18081/apis/ccompat/v7")
PREFIX = os.environ.get("TOPIC_PREFIX", "")

CONTRACT = fastavro.parse_schema(
    json.loads((pathlib.Path(__file__).parent.parent / "schemas" / "biometric-event.avsc").read_text())
)
ADVICE = {
    "immediate_stress_protocol": "put everything down and breathe with me for five minutes",
    "breathing_exercise": "take ten slow breaths before you go on",
    "sleep_optimization": "go to bed an hour earlier tonight",
}

stopping = threading.Event()
events = itertools.count()


def on_event(event):
    """Every event, once as long as the process lives. A coach would store it here."""
    next(events)


def on_alert(alert, event):
    say("announced", alert, event, ADVICE.get(alert["recommendation"], alert["recommendation"]))


def on_withdrawn(alert, event):
    say("withdrawn", alert, event, "never mind, that was a wrong measurement")


def on_erased(user_id):
    print(f"erased {user_id}", flush=True)


def say(what, alert, event, text):
    print(f"{what} {alert['alert_id']}  to {event['user_id']} ({event['device_type']}): {text}", flush=True)


class Unreadable(Exception):
    """The record is no event and never will be: another attempt would not help."""


@functools.cache
def writer_schema(schema_id):
    try:
        with urllib.request.urlopen(f"{REGISTRY}/schemas/ids/{schema_id}", timeout=5) as answer:
            return fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise Unreadable("unknown_schema") from None
        raise


def decode(value):
    """Five bytes say by which schema the rest was written; the own one says how it is read."""
    if len(value) < 5 or value[0] != 0:
        raise Unreadable("not_wire_format")
    (schema_id,) = struct.unpack(">I", value[1:5])
    if schema_id >= 2**31:
        raise Unreadable("unknown_schema")
    schema = writer_schema(schema_id)
    rest = io.BytesIO(value[5:])
    try:
        event = fastavro.schemaless_reader(rest, schema, CONTRACT)
    except Exception as error:
        # Its message may quote the event.
        raise Unreadable(type(error).__name__) from None
    if rest.read(1):
        raise Unreadable("trailing_bytes")
    return event


class Ledger:
    """What this process knows of one user's device. Priorities are read next to each other, so it has a lock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.handled = {}  # (event_id, generation) of the last events
        self.rows = {}  # resource_id: the newest version read, and the alerts that it names
        self.known = set()  # alerts whose first event was read
        self.announced = {}  # alert_id: the alert as it was announced

    def handle(self, event):
        with self.lock:
            name = (event["event_id"], event["generation"])
            if name in self.handled:
                return
            on_event(event)
            for handler, alert in self.steps(event):
                handler(alert, event)
            self.handled[name] = True
            if len(self.handled) > 1_000:
                del self.handled[next(iter(self.handled))]

    def steps(self, event):
        superseded = event["supersedes"]
        if not event["triggers"] and superseded is None:
            return
        version = (event["generation"], event["revision"], event["raw"]["offset"])
        raised = {}
        for alert in event["triggers"]:
            raised.setdefault(alert["alert_id"], alert)
        newest, names = self.rows.get(event["resource_id"], (version, []))
        if version >= newest:
            self.rows[event["resource_id"]] = (version, list(raised))
            for alert_id in dict.fromkeys([*names, *(superseded["alert_ids"] if superseded else [])]):
                if alert_id in self.announced and not self.is_named(alert_id):
                    yield on_withdrawn, self.announced.pop(alert_id)
        self.known.update(alert["alert_id"] for alert in event["triggers"] if alert["first"])
        if "stale" in event["flags"]:
            return
        for alert_id, alert in raised.items():
            is_due = alert_id in self.known and alert_id not in self.announced and self.is_named(alert_id)
            if is_due:
                self.announced[alert_id] = alert
                yield on_alert, alert

    def is_named(self, alert_id):
        return any(alert_id in names for _, names in self.rows.values())


class Ledgers:
    """Those of the users whose events are longest ago go first."""

    def __init__(self, most=50_000):
        self.most = most
        self.lock = threading.Lock()
        self.ledgers = {}

    def of(self, event):
        key = (event["device_type"], event["user_id"])
        with self.lock:
            ledger = self.ledgers.pop(key, None) or Ledger()
            self.ledgers[key] = ledger
            if len(self.ledgers) > self.most:
                del self.ledgers[next(iter(self.ledgers))]
            return ledger

    def erase(self, user_id):
        with self.lock:
            for key in [key for key in self.ledgers if key[1] == user_id]:
                del self.ledgers[key]


ledgers = Ledgers()


def read(priority):
    """One consumer and group for each priority, so that a backlog of one does not hold up another."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": BROKERS,
            "group.id": f"{PREFIX}neuros-python-{priority}",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            # What is stored is committed every 5 s: only what was handled is stored.
            "enable.auto.offset.store": False,
        }
    )
    consumer.subscribe([f"{PREFIX}biometric-events.{priority}"])
    try:
        while not stopping.is_set():
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error():
                raise confluent_kafka.KafkaException(message.error())
            handle(message)
            store(consumer, message)
    finally:
        consumer.close()


def handle(message):
    try:
        if message.value() is not None:
            event = decode(message.value())
            ledgers.of(event).handle(event)
        elif message.key() is not None:
            user_id = message.key().decode()
            on_erased(user_id)
            ledgers.erase(user_id)
    except Unreadable as error:
        # A coach would append it to a topic of its own.
        place = f"{message.topic()}-{message.partition()}@{message.offset()}"
        print(f"skipped {place}: {error}", file=sys.stderr, flush=True)


def store(consumer, message):
    try:
        consumer.store_offsets(message)
    except confluent_kafka.KafkaException as error:
        # The partition went to another reader meanwhile, who reads the record again.
        if error.args[0].code() != confluent_kafka.KafkaError._STATE:
            raise


def main():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read, priority) for priority in ("high", "medium", "normal")]
        # A handler that fails ends the process; its event is read again by the next one.
        wait(readers, return_when=FIRST_EXCEPTION)
        stopping.set()
    for reader in readers:
        reader.result()
    print(f"handled {next(events)} events", flush=True)


main()
